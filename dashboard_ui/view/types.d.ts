// Types shared by several modules of the dashboard, for the reader and for `tsc --checkJs`.
// No browser loads this file. client/types.d.ts has the types of runs, events and the connection.

/** A run with the lines of its feed, as the dashboard stores it. */
type ShownRun = Run<import("./feed-log.js").FeedLog>;

/** A snapshot with the type of every field made sure of. `look`: its status, or "cancelled" of a run that was. */
interface Shown extends Snapshot {
  look: Look;
  message: string;
  stalled: boolean;
  noAgent: boolean;
  labels: Record<string, string>;
}
type Look = Status | "cancelled";
/** What the list shows: all runs, those of a look, or those that somebody keeps for good. */
type Filter = Look | "all" | "pinned";

/** Events that could not be read: how many, and how often for each reason. */
type Unread = { count: number; reasons: Map<string, number> };

/** A row of the table of metrics; a list has several values. */
type MetricRow = { name: string; values: string[] };

type Severity = "high" | "medium" | "low";
/** In parts of the picture, 0 to 1. */
type Point = { x: number; y: number };
/** Something that is done to a game: from a frame of its own time on, for some frames. */
type Gesture = { at: number; hold: number; kind: string; name: string; keys: string[]; place: Point | null; to: Point | null };
/** A finding of the agent. `seen`: times shown, times tried. `seq`: of its event; 0: not known. */
interface Finding {
  id: string;
  name: string; // of its kind
  severity: Severity;
  title: string;
  detail: string;
  stack: string;
  atMs?: number; // in the game's own time
  seen: [number, number] | null;
  inputs: Gesture[];
  more: number; // gestures that are not in `inputs`
  until?: number; // the frame at which it has shown
  real: boolean; // it was found in real time, and is not replayed by frames
  once: boolean; // its event says that it was seen once
  seq: number;
}
/** A control with its evidence. `change`: the part of the picture that it changed. */
type ReportedControl = { name: string; change?: number; seen: [number, number]; situations: string[]; promised: boolean; seq: number };
/** Points that a run has lost, in these parts of its score, and the finding that cost them, if one did. */
type Lost = { points: number; why: string; finding: string; parts: string[] };
interface How {
  time: "owned" | "real" | "mixed" | "";
  determinism: { moments: number; agreed: number } | null;
  uncontrolled: string[] | null;
  unknown: string[] | null; // what was not found out
  speed?: number; // game seconds a second
  gameSeconds?: number;
  coverage: { used: number; total: number } | null; // bytes
}
/** `known`: the verdict says what was found. `controls` null: it says nothing of evidence. `tried`: how many inputs were. */
interface RunReport {
  findings: Finding[];
  once: Finding[];
  known: boolean;
  controls: ReportedControl[] | null;
  tried: number | null;
  lost: Lost[];
  how: How;
}

type RubricPart = { part: string; score: number; max: number; reasons: string[] };

/** One line of a feed. */
interface Line {
  kind: "day" | "phase" | "status" | "progress" | "action" | "problem" | "error" | "cancelled" | "complete" | "system";
  text: string;
  detail?: string; // the game's own message, shown below the text
  time?: number;
  seq?: number; // of the event that the line shows
  part?: number; // of a program's output: which line of the event, from 0
  output?: "stdout" | "stderr";
  ansi?: string; // the text with its colours
}

/** A filter of a feed. */
type Group = "all" | "steps" | "actions" | "problems";

/** The time that one attempt spent in one phase; `seq` is that of its first event. */
type Span = { phase: number; title?: string; attempt: number; from: number; to: number; seq: number };
type Timeline = { spans: Span[]; attempt: number; running: boolean; ended: boolean };

/** A problem of the game; `time` and `seq` are those of its first occurrence. `finding`: the agent's report has it. */
type Problem = { name: string; text: string; count: number; time: number; seq: number; finding: boolean };
/** `reports`: an event tells something of the agent's report. */
type Problems = { found: Map<string, Problem>; more: number; reports: boolean };

/** An element that shows a part of a snapshot. */
type Part = { root: HTMLElement; update: (run: Shown, now: number) => void };

/** An element that shows a run: a card or the run's own page. */
interface View {
  root: HTMLElement;
  update(run: ShownRun): void;
  tick(run: ShownRun, now: number): void; // called once a second, for what moves with the clock
  showPicture(picture: Blob): Promise<void>;
}

/** What shows the newest picture of a run. The promise resolves when it is shown, or can't be. */
type PictureView = Pick<View, "showPicture"> & { showNone?(): void }; // showNone: the edge has answered that there is none

/** A page of the history of games. */
interface HistoryView {
  root: HTMLElement;
  start(): Promise<unknown>;
  update(ids: string[]): void; // the runs that have changed
  tick(now: number): void; // called once a second
}

/** The actions of cards and pages. A promise rejects with the edge's reason. */
interface Actions {
  frames: import("../client/frames.js").Frames; // the pictures of runs
  offline?: boolean; // the page is an exported file: there is no edge
  share(testId: string): HTMLElement | null; // the button that makes share links, for who may
  whyNoSubmit(): string; // instead of the form
  may(action: string): boolean; // whether the reader is permitted to, as far as the page knows
  say(text: string): void; // announces a text to screen readers
  open(testId: string, opened: boolean): void;
  cancel(testId: string): Promise<void>;
  keep(method: "pinTest" | "unpinTest" | "deleteTest", testId: string): Promise<void>;
  submit(params: Record<string, any>): Promise<string>; // returns the id of the new test
  expect(testId: string): void; // shows a test of which nothing is known yet
  watch(testId: string): Promise<unknown>; // shows a test that the list may not contain
  firstEvent(testId: string): Promise<RunEvent | undefined>;
  config(): Promise<{ demoGameUrl?: string; allowPrivate?: boolean }>; // the first answer of getConfig
  list(params: Record<string, any>): Promise<ListAnswer>; // a page of listTests, which the store has taken
}

/** An answer to getSession. Times are in ms. */
interface Session {
  required: boolean;
  ways: string[];
  subject?: string; // absent: nobody has signed in
  projects?: string[] | "*";
  actions?: string[];
  expiresAt?: number;
}

/** What the reader may do on this page. */
interface PageAccess {
  root: HTMLElement | null; // for the header
  blocked: string | null; // not null: there is nothing to show before the reader has signed in
  may(action: string): boolean;
  share(testId: string): HTMLElement | null; // the button that makes share links
  whyNoSubmit(): string;
  check(): Promise<void>; // a connection has failed
  ended(): void; // the edge does not know the reader any more
  lost(): void; // the edge does not show the page's test any more
  expiring(): void; // the edge wants another proof, within a grace time
}

interface AccessHooks {
  onBlocked(root: HTMLElement): void; // shows this in place of the page
  onSignedIn(ticket: () => Promise<string>): Promise<void>; // the reader has signed in again
  hasContent(): boolean; // whether something is shown that is worth keeping
}

type ListAnswer = { tests: Snapshot[]; nextCursor?: string };

/** What the file of an exported run says of itself. Times are in ms. */
interface ExportedRun {
  madeBy: string;
  exportedAt: number;
  ended: boolean;
  epoch: string;
  head: number;
  eventsGone: boolean;
  framesGone: boolean;
  snapshot: Snapshot;
  from?: number; // only these events are in the file
  to?: number;
}
