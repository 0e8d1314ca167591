/** The store of testcast.js: only the tests that the caller watches, and their events are passed on, not kept. Pure. */

import { ended } from "./fold.js";
import { Store } from "./store.js";

/** @typedef {import("./testcast.d.ts").Item} Item */

/** Puts the events of one test into the queue of all tests. @implements {EventSink} */
class Outgoing {
  /** @param {string} testId @param {Item[]} queue */
  constructor(testId, queue) {
    this.testId = testId;
    this.queue = queue;
  }

  /** @param {RunEvent} event */
  take(event) {
    this.queue.push(event);
  }

  /** @param {ResetReason} reason */
  restart(reason) {
    this.queue.push({ type: "reset", testId: this.testId, reason });
  }

  recovered() {}

  setOpen() {}
}

/** @extends {Store<Outgoing>} */
export class WatchedStore extends Store {
  /** @param {boolean} list whether the list of all tests is wanted too */
  constructor(list) {
    /** @type {Item[]} */
    const queue = [];
    super({ newFeed: (testId) => new Outgoing(testId, queue) });
    this.followsList = list;
    /** Events and resets that have not been passed on yet, oldest first. */
    this.queue = queue;
    /**
     * Test id → whether the edge has answered. Events before the answer belong to an earlier watch.
     * @type {Map<string, boolean>}
     */
    this.watched = new Map();
    /** Tests whose snapshot is older than their position: they may have ended. @type {Set<string>} */
    this.unsure = new Set();
  }

  /** @param {any} message @override */
  sync(message, how = {}) {
    if (!this.watched.has(message.testId)) return;
    this.watched.set(message.testId, true);
    super.sync(message, how);
  }

  /** @param {string} testId @param {Position|null} asked @param {any} answer @override */
  page(testId, asked, answer) {
    return this.watched.has(testId) && super.page(testId, asked, answer);
  }

  /** @param {RunEvent} event @override */
  event(event) {
    return this.watched.get(event.testId) ? super.event(event) : null;
  }

  /** @param {any} beat @override */
  heartbeat(beat) {
    if (beat.testId && !this.watched.get(beat.testId)) return;
    super.heartbeat(beat);
    const run = this.runs.get(beat.testId);
    if (run && run.snapshot.seq < run.seq) this.unsure.add(run.id);
  }

  /** Whether no more events of a test are expected. @param {string} testId */
  done(testId) {
    const run = this.runs.get(testId);
    if (!run || run.refusal !== null) return true;
    return ended(run.snapshot) && run.seq >= Math.max(run.snapshot.seq, run.syncedTo);
  }

  /** Drops what is known of a test's position: a later watch starts at the first event. @param {string} testId */
  forget(testId) {
    const run = this.runs.get(testId);
    if (run) Object.assign(run, { seq: 0, epoch: null, syncedTo: 0, pinned: false, recovering: null });
    this.runs.mark(testId, {});
  }

  /** @override */
  subscriptions() {
    return [...this.watched.keys()].filter((testId) => !this.done(testId));
  }

  /** @override */
  get expecting() {
    return this.followsList || this.subscriptions().length > 0;
  }
}
