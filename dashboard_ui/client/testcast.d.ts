// The types of /testcast.js, also served as /testcast.d.ts. docs/CLIENT.md has examples.
// Times are in milliseconds since 1970.

export type Status = "queued" | "running" | "completed" | "failed";
export type Phase = "phase1" | "phase2" | "phase3" | "phase4";

/** One event of a test. Additional fields of the agent are passed through. */
export interface RunEvent {
  testId: string;
  /** Its stream sequence. Grows within a test, with gaps. */
  seq: number;
  type: "status" | "progress" | "complete" | "error";
  phase?: string;
  status?: Status;
  /** One line of text for a reader. */
  message: string;
  /** By the publisher's clock. */
  timestamp: number;
  data?: any;
}

/** The feed starts again at the oldest retained event: events may be missing before it. */
export interface Reset {
  type: "reset";
  testId: string;
  /** expired: events after the position are no longer retained; ahead, epoch: the broker's history was replaced. */
  reason: "expired" | "ahead" | "epoch";
}

export type Item = RunEvent | Reset;

/** The state of a test, folded from its events. */
export interface Run {
  testId: string;
  title?: string;
  gameUrl?: string;
  status: Status;
  phase?: string | null;
  message?: string;
  /** 0 to 100. */
  score?: number;
  metrics?: any;
  seq: number;
  labels?: Record<string, string>;
  createdAt: number;
  startedAt?: number;
  finishedAt?: number;
  updatedAt?: number;
  attempt?: number;
  worker?: string;
  error?: string;
  /** No sign of life for 25 s; reported only with the option `list`. */
  stalled?: boolean;
}

/** The last event that was handed out. Store it to resume after it later, on any edge. */
export interface Position {
  epoch: string;
  seq: number;
}

export interface ConnectionStatus {
  /**
   * - idle: nothing is watched, or every watched test has ended
   * - streaming: sockets fail, and the events come at once over a stream of HTTP (Server-Sent Events)
   * - polling: sockets and streams fail, and the edge is polled every 3 s; no event is lost
   * - refused: the edge refused the connection for `reason`; there are no further attempts
   */
  state: "idle" | "connecting" | "live" | "reconnecting" | "streaming" | "polling" | "refused" | "closed";
  /** 0 for the first connection. 10 attempts are counted, then one follows every 30 s. */
  attempt: number;
  /** The edge can't reach its broker: the data may be old. */
  stale: boolean;
  /** When the next attempt starts, while the client waits for it. */
  retryAt?: number;
  /** Why the edge refused the connection. */
  reason?: string;
  /** Refused: `unauthenticated` (the edge wants another token), `forbidden`, or `refused` for any other reason. */
  code?: "unauthenticated" | "forbidden" | "refused";
}

/** The class of the platform's sockets, or one that behaves like it, as that of the package `ws`. */
export type WebSocketClass = new (url: string, protocols: string[]) => any;

export interface Options {
  /** The edge's address, with its path below a proxy; by default where this module is from. Required in Node. */
  url?: string | URL;
  /**
   * Returns a token for an edge that asks who its clients are. Called before the first request, before the token in use
   * expires, and once when the edge refuses it. Without it the client is anonymous.
   */
  getToken?: () => string | Promise<string>;
  /** The class of sockets, by default the platform's. Where there is none (Node 20), events come as a stream over HTTP. */
  WebSocket?: WebSocketClass;
  /** Follow the list of all tests: `onRun` reports every test, and the connection never becomes idle. */
  list?: boolean;
  /** Receives each event of a watched test, once and in order. */
  onEvent?: (event: RunEvent) => void;
  onReset?: (reset: Reset) => void;
  /** The state of a test has changed: of a watched test after each event, with `list` of any test. */
  onRun?: (run: Run) => void;
  /** The edge knows no such test (`not_found`), or it may not be watched (`forbidden`). */
  onRefused?: (testId: string, error: RpcError) => void;
  onConnection?: (status: ConnectionStatus) => void;
}

export interface Viewer {
  /**
   * Watches a test from its first event, or after `position`. All tests share the viewer's one socket.
   * @throws {TypeError} `testId` is not a test id @throws {Error} the viewer is closed
   */
  watch(testId: string, from?: { position?: Position }): void;
  /** Stops watching. A later `watch` starts at the first event. */
  unwatch(testId: string): void;
  /**
   * Watches a test and iterates over its events. The iteration ends with the test; `break` unwatches it. Items that
   * have not been read are kept in memory without a limit.
   * @throws {RpcError} from the iteration: there is no such test, or the edge refuses the connection
   * @throws {Error} the test is watched already
   */
  events(testId: string, from?: { position?: Position }): AsyncGenerator<Item, void, undefined>;
  /** Null before the first event, and for a test that is not watched. */
  position(testId: string): Position | null;
  /** The newest known state of a test. */
  run(testId: string): Run | null;
  readonly connection: ConnectionStatus;
  /** Calls an RPC method of the edge (broker/PROTOCOL.md), as in `call("submitTest", { gameUrl })`. @throws {RpcError} */
  call(method: string, params?: Record<string, unknown>): Promise<any>;
  /** Starts the next attempt now, also after a refusal. */
  retry(): void;
  /** Closes the connection for good. All iterations end. */
  close(): void;
}

/** The edge answered with an error. `status` is the HTTP status; 0 if the edge was unreachable or closed the socket. */
export class RpcError extends Error {
  constructor(message: string, code: string, status: number);
  code: string;
  status: number;
}

/** Creates a viewer. It connects when the first test is watched, with `list` at once. `onConnection` reports failures. */
export function connect(options?: Options): Viewer;
