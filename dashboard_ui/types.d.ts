// Shapes that several modules speak of, for the reader and for `tsc --checkJs`; no browser loads this file.
// The wire's own words stand in broker/PROTOCOL.md. Times are ms since 1970 where nothing else is said.

type Status = "queued" | "running" | "completed" | "failed";

/** How many runs there are in each status. */
type Counts = Record<Status, number>;

/** One event of a run as an edge sends it: what the agent published, `testId` and `seq` put in front. */
interface RunEvent {
  testId: string;
  seq: number; // the stream's sequence: the position after this event
  type: "status" | "progress" | "complete" | "error";
  phase?: string; // "phase1" to "phase4"
  status?: Status;
  message: string;
  timestamp: number; // the publisher's clock
  data?: any;
}

type RubricPart = { part: string; score: number; max: number; reasons: string[] };

/** The fold of a run's events. */
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
  stalled?: boolean; // no sign of life for 25 s; added by the edge
}

/** The place in a stream that was applied last. */
type Position = { epoch: string; seq: number };

/** One line of a feed. */
interface Line {
  kind: "phase" | "status" | "progress" | "action" | "problem" | "error" | "complete" | "system";
  text: string;
  detail?: string; // the game's own words, below the text
  time?: number;
  seq?: number; // of the event it came from
}

/** What a feed can be narrowed to. */
type Group = "all" | "steps" | "actions" | "problems";

/** A stretch of one phase in one attempt; `seq` is that of its first event. */
type Span = { phase: number; attempt: number; from: number; to: number; seq: number };
type Timeline = { spans: Span[]; attempt: number; running: boolean; ended: boolean };

/** What a game did wrong; `time` and `seq` are those of the first. */
type Problem = { name: string; text: string; count: number; time: number; seq: number };
type Problems = { found: Map<string, Problem>; more: number };

/** What the page knows of one run. */
interface Run {
  id: string;
  snapshot: Snapshot;
  seq: number; // position of the feed; 0 before the first event
  epoch: string | null; // the life of the stream that seq belongs to
  syncedTo: number; // head at the last sync: events up to it are replay, not news
  lines: Line[];
  log: RunEvent[]; // what the feed shows, as it came; the newest only after a while without a reader
  events: number; // that the feed shows when it is open
  forgotten: number; // events before this seq were let go of; 0: none were
  generation: number; // goes up when the feed is thrown away
  phase: string; // of the newest line
  opened: boolean; // a reader has its feed open: wanted even when it has ended
  pinned: boolean; // asked for by id: stays although the list does not name it
  recovering: { head: number; count: number } | null;
  refusal: string | null; // why the edge would not let us subscribe
}

type ConnectionState = "idle" | "connecting" | "live" | "waiting" | "finished" | "refused";

interface Connection {
  state: ConnectionState;
  wanted: boolean; // some watched test has not ended
  looks: boolean; // whether to look for new tests when all have ended
  attempt: number; // 0 for the first of all, 1 after a loss, …
  failures: number; // attempts in a row on which nothing was delivered
  deadlineAt: number; // when the `deadline` event is due; Infinity for never
  reason: string; // why we are refused
}

/**
 * watch: some watched test has not ended; rest: all have; frame: anything came; delivered: an event, a sync, the
 * list or a heartbeat came; wake: online, visible or shown again; retry: the reader's "try now"; leave: into the
 * back/forward cache.
 */
type ConnectionEventType =
  "watch" | "rest" | "frame" | "delivered" | "closed" | "deadline" | "wake" | "retry" | "leave";
interface ConnectionEvent {
  type: ConnectionEventType;
  code?: number; // of closed, as the next two
  reason?: string;
  retryAfterMs?: number; // what a goodbye asked for
  lateMs?: number; // of deadline
  restored?: boolean; // of wake: from the back/forward cache
}
type Effect = "open" | "detach" | "probe" | "look";
type Chance = { now: number; random: number }; // random from 0 up to 1
type Step = [Connection, Effect[]];
type Cell = (c: Connection, event: any, chance: Chance) => Step;

/** What draws a part of a snapshot. */
type Part = { root: HTMLElement; update: (run: Snapshot) => void };

/** What shows a run: a card or the run's own page. */
interface View {
  root: HTMLElement;
  update(run: Run): void;
  tick(run: Run, now: number): void; // once a second: what moves with the clock
  showPicture(picture: Blob): void;
}

/** What cards and pages ask for; a promise fails with the edge's reason. */
interface Actions {
  say(text: string): void; // to those who listen
  open(testId: string, opened: boolean): void;
  cancel(testId: string): Promise<void>;
  submit(params: Record<string, any>): Promise<string>; // the new test's id
  demoGameUrl(): Promise<string | undefined>;
  list(params: Record<string, any>): Promise<{ tests: Snapshot[]; nextCursor?: string }>; // a page of listTests, in the store already
}

type Shot = { status: number; etag: string; picture: Blob | null };
