// Types shared by several modules, for the reader and for `tsc --checkJs`. No browser loads this file.
// broker/PROTOCOL.md describes the messages. Times are in milliseconds since 1970 unless noted otherwise.

type Status = "queued" | "running" | "completed" | "failed";

/** The number of runs in each status. */
type Counts = Record<Status, number> & { cancelled?: number }; // cancelled: none of them is in `failed`

/** One event of a run as an edge sends it: the agent's message with `testId` and `seq` in front. */
interface RunEvent {
  testId: string;
  seq: number; // stream sequence: the position after this event
  type: "status" | "progress" | "complete" | "error";
  phase?: string; // "phase1" to "phase4"
  status?: Status;
  message: string;
  timestamp: number; // by the publisher's clock
  data?: any;
}

/** The fold of a run's events. Times are by the broker's clock, ms. */
interface Snapshot {
  testId: string;
  title?: string;
  gameUrl?: string;
  status: Status;
  phase?: string | null;
  message?: string;
  score?: number; // 0 to 100
  metrics?: any;
  seq: number;
  createdAt: number;
  startedAt?: number;
  finishedAt?: number;
  updatedAt?: number;
  attempt?: number;
  worker?: string;
  error?: string;
  errorCode?: string; // `data.code` of the event that set `error`; "cancelled": a person has ended the run
  project?: string; // absent: "default"; "": not known
  labels?: Record<string, string>; // what the submitter says about the run
  epoch?: string; // the life of the stream that `seq` belongs to
  queuePlace?: number; // 1 is the next; added by the edge to the first 100 of the queue
  noAgent?: boolean; // queued while no agent is running; added by the edge
  pinned?: boolean; // somebody keeps it for good; added by the edge
  stalled?: boolean; // had begun, and no sign of life for 25 s; added by the edge
}

/** The last event of a stream that was applied. */
type Position = { epoch: string; seq: number };

/** Why an edge could not resume from a position. */
type ResetReason = "expired" | "ahead" | "epoch";

/** Receives the events of one run from the store, once each and in order. The calls are synchronous. */
interface EventSink {
  take(event: RunEvent): void;
  restart(reason?: ResetReason): void; // the next event does not follow the previous one
  recovered(count: number): void; // a resume is complete; `count` is at least 1
  unreadable?(count: number, reasons: Record<string, number>): void; // the edge passed over so many malformed events
  setOpen(open: boolean): void; // whether a reader has the feed open
}

/** What the store knows about one run. */
interface Run<F extends EventSink = EventSink> {
  id: string;
  snapshot: Snapshot;
  feed: F; // where its events go
  seq: number; // position of the feed; 0 before the first event
  epoch: string | null; // the life of the stream that `seq` belongs to
  syncedTo: number; // head at the last sync; events up to it are a replay
  opened: boolean; // a reader has its feed open: its events are wanted even after it has ended
  pinned: boolean; // requested by id: kept although the list does not contain it
  recovering: { head: number; count: number } | null; // a resume in progress
  refusal: string | null; // why the edge refused the subscription
  refusalCode?: string; // the edge's word for it
  deleted?: boolean; // it was deleted while it was watched
  unreadableTo?: number; // seq of the newest unreadable event that was counted
}

type ConnectionState = "idle" | "connecting" | "live" | "waiting" | "finished" | "refused";

interface Connection {
  state: ConnectionState;
  wanted: boolean; // some watched test has not ended
  looks: boolean; // whether to check the list for new tests after all tests have ended
  attempt: number; // 0 for the first connection, 1 for the first attempt after a loss, …
  failures: number; // consecutive attempts on which nothing was delivered
  deadlineAt: number; // when the `deadline` event is due; Infinity for never
  reason: string; // why the edge refused the connection
  code: number; // refused: the close code
  renews: boolean; // another proof of who this is can be had without the reader
  renewed: boolean; // one was asked for since the last delivery
}

/**
 * - watch: some watched test has not ended; rest: all have
 * - frame: any message arrived; delivered: an event, a sync, the list or a heartbeat arrived
 * - closed: the socket closed; deadline: the timer fired
 * - wake: the page is online, visible or shown again; leave: it enters the back/forward cache
 * - denied: the edge answered over HTTP that it does not know who asks
 * - retry: the reader pressed "Try now"
 */
type ConnectionEventType =
  "watch" | "rest" | "frame" | "delivered" | "closed" | "deadline" | "wake" | "retry" | "leave" | "denied";
interface ConnectionEvent {
  type: ConnectionEventType;
  code?: number; // closed: the close code
  reason?: string; // closed: the close reason
  retryAfterMs?: number; // closed: the wait that a goodbye asked for
  lateMs?: number; // deadline: how late the timer fired
  restored?: boolean; // wake: the page comes from the back/forward cache
}
type Effect = "open" | "detach" | "probe" | "look" | "renew";
type Chance = { now: number; random: number }; // random: from 0 up to, not including, 1
type Step = [Connection, Effect[]];
type Cell = (c: Connection, event: any, chance: Chance) => Step;

/** What carries events while sockets fail. */
interface Fallback {
  state: "off" | "asked" | "both" | "streaming" | "polling";
  deadlineAt: number; // when its `deadline` event is due; Infinity for never
  tries: number; // streams that have failed since one has lasted
  askedAt: number; // when the last stream was asked for
}
/**
 * - start: two attempts at a socket have failed; stop: a socket delivers, or nothing is wanted
 * - frame, delivered, closed: of the stream; deadline, wake, leave: as above
 */
type FallbackEventType = "start" | "stop" | "frame" | "delivered" | "closed" | "deadline" | "wake" | "leave";
interface FallbackEvent {
  type: FallbackEventType;
  retryAfterMs?: number; // closed: the wait that the edge asked for
}
/** stream, close: the stream; poll, pictures, rest: poll everything, pictures only, nothing */
type FallbackEffect = "stream" | "close" | "poll" | "pictures" | "rest";
type FallbackCell = (f: Fallback, event: any, chance: Chance) => [Fallback, FallbackEffect[]];

/** An answer to getShot. `status` is 304 if the known picture is the newest, 0 if the edge did not answer. */
type Screenshot = { status: number; etag: string; picture: Blob | null };
