/**
 * Applies what an edge sends: snapshots, events and positions. Pure: no clock, no network, no page.
 *
 * Messages of the socket and answers to polls may arrive in any mixture. Each event is taken once, by its seq, and goes
 * to the feed of its run. `runs.takeDirty()` returns which runs have changed.
 */

import { ended, fold, isKnown } from "./fold.js";
import { Runs, behind } from "./runs.js";

const DELIVERIES = new Set(["sync", "tests", "heartbeat"]);

/** The most tests that a page follows event by event. The list shows the others. */
export const MAX_SUBSCRIPTIONS = 100;

/** @template {EventSink} F */
export class Store {
  /**
   * @param {object} how
   * @param {(testId: string) => F} how.newFeed makes the sink of a new run's events
   * @param {string|null} [how.only] the run of a run's own page; by default all runs are of interest
   * @param {() => number} [how.now] ms: when a run began of which there is no snapshot yet
   */
  constructor({ newFeed, only = null, now = () => 0 }) {
    this.only = only;
    this.now = now;
    this.runs = new Runs(newFeed);
  }

  get stale() {
    return this.runs.stale;
  }

  /**
   * Applies one WebSocket message: an object, or an array of events.
   *
   * @param {any} message
   * @returns {{delivered: boolean, news: RunEvent|null}} delivered: data arrived, not only an error or a goodbye;
   *   news: the newest event that is no replay and was not delayed by the edge
   */
  receive(message) {
    let delivered = false;
    /** @type {RunEvent|null} */
    let news = null;
    for (const item of Array.isArray(message) ? message : [message]) {
      if (item === null || typeof item !== "object") continue;
      // Of an edge's own messages only "unreadable" has a seq, and none has a timestamp.
      const isUnreadable = item.type === "unreadable" && item.timestamp === undefined;
      const isEvent = !isUnreadable && typeof item.type === "string" && Number.isInteger(item.seq);
      if (isEvent || DELIVERIES.has(item.type)) delivered = true;
      if (isEvent) news = this.event(item) ?? news;
      else if (item.type === "sync") this.sync(item);
      else if (item.type === "heartbeat") this.heartbeat(item);
      else if (item.type === "tests") this.tests(item);
      else if (isUnreadable) this.unreadable(item);
      else if (item.type === "error" && item.testId) this.refused(item);
    }
    return { delivered, news };
  }

  /** @param {RunEvent} event @returns {RunEvent|null} the event, if it is urgent news */
  event(event) {
    if (typeof event.testId !== "string") return null;
    const known = isKnown(event);
    if (known && typeof event.message !== "string") return null;
    const run = this.runs.ensure(event.testId, this.now());
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
    run.feed.take(event);
    this.moveTo(run, event.seq);
    this.runs.mark(run.id, {});
    // The edge sends progress at most every 5 s, so its delay says nothing about the connection.
    return event.type !== "progress" && event.seq > run.syncedTo ? event : null;
  }

  /**
   * Applies the edge's answer to a position: after a subscribe, a resume or a catch-up.
   *
   * @param {any} sync
   * @param {{quietly?: boolean}} [how] quietly: do not report a recovery, since every answer to a poll is one
   */
  sync(sync, { quietly = false } = {}) {
    if (typeof sync.testId !== "string") return;
    const run = this.runs.ensure(sync.testId, sync.snapshot?.createdAt ?? 0);
    run.refusal = null;
    if (sync.outcome === "reset") {
      Object.assign(run, { seq: 0, recovering: null, unreadableTo: 0 });
      run.feed.restart(sync.reason);
      if (sync.snapshot) run.snapshot = sync.snapshot;
    } else {
      this.runs.merge(run, sync.snapshot);
    }
    run.epoch = sync.epoch ?? run.epoch;
    run.syncedTo = Math.max(sync.head ?? 0, sync.outcome === "reset" ? 0 : run.syncedTo);
    if (sync.outcome === "recovered" && sync.head > run.seq && !quietly) {
      run.recovering = { head: sync.head, count: 0 };
    }
    this.runs.mark(run.id, sync);
  }

  /** @param {any} beat */
  heartbeat(beat) {
    const run = this.runs.get(beat.testId);
    if (run && Number.isInteger(beat.head) && run.epoch !== null) this.moveTo(run, Math.max(run.seq, beat.head));
    this.runs.mark(beat.testId ?? "tests", beat);
  }

  /**
   * Applies changes to the list. A full list replaces the stored runs as far back as it reaches.
   *
   * @param {any} message `{upserts, removed?, counts?, full?, stale?}`
   */
  tests({ upserts = [], removed = [], counts = null, full = false, stale = false }) {
    this.runs.update({ upserts, removed, counts, full });
    if (full && !stale) this.runs.staleSources.clear(); // an edge is stale as a whole
    this.runs.mark("tests", { stale });
  }

  /**
   * Applies one page of getEvents. A page is ignored if the position has moved since the request.
   *
   * @param {string} testId
   * @param {Position|null} asked the position in the request
   * @param {any} answer
   * @returns {boolean} whether the page was applied
   */
  page(testId, asked, answer) {
    const now = this.position(testId);
    if (now?.seq !== asked?.seq || now?.epoch !== asked?.epoch) return false;
    this.sync({ ...answer, testId }, { quietly: true });
    for (const event of answer.events ?? []) this.event({ testId, ...event });
    if (answer.unreadable) this.unreadable({ testId, ...answer.unreadable });
    const run = this.runs.get(testId);
    if (run) this.moveTo(run, Math.max(run.seq, answer.head ?? 0));
    return true;
  }

  /**
   * The edge has passed over events of a run that could not be read. Each message counts those since the last one.
   *
   * @param {any} told `{testId, seq, count, reasons}`
   */
  unreadable({ testId, seq, count, reasons }) {
    const run = this.runs.get(testId);
    if (!run || !Number.isInteger(seq) || !(count > 0) || seq <= (run.unreadableTo ?? 0)) return;
    run.unreadableTo = seq;
    run.feed.unreadable?.(count, reasons ?? {});
    this.runs.dirty.add(run.id);
  }

  /** The edge refused to show a run. @param {any} error */
  refused(error) {
    const run = this.runs.get(error.testId);
    if (!run) return;
    run.refusal = String(error.message);
    run.refusalCode = String(error.code ?? error.data?.code ?? "not_found");
    this.runs.dirty.add(run.id);
    if (error.data?.deleted === true) this.deleted(run);
  }

  /** A run was deleted: the list drops it, also where a reader has its feed open. @param {Run<F>} run */
  deleted(run) {
    run.deleted = true;
    if (this.only === run.id) return;
    run.pinned = run.opened = false;
    this.runs.drop(run);
  }

  /**
   * The edge has pinned, unpinned or deleted a run for the reader. Its list will say so too.
   *
   * @param {string} testId
   * @param {"pinTest"|"unpinTest"|"deleteTest"} method
   */
  kept(testId, method) {
    const run = this.runs.get(testId);
    if (!run) return;
    if (method === "deleteTest") this.deleted(run);
    else run.snapshot = { ...run.snapshot, pinned: method === "pinTest" };
    this.runs.dirty.add(testId);
  }

  /** Keeps a run whether or not the list contains it. @param {string} testId @param {Snapshot|null} [snapshot] */
  pin(testId, snapshot = null) {
    const run = this.runs.ensure(testId, snapshot?.createdAt ?? 0);
    run.pinned = true;
    this.runs.merge(run, snapshot);
    return run;
  }

  /** A reader opens or closes the feed of a run. @param {string} testId @param {boolean} opened */
  setOpened(testId, opened) {
    const run = this.runs.get(testId);
    if (!run || run.opened === opened) return;
    run.opened = opened;
    run.feed.setOpen(opened);
    this.runs.dirty.add(testId);
  }

  /** The position to resume from; null: from the first event. @param {string} testId @returns {Position|null} */
  position(testId) {
    const run = this.runs.get(testId);
    return run && run.epoch !== null && run.seq > 0 ? { epoch: run.epoch, seq: run.seq } : null;
  }

  /** @returns {string[]} the runs whose events are wanted */
  subscriptions() {
    if (this.only !== null) return this.runs.has(this.only) ? [this.only] : [];
    const wanted = [...this.runs].filter((run) => run.opened || !ended(run.snapshot));
    if (wanted.length > MAX_SUBSCRIPTIONS) {
      wanted.sort((a, b) => Number(b.opened) - Number(a.opened) || b.snapshot.createdAt - a.snapshot.createdAt);
    }
    return wanted.slice(0, MAX_SUBSCRIPTIONS).map((run) => run.id);
  }

  /**
   * Whether anything is still expected: the first list, a run that has not ended, or missing events of an open feed.
   * An empty list expects its first test.
   */
  get expecting() {
    const runs = [...this.runs].filter((run) => this.only === null || run.id === this.only);
    const refused = (/** @type {Run<F>} */ run) => run.refusal !== null && !run.snapshot.createdAt; // no such run
    return runs.length === 0 || runs.some((run) => (ended(run.snapshot) ? run.opened && behind(run) : !refused(run)));
  }

  /** @param {Run<F>} run @param {number} seq */
  moveTo(run, seq) {
    run.seq = seq;
    if (run.recovering && seq >= run.recovering.head) this.endRecovery(run);
    this.runs.dirty.add(run.id);
  }

  /** @param {Run<F>} run */
  endRecovery(run) {
    if (run.recovering?.count) run.feed.recovered(run.recovering.count);
    run.recovering = null;
  }
}
