/**
 * The client for other pages and programs: every event of a test once and in order, whatever happens to the
 * connection. It uses the dashboard's connection, store and transport. testcast.d.ts has the types, docs/CLIENT.md a
 * description with examples. Pages import it from /testcast.js.
 */

import { Auth } from "./auth.js";
import { UNAUTHENTICATED, polls } from "./connection.js";
import { BASE, RpcError, rpc } from "./rpc.js";
import { Transport } from "./transport.js";
import { WatchedStore } from "./watched.js";

export { RpcError };

/** A UUID of any version in canonical lower case, as the server takes it. */
const TEST_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The items of one `for await` over a test's events. */
class Reading {
  constructor() {
    /** @type {import("./testcast.d.ts").Item[]} */
    this.items = [];
    /** @type {Error|null} */
    this.error = null;
    this.over = false;
    this.wake = () => {};
  }

  /** @param {import("./testcast.d.ts").Item} item */
  push(item) {
    this.items.push(item);
    this.wake();
  }

  /** The iteration ends after the last item, with an error if one is given. @param {Error|null} [error] */
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

/** The public methods are documented in testcast.d.ts. */
class Viewer {
  /** @param {import("./testcast.d.ts").Options} options */
  constructor({ url, list = false, getToken, WebSocket, onEvent, onReset, onRun, onRefused, onConnection }) {
    this.url = url === undefined ? BASE : edgeAddress(url);
    if (!this.url.startsWith("http")) throw new TypeError("url: an edge's address, like https://testcast.example/");
    this.hooks = { onEvent, onReset, onRun, onRefused, onConnection };
    this.store = new WatchedStore(list);
    this.auth = getToken ? new Auth(getToken, this.url) : null;
    const { auth } = this;
    this.transport = new Transport(this.store, { base: this.url, auth, list, WebSocket, onChange: () => this.dispatch() });
    /** @type {Map<string, Set<Reading>>} */
    this.readings = new Map();
    /** The last snapshot of each run that `onRun` received. @type {Map<string, Snapshot>} */
    this.told = new Map();
    this.toldConnection = "";
    this.closed = false;
    this.transport.start();
  }

  /** @returns {import("./testcast.d.ts").ConnectionStatus} */
  get connection() {
    const { connection, polling, streams } = this.transport;
    const { state, attempt, deadlineAt, reason } = connection;
    const { stale } = this.store;
    if (this.closed) return { state: "closed", attempt: 0, stale };
    if (state === "live" || state === "idle") return { state, attempt: 0, stale };
    if (state === "finished") return { state: "idle", attempt: 0, stale };
    if (state === "refused") return { state, attempt, stale, reason, code: refusalOf(connection.code).code };
    const polled = polls(connection) && polling.answered;
    const name = streams ? "streaming" : polled ? "polling" : attempt ? "reconnecting" : "connecting";
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
    this.store.forget(testId);
    this.transport.unsubscribe(testId);
    for (const reading of this.readings.get(testId) ?? []) reading.end();
    this.readings.delete(testId);
    this.told.delete(testId);
    this.transport.refresh();
  }

  /** @param {string} testId @param {{position?: Position}} [from] */
  events(testId, from) {
    if (this.store.watched.has(testId))
      throw new Error(`${testId} is watched already: its earlier events have been handed out`);
    this.watch(testId, from);
    const reading = new Reading();
    this.readings.set(testId, (this.readings.get(testId) ?? new Set()).add(reading));
    if (this.store.done(testId)) reading.end(); // it has ended, and nothing follows the position
    const items = reading[Symbol.asyncIterator]();
    const viewer = this;
    return (async function* () {
      try {
        yield* items;
      } finally {
        viewer.unwatch(testId); // also after a `break`
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
    return rpc(method, params, { base: this.url, auth: this.auth });
  }

  retry() {
    this.transport.retry();
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.transport.close();
    this.endAll();
    this.readings.clear();
    this.tellConnection();
  }

  /** @param {Error} [error] */
  endAll(error) {
    for (const readings of this.readings.values()) for (const reading of readings) reading.end(error);
  }

  /** Passes on what is new in the store and the connection, in the order of arrival. */
  dispatch() {
    const { store, hooks, transport } = this;
    for (let item; (item = store.queue.shift());) {
      for (const reading of this.readings.get(item.testId) ?? []) reading.push(item);
      if (!store.watched.has(item.testId)) continue; // a listener has unwatched it
      if (item.type === "reset") call(hooks.onReset, item);
      else call(hooks.onEvent, item);
    }
    for (const testId of store.runs.takeDirty()) this.tellRun(testId);
    // Subscribes again to tests that may have ended: every answer contains a snapshot.
    for (const testId of store.unsure) transport.unsubscribe(testId);
    if (store.unsure.size > 0) transport.socket.subscribe();
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
      const code = run.refusalCode ?? "not_found";
      const error = new RpcError(run.refusal, code, code === "forbidden" ? 403 : 404);
      store.watched.delete(testId);
      for (const reading of readings) reading.end(error);
      call(hooks.onRefused, testId, error);
    } else {
      for (const reading of readings) reading.end();
    }
    this.transport.socket.unsubscribe(testId);
  }

  tellConnection() {
    const { connection } = this;
    const text = JSON.stringify(connection);
    if (text === this.toldConnection) return;
    this.toldConnection = text;
    if (connection.state === "refused") {
      const { code, status } = refusalOf(this.transport.connection.code);
      this.endAll(new RpcError(connection.reason ?? "", code, status));
    }
    call(this.hooks.onConnection, connection);
  }
}

/**
 * Calls a listener. An error that it throws is reported to the page and does not affect the client.
 *
 * @param {any} listener
 * @param {...any} given
 */
function call(listener, ...given) {
  try {
    listener?.(...given);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/**
 * What a close code says, as an RPC error would.
 *
 * @param {number} closeCode
 * @returns {{code: "unauthenticated"|"forbidden"|"refused", status: number}}
 */
function refusalOf(closeCode) {
  if (closeCode === UNAUTHENTICATED) return { code: "unauthenticated", status: 401 };
  return closeCode === 4403 ? { code: "forbidden", status: 403 } : { code: "refused", status: 0 };
}

/** An edge's address with a slash at its end, so that names can be added to it. @param {string|URL} url */
function edgeAddress(url) {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname.replace(/\/*$/, "/")}`;
}

/** @type {typeof import("./testcast.d.ts").connect} */
export const connect = (options = {}) => new Viewer(options);
