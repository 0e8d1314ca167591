/** The runs that a client knows, and how far they cover the edge's list. Pure. */

import { blank, ended } from "./fold.js";

/** Above this number of runs, `shed` drops the older half. */
export const MAX_RUNS = 1000;

/** @template {EventSink} F */
export class Runs {
  /** @param {(testId: string) => F} newFeed makes the sink of a new run's events */
  constructor(newFeed) {
    this.newFeed = newFeed;
    /** @type {Map<string, Run<F>>} */
    this.byId = new Map();
    /** Whether a list, possibly an empty one, has arrived. */
    this.listed = false;
    /** The edge's runs by status, including those not stored here; null before the first list. @type {Counts|null} */
    this.counts = null;
    /** The list is complete from the newest run down to this one; null: it is complete. @type {Snapshot|null} */
    this.oldest = null;
    /** The number of full lists that did not overlap the stored runs: older runs may be missing since. */
    this.breaks = 0;
    /** The sources that say their data may be old: test ids, and "tests" for the list. @type {Set<string>} */
    this.staleSources = new Set();
    /** The ids that changed since the last `takeDirty`. @type {Set<string>} */
    this.dirty = new Set();
  }

  /** @param {string} testId */
  get(testId) {
    return this.byId.get(testId);
  }

  /** @param {string} testId */
  has(testId) {
    return this.byId.has(testId);
  }

  get size() {
    return this.byId.size;
  }

  /** In no particular order. @returns {IterableIterator<Run<F>>} */
  [Symbol.iterator]() {
    return this.byId.values();
  }

  /** @returns {Run<F>[]} newest first */
  newestFirst() {
    return [...this.byId.values()].sort((a, b) => byAge(a.snapshot, b.snapshot));
  }

  /** @returns {string[]} the ids that changed since the last call, including those of removed runs */
  takeDirty() {
    const ids = [...this.dirty];
    this.dirty.clear();
    return ids;
  }

  get stale() {
    return this.staleSources.size > 0;
  }

  /** Notes whether a message was marked stale. @param {string} source @param {{stale?: boolean}} message */
  mark(source, { stale }) {
    if (stale) this.staleSources.add(source);
    else this.staleSources.delete(source);
  }

  /** Returns a run, after adding it if it is new. @param {string} testId @param {number} createdAt @returns {Run<F>} */
  ensure(testId, createdAt) {
    let run = this.byId.get(testId);
    if (!run) {
      run = {
        id: testId,
        snapshot: blank(testId, createdAt),
        feed: this.newFeed(testId),
        seq: 0,
        epoch: null,
        syncedTo: 0,
        opened: false,
        pinned: false,
        recovering: null,
        refusal: null,
      };
      this.byId.set(testId, run);
    } else if (!run.snapshot.createdAt && createdAt) {
      run.snapshot = { ...run.snapshot, createdAt };
    }
    this.dirty.add(testId);
    return run;
  }

  /** Stores a snapshot unless the known one is newer. @param {Run<F>} run @param {Snapshot|null} [snapshot] */
  merge(run, snapshot) {
    if (!snapshot || snapshot.seq < run.snapshot.seq) return;
    run.snapshot = snapshot;
    this.dirty.add(run.id);
  }

  /**
   * Applies changes to the list. A full list replaces the stored runs as far back as it reaches.
   *
   * @param {{upserts: Snapshot[], removed: string[], counts: Counts|null, full: boolean}} changes
   */
  update({ upserts, removed, counts, full }) {
    upserts = upserts.filter(isSnapshot);
    const last = upserts.at(-1);
    if (full && !(last && this.byId.has(last.testId))) this.breaks++;
    for (const snapshot of upserts) this.merge(this.ensure(snapshot.testId, snapshot.createdAt), snapshot);
    const named = new Set(upserts.map(({ testId }) => testId));
    this.counts = counts ?? this.counts;
    if (full) this.oldest = counts && total(counts) > upserts.length ? (last ?? null) : null;
    const { oldest } = this;
    for (const id of removed) this.dirty.add(id); // also of runs that only a page of the list has
    for (const run of this) {
      const reached = oldest === null || byAge(run.snapshot, oldest) <= 0;
      const gone = !full && removed.includes(run.id);
      if (gone && ended(run.snapshot)) run.pinned = false; // it was deleted: no reader can have it
      if (full ? reached && !named.has(run.id) : gone) this.drop(run);
    }
    this.listed = true;
  }

  /** Removes a run unless a reader wants it. @param {Run<F>} run */
  drop(run) {
    if (run.pinned || run.opened) return;
    this.byId.delete(run.id);
    this.staleSources.delete(run.id);
    this.dirty.add(run.id);
  }

  /** Drops the oldest runs that have ended if there are too many. The pages of the list bring them back. */
  shed() {
    if (this.size <= MAX_RUNS) return;
    const runs = this.newestFirst();
    const rest = runs.slice(MAX_RUNS / 2);
    for (const run of rest) if (ended(run.snapshot)) this.drop(run);
    if (rest.some(({ id }) => !this.byId.has(id))) this.oldest = runs[MAX_RUNS / 2 - 1].snapshot;
  }
}

/** Whether the list can keep it: a value that another version wrote must not stop the others. @param {any} value */
const isSnapshot = (value) =>
  typeof value?.testId === "string" && Number.isFinite(value.seq) && Number.isFinite(value.createdAt);

/** The order of the list: newest first. @param {Snapshot} a @param {Snapshot} b */
export const byAge = (a, b) => b.createdAt - a.createdAt || (a.testId < b.testId ? -1 : Number(a.testId > b.testId));

/** The number of all runs. @param {Counts} counts */
export const total = (counts) => Object.values(counts).reduce((sum, n) => sum + (Number.isFinite(n) ? n : 0), 0);

/** Whether events that the snapshot contains are missing in the feed. @param {Run<any>} run */
export const behind = (run) => run.refusal === null && run.seq < run.snapshot.seq;
