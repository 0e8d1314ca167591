/**
 * testcast for a page, or a program, of your own: every event of a test once and in order, whatever happens to
 * the connection. The same table, store and transport as the dashboard's. docs/CLIENT.md tells it with examples,
 * testcast.d.ts has the types; both are the contract, this file only keeps it.
 */

import { polls } from "./connection.js";
import { ended } from "./fold.js";
import { Store } from "./store.js";
import { RpcError, Transport, rpc } from "./transport.js";

export { RpcError };

/** A UUID in canonical lower case, as everywhere (DESIGN 3). */
const TEST_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** A store that hands on what it takes instead of keeping it. */
class Passage extends Store {
  /** @param {boolean} list */
  constructor(list) {
    super();
    this.followsList = list;
    /** Test id → whether the edge has answered: what comes before is of a watch that was let go of. @type {Map<string, boolean>} */
    this.watched = new Map();
    /** Tests of which only the position is known, not what the run has come to. @type {Set<string>} */
    this.unsure = new Set();
    /** What was taken and not handed on yet. @type {import("./testcast.d.ts").Item[]} */
    this.items = [];
  }

  /** @param {any} message @override */
  sync(message, how = {}) {
    if (!this.watched.has(message.testId)) return;
    this.watched.set(message.testId, true);
    super.sync(message, how);
  }

  /** @param {RunEvent} event @override */
  event(event) {
    return this.watched.get(event.testId) ? super.event(event) : null;
  }

  /** @param {any} beat @override */
  heartbeat(beat) {
    if (beat.testId && !this.watched.get(beat.testId)) return;
    super.heartbeat(beat);
    // Resumed at the head, with a snapshot from before it, and silence since: has it ended?
    const run = this.runs.get(beat.testId);
    if (run && run.snapshot.seq < run.seq) this.unsure.add(run.id);
  }

  /** @param {Run} _run @param {RunEvent} event @override */
  keep(_run, event) {
    this.items.push(event);
  }

  /** @param {Run} run @param {"expired"|"ahead"|"epoch"} reason @override */
  startAgain(run, reason) {
    this.items.push({ type: "reset", testId: run.id, reason });
  }

  /** @param {Run} run @override */
  endRecovery(run) {
    run.recovering = null;
  }

  /** Whether nothing more comes of it. @param {string} testId */
  done(testId) {
    const run = this.runs.get(testId);
    if (!run || run.refusal !== null) return true;
    return ended(run.snapshot) && run.seq >= Math.max(run.snapshot.seq, run.syncedTo);
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

/** One `for await` over a test's events. */
class Reading {
  constructor() {
    /** @type {import("./testcast.d.ts").Item[]} */
    this.items = [];
    /** @type {Error|null} */
    this.error = null;
    this.over = false;
    this.wake = () => {};
  }

  /** @param {Error|null} [error] */
  end(error = null) {
    this.over = true;
    this.error ??= error;
    this.wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.items.length > 0) yield /** @type {import("./testcast.d.ts").Item} */ (this.items.shift());
      if (this.error) throw this.error;
      if (this.over) return;
      await new Promise((resolve) => (this.wake = () => resolve(undefined)));
    }
  }
}

class Viewer {
  /** @param {import("./testcast.d.ts").Options} options */
  constructor({ url, list = false, onEvent, onReset, onRun, onRefused, onConnection }) {
    this.url = new URL(url ?? import.meta.url).origin;
    if (!this.url.startsWith("http")) throw new TypeError("url: an edge's address, like https://testcast.example/");
    this.hooks = { onEvent, onReset, onRun, onRefused, onConnection };
    this.store = new Passage(list);
    this.transport = new Transport(this.store, { base: this.url, list, onChange: () => this.settle() });
    /** @type {Map<string, Set<Reading>>} */
    this.readings = new Map();
    /** The snapshot that was told last of each run. @type {Map<string, Snapshot>} */
    this.told = new Map();
    this.toldConnection = "";
    this.closed = false;
    this.transport.start();
  }

  /** @returns {import("./testcast.d.ts").ConnectionStatus} */
  get connection() {
    const { connection, pollAnswered } = this.transport;
    const { state, attempt, deadlineAt, reason } = connection;
    const { stale } = this.store;
    if (this.closed) return { state: "closed", attempt: 0, stale };
    if (state === "live" || state === "idle") return { state, attempt: 0, stale };
    if (state === "finished") return { state: "idle", attempt: 0, stale };
    if (state === "refused") return { state, attempt, stale, reason };
    const name = polls(connection) && pollAnswered ? "polling" : attempt ? "reconnecting" : "connecting";
    return { state: name, attempt, stale, ...(state === "waiting" && { retryAt: deadlineAt }) };
  }

  /** @param {string} testId @param {{position?: Position}} [from] */
  watch(testId, { position } = {}) {
    if (!TEST_ID.test(testId)) throw new TypeError(`testId: ${JSON.stringify(testId)} is no test id (a UUID)`);
    if (this.closed) throw new Error("this viewer is closed");
    if (this.store.watched.has(testId)) return;
    const run = this.store.pin(testId);
    run.refusal = null;
    if (position) Object.assign(run, { epoch: position.epoch, seq: position.seq });
    this.store.watched.set(testId, false);
    this.transport.refresh();
  }

  /** @param {string} testId */
  unwatch(testId) {
    if (!this.store.watched.delete(testId)) return;
    this.transport.unsubscribe(testId);
    this.forget(testId);
    this.transport.refresh();
  }

  /** Ends its readings; a later watch starts at the first event. @param {string} testId */
  forget(testId) {
    for (const reading of this.readings.get(testId) ?? []) reading.end();
    this.readings.delete(testId);
    const run = this.store.runs.get(testId);
    if (run) Object.assign(run, { seq: 0, epoch: null, syncedTo: 0, pinned: false, recovering: null });
    this.store.staleSources.delete(testId);
    this.told.delete(testId);
  }

  /** @param {string} testId @param {{position?: Position}} [from] */
  events(testId, from) {
    if (this.store.watched.has(testId)) throw new Error(`${testId} is watched already: its earlier events have been handed out`);
    this.watch(testId, from);
    const reading = new Reading();
    this.readings.set(testId, (this.readings.get(testId) ?? new Set()).add(reading));
    const items = reading[Symbol.asyncIterator]();
    const viewer = this;
    return (async function* () {
      try {
        yield* items;
      } finally {
        viewer.unwatch(testId); // a `break` lets go of the test, too
      }
    })();
  }

  /** @param {string} testId */
  position(testId) {
    return this.store.position(testId);
  }

  /** @param {string} testId */
  run(testId) {
    const snapshot = this.store.runs.get(testId)?.snapshot;
    return snapshot?.seq ? snapshot : null;
  }

  /** @param {string} method @param {Record<string, any>} [params] */
  call(method, params) {
    return rpc(method, params, { base: this.url });
  }

  retry() {
    this.transport.retry();
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.transport.close();
    for (const readings of this.readings.values()) for (const reading of readings) reading.end();
    this.readings.clear();
    this.tellConnection();
  }

  /** The store or the connection may have changed: tells what is new, in the order in which it came. */
  settle() {
    const { store, hooks } = this;
    for (let item; (item = store.items.shift());) {
      for (const reading of this.readings.get(item.testId) ?? []) {
        reading.items.push(item);
        reading.wake();
      }
      if (!store.watched.has(item.testId)) continue; // let go of by a listener meanwhile
      if (item.type === "reset") call(hooks.onReset, item);
      else call(hooks.onEvent, item);
    }
    for (const testId of store.takeDirty()) this.tellRun(testId);
    for (const testId of store.unsure) this.transport.unsubscribe(testId); // and again: every answer has a snapshot
    if (store.unsure.size > 0) this.transport.subscribe();
    store.unsure.clear();
    this.tellConnection();
  }

  /** @param {string} testId */
  tellRun(testId) {
    const { store, hooks } = this;
    const run = store.runs.get(testId);
    if (!run) return;
    if (run.snapshot.seq > 0 && this.told.get(testId) !== run.snapshot) {
      this.told.set(testId, run.snapshot);
      call(hooks.onRun, run.snapshot);
    }
    if (!store.watched.has(testId) || !store.done(testId)) return;
    const readings = this.readings.get(testId) ?? [];
    if (run.refusal !== null) {
      const error = new RpcError(run.refusal, "not_found", 404);
      store.watched.delete(testId);
      for (const reading of readings) reading.end(error);
      call(hooks.onRefused, testId, error);
    } else {
      for (const reading of readings) reading.end();
    }
    this.transport.unsubscribe(testId);
  }

  tellConnection() {
    const { connection } = this;
    const text = JSON.stringify(connection);
    if (text === this.toldConnection) return;
    this.toldConnection = text;
    if (connection.state === "refused") {
      for (const readings of this.readings.values())
        for (const reading of readings) reading.end(new RpcError(connection.reason ?? "", "refused", 0));
    }
    call(this.hooks.onConnection, connection);
  }
}

/** A listener that throws is its page's mistake: told there, and nobody misses an event for it. @param {any} listener @param {...any} given */
function call(listener, ...given) {
  try {
    listener?.(...given);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** @type {typeof import("./testcast.d.ts").connect} */
export const connect = (options = {}) => new Viewer(options);
