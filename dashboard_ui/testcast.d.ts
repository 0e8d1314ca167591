// The types of /testcast.js; docs/CLIENT.md tells it with examples. Times are ms since 1970.

export type Status = "queued" | "running" | "completed" | "failed";
export type Phase = "phase1" | "phase2" | "phase3" | "phase4";

/** One event of a test. Fields that an agent added pass through. */
export interface RunEvent {
  testId: string;
  /** Its place in the stream: grows within a test, with holes. */
  seq: number;
  type: "status" | "progress" | "complete" | "error";
  phase?: string;
  status?: Status;
  /** One line for a person. */
  message: string;
  /** By the publisher's clock. */
  timestamp: number;
  data?: any;
}

/** The feed starts anew at the oldest event that is kept: what came before does not join on to what follows. */
export interface Reset {
  type: "reset";
  testId: string;
  /** expired: events after the position are no longer kept; ahead, epoch: the broker's history was replaced. */
  reason: "expired" | "ahead" | "epoch";
}

export type Item = RunEvent | Reset;

/** A test as its events have made it. */
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
  createdAt: number;
  startedAt?: number;
  finishedAt?: number;
  updatedAt?: number;
  attempt?: number;
  worker?: string;
  error?: string;
  /** No sign of life for 25 s; told with `list` only. */
  stalled?: boolean;
}

/** The event that was handed out last; keep it to go on after it on another day, or on another edge. */
export interface Position {
  epoch: string;
  seq: number;
}

export interface ConnectionStatus {
  /**
   * idle: nothing is watched, or all of it has ended; polling: no socket, asked every 3 s, nothing is lost;
   * refused: the edge said no, for `reason`, and is not asked again.
   */
  state: "idle" | "connecting" | "live" | "reconnecting" | "polling" | "refused" | "closed";
  /** Of 10, then one every 30 s; 0 for the first connection. */
  attempt: number;
  /** The edge says that what it sends may be old: it can't reach its broker. */
  stale: boolean;
  /** When the next attempt starts; while one is waited for. */
  retryAt?: number;
  /** Why we are refused. */
  reason?: string;
}

export interface Options {
  /** The edge's address; by default the origin that this module came from. In Node there is none: say it. */
  url?: string | URL;
  /** Whether to follow the list of all tests: `onRun` tells of each, and the connection is kept for good. */
  list?: boolean;
  /** Each event of a watched test: once, in order. */
  onEvent?: (event: RunEvent) => void;
  onReset?: (reset: Reset) => void;
  /** A test is another: a watched one with each of its events, with `list` any. */
  onRun?: (run: Run) => void;
  /** The edge knows no such test. */
  onRefused?: (testId: string, error: RpcError) => void;
  onConnection?: (status: ConnectionStatus) => void;
}

export interface Viewer {
  /**
   * Watches a test on the viewer's one socket, from its first event or after `position`.
   * @throws {TypeError} no test id @throws {Error} the viewer is closed
   */
  watch(testId: string, from?: { position?: Position }): void;
  unwatch(testId: string): void;
  /**
   * Watches a test, and ends with it; `break` unwatches. What is not read yet waits in memory, unbounded.
   * @throws {RpcError} from the iteration: no such test, or the edge refuses
   * @throws {Error} the test is watched already
   */
  events(testId: string, from?: { position?: Position }): AsyncGenerator<Item, void, undefined>;
  /** Null before the first event, and for what is not watched. */
  position(testId: string): Position | null;
  /** The newest that is known of a test. */
  run(testId: string): Run | null;
  readonly connection: ConnectionStatus;
  /** An RPC of the edge (broker/PROTOCOL.md), like `call("submitTest", { gameUrl })`. @throws {RpcError} */
  call(method: string, params?: Record<string, unknown>): Promise<any>;
  /** The next attempt now, also after a refusal. */
  retry(): void;
  /** Lets go of everything, for good; iterations end. */
  close(): void;
}

/** The edge said no, with its reason. `status` is HTTP's; 0 when it could not be reached, or closed the socket. */
export class RpcError extends Error {
  constructor(message: string, code: string, status: number);
  code: string;
  status: number;
}

/** Connects when the first test is watched (with `list` at once). Throws nothing later: see `onConnection`. */
export function connect(options?: Options): Viewer;
