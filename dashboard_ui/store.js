/**
 * What the page knows: every run, its snapshot, its feed and the position that was applied. Socket and
 * polling both feed it, in any mixture: an event is taken once, by its seq. Pure: no clock, no network, no
 * page; whoever draws asks `takeDirty()` what has changed.
 */

import { EVENT_TYPES, blank, ended, fold } from "./fold.js";
import { earlierLine, linesOf, recoveredLine, resetLine } from "./lines.js";

const DELIVERIES = new Set(["sync", "tests", "heartbeat"]);

/** Tests that one page follows event by event; more than that is the list's work. */
export const MAX_SUBSCRIPTIONS = 100;
/** Events that a feed keeps while nobody has it open: a page stands for days. The edge has them all. */
export const KEPT = 50;
/** Runs that a page has before it lets go of the older half. */
export const MAX_RUNS = 1000;

export class Store {
  /** @param {{only?: string|null}} [scope] `only`: the one run of a run page */
  constructor({ only = null } = {}) {
    this.only = only;
    /** @type {Map<string, Run>} */
    this.runs = new Map();
    /** Whether the list, even an empty one, has been delivered. */
    this.listed = false;
    /** How many runs there are by status, also those that are not here; null before the first list. @type {Counts|null} */
    this.counts = null;
    /** The oldest of the last whole list: from it on nothing is missing here; null: nothing at all. @type {Snapshot|null} */
    this.oldest = null;
    /** Goes up when a whole list did not join on to what we had: farther down runs may be missing. */
    this.breaks = 0;
    /** @type {Set<string>} who says that what it sends may be old: a test's id, or "tests" */
    this.staleSources = new Set();
    /** @type {Set<string>} */
    this.dirty = new Set();
  }

  /** @returns {string[]} the ids that changed since the last call */
  takeDirty() {
    const ids = [...this.dirty];
    this.dirty.clear();
    return ids;
  }

  /** @returns {Run[]} newest first */
  list() {
    return [...this.runs.values()].sort((a, b) => byAge(a.snapshot, b.snapshot));
  }

  get stale() {
    return this.staleSources.size > 0;
  }

  /**
   * Takes one WebSocket message: an object, or an array of events.
   *
   * @param {any} message
   * @returns {{delivered: boolean, news: RunEvent|null}} whether data came, no error or farewell; and the newest
   *   event that is no replay and was not held back by the edge
   */
  receive(message) {
    let delivered = false;
    /** @type {RunEvent|null} */
    let news = null;
    for (const item of Array.isArray(message) ? message : [message]) {
      if (item === null || typeof item !== "object") continue;
      const isEvent = typeof item.type === "string" && Number.isInteger(item.seq); // an edge's own messages have no seq
      if (isEvent || DELIVERIES.has(item.type)) delivered = true;
      if (isEvent) news = this.event(item) ?? news;
      else if (item.type === "sync") this.sync(item);
      else if (item.type === "heartbeat") this.heartbeat(item);
      else if (item.type === "tests") this.tests(item);
      else if (item.type === "error" && item.testId) this.refused(item);
    }
    return { delivered, news };
  }

  /** @param {RunEvent} event @returns {RunEvent|null} the event, if it is urgent news */
  event(event) {
    if (typeof event.testId !== "string") return null;
    const known = EVENT_TYPES.has(event.type);
    if (known && typeof event.message !== "string") return null;
    const run = this.ensure(event.testId, event.timestamp ?? 0);
    if (event.seq <= run.seq) return null;
    if (!known) {
      // Of a newer version: there is nothing to show, and only the position moves.
      run.snapshot = fold(run.snapshot, event);
      this.moveTo(run, event.seq);
      return null;
    }
    if (run.recovering) {
      if (event.seq <= run.recovering.head) run.recovering.count++;
      else this.endRecovery(run);
    }
    run.snapshot = fold(run.snapshot, event);
    this.keep(run, event);
    this.moveTo(run, event.seq);
    this.staleSources.delete(run.id);
    // Progress may have been held by the edge for seconds (ADR-006): it says nothing about the way here.
    return event.type !== "progress" && event.seq > run.syncedTo ? event : null;
  }

  /** What becomes of an event that was taken: a line of the feed. @param {Run} run @param {RunEvent} event */
  keep(run, event) {
    run.lines.push(...linesOf(event, run.phase));
    run.phase = event.phase ?? run.phase;
    run.log.push(event);
    run.events++;
    if (run.log.length > 2 * KEPT) this.trim(run);
  }

  /** Lets go of what only an open feed shows. @param {Run} run */
  trim(run) {
    const { log, lines } = run;
    if (run.opened || run.id === this.only || log.length <= KEPT) return;
    run.log = log.slice(-KEPT);
    run.forgotten = run.log[0].seq;
    run.lines = [earlierLine(), ...lines.slice(lines.findIndex((line) => (line.seq ?? 0) >= run.forgotten))];
    run.generation++;
  }

  /**
   * Puts what was let go of back in its place.
   *
   * @param {string} testId
   * @param {number} before  its `forgotten` when it was asked for; another by now: nobody needs the answer
   * @param {RunEvent[]} events from the first that is retained, at least up to there
   */
  restore(testId, before, events) {
    const run = this.runs.get(testId);
    if (!run || run.forgotten !== before) return;
    const earlier = events.filter(({ seq }) => seq < before);
    let phase = "";
    const lines = earlier.flatMap((event) => {
      const found = linesOf(event, phase);
      phase = event.phase ?? phase;
      return found;
    });
    run.log = [...earlier, ...run.log];
    run.lines = [...lines, ...run.lines.slice(1)];
    run.forgotten = 0;
    run.generation++;
    this.dirty.add(testId);
  }

  /** What was kept does not join on to what follows. @param {Run} run @param {string|undefined} reason */
  startAgain(run, reason) {
    Object.assign(run, { lines: [resetLine(reason)], log: [], events: 0, forgotten: 0, phase: "" });
    run.generation++;
  }

  /**
   * What the edge made of our position, after a subscribe, a resume or a catch-up.
   *
   * @param {any} sync
   * @param {{quietly?: boolean}} [how] quietly: a poll, whose every answer is a small recovery
   */
  sync(sync, { quietly = false } = {}) {
    if (typeof sync.testId !== "string") return;
    const run = this.ensure(sync.testId, sync.snapshot?.createdAt ?? 0);
    run.refusal = null;
    if (sync.outcome === "reset") {
      Object.assign(run, { seq: 0, recovering: null });
      this.startAgain(run, sync.reason);
      if (sync.snapshot) run.snapshot = sync.snapshot;
    } else {
      this.merge(run, sync.snapshot);
    }
    run.epoch = sync.epoch ?? run.epoch;
    run.syncedTo = Math.max(sync.head ?? 0, sync.outcome === "reset" ? 0 : run.syncedTo);
    if (sync.outcome === "recovered" && sync.head > run.seq && !quietly) {
      run.recovering = { head: sync.head, count: 0 };
    }
    this.mark(run.id, sync);
  }

  /** @param {any} beat */
  heartbeat(beat) {
    const run = this.runs.get(beat.testId);
    if (run && Number.isInteger(beat.head) && run.epoch !== null) this.moveTo(run, Math.max(run.seq, beat.head));
    this.mark(beat.testId ?? "tests", beat);
  }

  /**
   * Changes to the list; a full one replaces what we had, as far back as it reaches.
   *
   * @param {any} message `{upserts, removed?, counts?, full?, stale?}`
   */
  tests({ upserts = [], removed = [], counts = null, full = false, stale = false }) {
    if (full && !this.runs.has(upserts.at(-1)?.testId)) this.breaks++;
    for (const snapshot of upserts) this.merge(this.ensure(snapshot.testId, snapshot.createdAt), snapshot);
    const named = new Set(upserts.map((/** @type {Snapshot} */ snapshot) => snapshot.testId));
    this.counts = counts ?? this.counts;
    if (full) this.oldest = counts && total(counts) > upserts.length ? upserts.at(-1) : null;
    const { oldest } = this;
    for (const run of this.runs.values()) {
      const reached = oldest === null || byAge(run.snapshot, oldest) <= 0;
      if (full ? reached && !named.has(run.id) : removed.includes(run.id)) this.drop(run);
    }
    this.listed = true;
    if (full && !stale) this.staleSources.clear(); // an edge is stale as a whole
    this.mark("tests", { stale });
  }

  /**
   * One page of getEvents. Thrown away when the position has moved since it was asked: it answers a question
   * that nobody has any more.
   *
   * @param {string} testId
   * @param {Position|null} asked the position it was asked with
   * @param {any} answer
   * @returns {boolean} whether it was taken
   */
  page(testId, asked, answer) {
    const now = this.position(testId);
    if (now?.seq !== asked?.seq || now?.epoch !== asked?.epoch) return false;
    this.sync({ ...answer, testId }, { quietly: true });
    for (const event of answer.events ?? []) this.event({ testId, ...event });
    const run = this.runs.get(testId);
    if (run) this.moveTo(run, Math.max(run.seq, answer.head ?? 0));
    return true;
  }

  /** The edge would not let us watch. @param {any} error */
  refused(error) {
    const run = this.runs.get(error.testId);
    if (!run) return;
    run.refusal = String(error.message);
    this.dirty.add(run.id);
  }

  /** Watches a run, whether or not the list names it. @param {string} testId @param {Snapshot|null} [snapshot] */
  pin(testId, snapshot = null) {
    const run = this.ensure(testId, snapshot?.createdAt ?? 0);
    run.pinned = true;
    this.merge(run, snapshot);
    return run;
  }

  /** @param {string} testId @param {boolean} opened */
  setOpened(testId, opened) {
    const run = this.runs.get(testId);
    if (!run || run.opened === opened) return;
    run.opened = opened;
    this.trim(run);
    this.dirty.add(testId);
  }

  /** Where to go on from; null: from the first event. @param {string} testId @returns {Position|null} */
  position(testId) {
    const run = this.runs.get(testId);
    return run && run.epoch !== null && run.seq > 0 ? { epoch: run.epoch, seq: run.seq } : null;
  }

  /** @returns {string[]} the runs whose events are wanted */
  subscriptions() {
    if (this.only !== null) return this.runs.has(this.only) ? [this.only] : [];
    const wanted = [...this.runs.values()].filter((run) => run.opened || !ended(run.snapshot));
    if (wanted.length > MAX_SUBSCRIPTIONS) {
      wanted.sort((a, b) => Number(b.opened) - Number(a.opened) || b.snapshot.createdAt - a.snapshot.createdAt);
    }
    return wanted.slice(0, MAX_SUBSCRIPTIONS).map((run) => run.id);
  }

  /**
   * Whether anything is still expected: a run that has not ended, an open feed that is not complete, the
   * first list; and an empty list expects its first test.
   */
  get expecting() {
    const runs = [...this.runs.values()].filter((run) => this.only === null || run.id === this.only);
    const refused = (/** @type {Run} */ run) => run.refusal !== null && !run.snapshot.createdAt; // no such run
    return runs.length === 0 || runs.some((run) => (ended(run.snapshot) ? run.opened && behind(run) : !refused(run)));
  }

  /** @param {string} testId @param {number} createdAt @returns {Run} */
  ensure(testId, createdAt) {
    let run = this.runs.get(testId);
    if (!run) {
      run = {
        id: testId,
        snapshot: blank(testId, createdAt),
        seq: 0,
        epoch: null,
        syncedTo: 0,
        lines: [],
        log: [],
        events: 0,
        forgotten: 0,
        generation: 0,
        phase: "",
        opened: false,
        pinned: false,
        recovering: null,
        refusal: null,
      };
      this.runs.set(testId, run);
    } else if (!run.snapshot.createdAt && createdAt) {
      run.snapshot = { ...run.snapshot, createdAt };
    }
    this.dirty.add(testId);
    return run;
  }

  /** Takes a snapshot unless ours is newer: the list may lag behind. @param {Run} run @param {Snapshot|null} [snapshot] */
  merge(run, snapshot) {
    if (!snapshot || snapshot.seq < run.snapshot.seq) return;
    run.snapshot = snapshot;
    this.dirty.add(run.id);
  }

  /** @param {Run} run @param {number} seq */
  moveTo(run, seq) {
    run.seq = seq;
    if (run.recovering && seq >= run.recovering.head) this.endRecovery(run);
    this.dirty.add(run.id);
  }

  /** @param {Run} run */
  endRecovery(run) {
    if (run.recovering?.count) run.lines.push(recoveredLine(run.recovering.count));
    run.recovering = null;
  }

  /** @param {Run} run */
  drop(run) {
    if (run.pinned || run.opened) return;
    this.runs.delete(run.id);
    this.staleSources.delete(run.id);
    this.dirty.add(run.id);
  }

  /** Lets go of the oldest runs when there are too many; the list's pages bring them back. */
  shed() {
    if (this.runs.size <= MAX_RUNS) return;
    const runs = this.list();
    const rest = runs.slice(MAX_RUNS / 2);
    for (const run of rest) if (ended(run.snapshot)) this.drop(run);
    if (rest.some(({ id }) => !this.runs.has(id))) this.oldest = runs[MAX_RUNS / 2 - 1].snapshot;
  }

  /** @param {string} source @param {{stale?: boolean}} message */
  mark(source, { stale }) {
    if (stale) this.staleSources.add(source);
    else this.staleSources.delete(source);
  }
}

/** The order of the list: newest first. @param {Snapshot} a @param {Snapshot} b */
export const byAge = (a, b) => b.createdAt - a.createdAt || (a.testId < b.testId ? -1 : Number(a.testId > b.testId));

/** All runs there are. @param {Counts} counts */
export const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);

/** Whether the feed lacks events that the snapshot has seen. @param {Run} run */
export const behind = (run) => run.refusal === null && run.seq < run.snapshot.seq;
