// Types shared by several modules, for the reader and for `tsc --checkJs`. No browser loads this file.
// broker/PROTOCOL.md describes the messages. Times are in milliseconds since 1970 unless noted otherwise.

type Status = "queued" | "running" | "completed" | "failed";

// generated: messages (make schemas)

/** An event as a viewer receives it: the publisher's object with `testId` and `seq` at its front. */
interface RunEvent {
  testId: string;
  seq: number; // Its stream sequence: the position after this event. It grows within a run, with gaps
  /** One of the known types, or a type of another version: skip it, and move the position past it. */
  type: "status" | "progress" | "complete" | "error";
  message: string; // One line for a person
  timestamp: number; // Milliseconds since 1970, by the publisher's clock
  phase?: "phase1" | "phase2" | "phase3" | "phase4";
  status?: "completed" | "failed" | "queued" | "running";
  data?: any;
}

/**
 * Folded state of one run, stamped with the position it was folded up to. Times are ms since 1970 by the broker's
 * clock: when it stored the event in question. 0: not known.
 */
interface Snapshot {
  testId: string;
  title?: string;
  gameUrl?: string;
  status: "completed" | "failed" | "queued" | "running";
  phase?: "phase1" | "phase2" | "phase3" | "phase4" | null;
  message?: string;
  seq: number;
  createdAt: number;
  updatedAt?: number;
  attempt?: number;
  score?: number;
  metrics?: any;
  startedAt?: number;
  finishedAt?: number;
  worker?: string;
  error?: string;
  errorCode?: string; // `data.code` of the event that set `error`
  /** The life of the stream that `seq` belongs to. Absent: stored by a version that took its times from publishers. */
  epoch?: string;
  /**
   * Fixed by the run's first event of a known type. Absent: `default`. Empty: not known; shown to who may see every
   * project.
   */
  project?: string;
  /** Fixed by the run's first event of a known type, sorted by name. Absent: it has none. */
  labels?: Record<string, string>;
  /** Titles of the run's phases, as its publisher names them; there may be more to come. Absent: it names none. */
  phases?: string[];
  /** Never stored: an edge adds it to the first runs of the queue, which may be its project's. 1 is the next. */
  queuePlace?: number;
  noAgent?: boolean; // Never stored: an edge adds it to a queued run while no agent is running
  pinned?: boolean; // Never stored here: an edge adds it to a run that somebody keeps for good
  stalled?: boolean; // Never stored: an edge adds it to a run that had begun and has given no sign of life for 25 s
}

/** How many runs are in each status. */
interface Counts {
  queued: number;
  running: number;
  completed: number;
  failed: number;
  cancelled: number; // Those that a person has ended: none of them is in `failed`
}

/** Before the events of a subscribe or a resume, and when a catch-up finds that the events it needs are gone. */
interface SyncMessage {
  type: "sync";
  testId: string;
  outcome: "live" | "recovered" | "reset"; // How the client's position was taken: see the table of resumes
  reason?: "ahead" | "epoch" | "expired"; // Of a `reset`
  epoch: string; // Names this life of the stream
  head: number; // The newest position that is sent to viewers at this moment
  snapshot?: Snapshot; // The run at its newest position; absent where no event of a known type is stored
  stale?: true; // What is shown may be old: the broker has not answered for 5 s, or the list is being filled again
}

/** At most every 15 s on an idle socket. */
interface HeartbeatMessage {
  type: "heartbeat";
  testId?: string; // The run that `head` is about; absent on a socket that follows none
  head?: number; // Move your position there if that is larger
  stale?: true; // What is shown may be old
}

/** On the channel `tests`: first the newest 100 runs, then changes: newest state only, at most 4 messages a s. */
interface TestsMessage {
  type: "tests";
  upserts: Snapshot[]; // Runs that are new or have changed
  removed: string[]; // Runs that are gone, or that the viewer may not see any more
  counts: Counts; // All runs by status
  full?: true; // `upserts` is the whole list: what else the client has is out of date
  stale?: true; // What is shown may be old
  ageMs?: number; // For how long it has been `stale`, ms
}

/** On the channel `frames`: the run's newest picture, then newer ones, at most 4 messages a second for a run. */
interface FrameMessage {
  type: "frame";
  testId: string;
  number: number; // Names the picture for ever; larger is newer
  eventSeq: number; // Of the event that it belongs to; 0: not known
  timeMs: number; // When it was taken, ms since 1970 by its publisher's clock
}

/** After a batch in which malformed messages were passed over. The one control message with a `seq`. */
interface UnreadableMessage {
  type: "unreadable";
  testId: string;
  seq: number; // Of the newest of them
  count: number; // How many since the last such message to this viewer
  reasons: Record<string, number>; // The number for each reason
}

/** The answer to an `authenticate` that was taken. */
interface AuthenticatedMessage {
  type: "authenticated";
  expiresAt?: number; // When the new proof expires, ms since 1970; absent: it does not
}

/** The connection is about to end; on a socket close code 1012 follows. */
interface GoodbyeMessage {
  type: "goodbye";
  retryAfterMs: number; // When to come back, with the position
  reason: string; // One line for a person
}

/** A message of the client was refused, or its proof has ended. It has no `seq`: an event of this type has one. */
interface RefusalMessage {
  type: "error";
  testId?: string; // The run that it is about, if it is about one
  message: string; // One sentence for a person
  timestamp: number; // By the edge's clock, ms since 1970
  data: ErrorData;
}

/** What is wrong, for programs. */
interface ErrorData {
  code: string; // A word, see the error codes
  graceMs?: number; // Of a proof that has ended: for how long another one is awaited
  deleted?: true; // The run was deleted while it was watched
}

/** What an edge says by itself. A client ignores types that it does not know. */
type ControlMessage =
  SyncMessage | HeartbeatMessage | TestsMessage | FrameMessage | UnreadableMessage | AuthenticatedMessage | GoodbyeMessage | RefusalMessage;

// end

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
