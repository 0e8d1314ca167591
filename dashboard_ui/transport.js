/**
 * The page's way to the edge: RPC, one WebSocket for everything, polling beside it when it fails. The only
 * file that touches the network or a timer of it; every decision about the socket is connection.js's.
 */

import { IDLE, MAX_ATTEMPTS, polls, step } from "./connection.js";
import { ended } from "./fold.js";
import { behind } from "./store.js";

export const POLL_MS = 3000;
const RPC_TIMEOUT_MS = 10_000;
/** Runs that one poll asks for; the newest, as on the socket. */
const LIST_LIMIT = 100;
const PAGE_LIMIT = 1000;

/** The edge said no, with its reason. `status` is HTTP's; 0 when it could not be reached at all. */
export class RpcError extends Error {
  /** @param {string} message @param {string} code @param {number} status */
  constructor(message, code, status) {
    super(message);
    this.name = "RpcError";
    this.code = code;
    this.status = status;
  }
}

/**
 * Calls an RPC method of the edge that served this page.
 *
 * @param {string} method
 * @param {Record<string, any>} [params]
 * @param {{get?: boolean, signal?: AbortSignal}} [how] get: for the read-only methods
 * @returns {Promise<any>} what it answered
 * @throws {RpcError}
 */
export async function rpc(method, params = {}, { get = false, signal } = {}) {
  const timeout = AbortSignal.timeout(RPC_TIMEOUT_MS);
  /** @type {RequestInit} */
  const init = {
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    headers: { accept: "application/json" },
  };
  let url = `/rpc/${method}`;
  if (get) {
    const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value !== undefined));
    if (query.size) url += `?${query}`;
  } else {
    Object.assign(init, { method: "POST", body: JSON.stringify(params) });
    init.headers = { ...init.headers, "content-type": "application/json" };
  }
  let response;
  let body;
  try {
    response = await fetch(url, init);
    body = await response.json();
  } catch (error) {
    if (response)
      throw new RpcError(`The edge answered ${response.status} without a reason.`, "no_json", response.status);
    throw new RpcError("The edge did not answer. Is it running?", "unreachable", 0);
  }
  if (response.ok) return body;
  const { code = "error", message = `The edge answered ${response.status}.` } = body?.error ?? {};
  throw new RpcError(message, code, response.status);
}

/**
 * The newest picture of a run.
 *
 * @param {string} testId
 * @param {string} etag of the picture we have, or ""
 * @returns {Promise<Shot>} 304: ours is the newest; 0: no answer
 */
export async function fetchShot(testId, etag) {
  try {
    const response = await fetch(`/rpc/getShot?testId=${encodeURIComponent(testId)}`, {
      headers: etag ? { "if-none-match": etag } : {},
      cache: "no-store",
      signal: AbortSignal.timeout(RPC_TIMEOUT_MS),
    });
    const picture = response.status === 200 ? await response.blob() : null;
    return { status: response.status, etag: response.headers.get("etag") ?? "", picture };
  } catch {
    return { status: 0, etag, picture: null };
  }
}

export class Transport {
  /**
   * @param {import("./store.js").Store} store
   * @param {{onChange: () => void, onNews: (event: RunEvent) => void}} hooks onChange: the store or the
   *   connection may have changed; onNews: an event came that was not held back anywhere
   */
  constructor(store, hooks) {
    this.store = store;
    this.hooks = hooks;
    this.connection = IDLE;
    /** @type {WebSocket|null} */
    this.socket = null;
    /** What the open socket is subscribed to. @type {Set<string>} */
    this.subscribed = new Set();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** The polling that goes on, if any. @type {AbortController|null} */
    this.polling = null;
    /** Whether the last poll was answered. */
    this.pollAnswered = false;
    /** When data last came that was not marked stale, ms; 0 before the first. */
    this.freshAt = 0;
    /** @type {number|undefined} */
    this.retryAfterMs = undefined;
  }

  /** Starts, and listens for the moments in which a second look pays. */
  start() {
    addEventListener("online", () => this.dispatch({ type: "wake" }));
    addEventListener("pageshow", (event) => this.dispatch({ type: "wake", restored: event.persisted }));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.dispatch({ type: "wake" });
    });
    this.dispatch({ type: "watch" });
  }

  /** The reader's "try now". */
  retry() {
    this.dispatch({ type: "retry" });
  }

  /** Something works again: no need to wait for the next attempt. */
  wake() {
    this.dispatch({ type: "wake" });
  }

  /** To be called when the store's wishes may have changed. */
  refresh() {
    const { wanted } = this.connection;
    if (wanted !== this.store.expecting) this.dispatch({ type: wanted ? "rest" : "watch" });
    this.subscribe();
    this.hooks.onChange();
  }

  /** @param {ConnectionEvent} event */
  dispatch(event) {
    const before = this.connection;
    const [after, effects] = step(before, event, { now: Date.now(), random: Math.random() });
    this.connection = after;
    for (const effect of effects) this[effect]();
    if (after.deadlineAt !== before.deadlineAt) this.arm();
    if (polls(after) !== (this.polling !== null)) polls(after) ? this.startPolling() : this.stopPolling();
    if (after.state !== before.state) this.hooks.onChange();
  }

  arm() {
    clearTimeout(this.timer);
    const delay = this.connection.deadlineAt - Date.now();
    if (delay === Infinity) return;
    // The monotonic clock: somebody may set the other one.
    const dueAt = performance.now() + delay;
    this.timer = setTimeout(() => this.dispatch({ type: "deadline", lateMs: performance.now() - dueAt }), delay);
  }

  // ── effects of the table ──

  open() {
    const { attempt } = this.connection;
    if (attempt)
      console.info(`testcast: reconnecting, attempt ${attempt}${attempt <= MAX_ATTEMPTS ? ` of ${MAX_ATTEMPTS}` : ""}`);
    else console.info("testcast: connecting");
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.socket = socket;
    this.subscribed.clear();
    this.retryAfterMs = undefined;
    socket.onopen = () => {
      console.info("testcast: socket open");
      this.subscribe();
    };
    socket.onmessage = (message) => this.receive(message.data);
    socket.onerror = () => console.warn("testcast: the socket failed");
    socket.onclose = ({ code, reason }) => {
      console.info(`testcast: socket closed with ${code}${reason ? ` (${reason})` : ""}`);
      this.forget();
      this.dispatch({ type: "closed", code, reason, retryAfterMs: this.retryAfterMs });
    };
  }

  /** Lets go of the socket without waiting for its close, which may take minutes on a dead line. */
  detach() {
    const socket = this.socket;
    this.forget();
    if (socket) console.info("testcast: socket given up");
    socket?.close(1000);
  }

  /** Asks for something that must be answered: the list, again. */
  probe() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.send({ type: "unsubscribe", channel: "tests" });
    this.subscribed.delete("tests");
    this.subscribe();
  }

  forget() {
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onerror = this.socket.onclose = null;
    this.socket = null;
    this.subscribed.clear();
  }

  // ── the socket ──

  /** @param {any} data */
  receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      console.warn("testcast: a message that is no JSON was ignored");
      return this.dispatch({ type: "frame" });
    }
    if (message?.type === "goodbye") this.retryAfterMs = message.retryAfterMs;
    if (message?.type === "error" && message.seq === undefined) console.warn(`testcast: ${message.message}`);
    const { delivered, news } = this.store.receive(message);
    if (delivered && !this.store.stale) this.freshAt = Date.now();
    this.dispatch({ type: delivered ? "delivered" : "frame" });
    this.refresh();
    if (news) this.hooks.onNews(news);
  }

  /** @param {object} message */
  send(message) {
    this.socket?.send(JSON.stringify(message));
  }

  /** Subscribes to what the store wants and the socket does not have yet. */
  subscribe() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (!this.subscribed.has("tests")) {
      this.subscribed.add("tests");
      this.send({ type: "subscribe", channel: "tests" });
    }
    for (const testId of this.store.subscriptions()) {
      if (this.subscribed.has(testId)) continue;
      this.subscribed.add(testId);
      const position = this.store.position(testId);
      this.send({ type: "subscribe", testId, ...(position && { after: position.seq, epoch: position.epoch }) });
    }
  }

  // ── polling ──

  startPolling() {
    console.info(`testcast: polling every ${POLL_MS / 1000} s`);
    this.pollAnswered = false;
    const polling = new AbortController();
    this.polling = polling;
    const again = async () => {
      const startedAt = performance.now();
      const answered = await this.poll(polling.signal).then(
        () => true,
        () => false,
      );
      if (polling.signal.aborted) return;
      this.pollAnswered = answered;
      if (answered && !this.store.stale) this.freshAt = Date.now();
      this.refresh();
      if (!polling.signal.aborted) setTimeout(again, Math.max(0, POLL_MS - (performance.now() - startedAt)));
    };
    void again();
  }

  stopPolling() {
    console.info("testcast: polling ends");
    this.polling?.abort();
    this.polling = null;
  }

  /** One round: the list, and the events of the watched runs that have moved on. @param {AbortSignal} signal */
  async poll(signal) {
    const { tests, stale } = await rpc("listTests", { limit: LIST_LIMIT }, { get: true, signal });
    if (signal.aborted) return;
    this.store.tests({ upserts: tests, full: true, stale });
    for (const id of this.store.subscriptions()) {
      const run = this.store.runs.get(id);
      if (!run) continue;
      // An older run than the list reaches: ask for it by name.
      if (!ended(run.snapshot) && !tests.some((/** @type {any} */ test) => test.testId === id)) {
        const { test } = await rpc("getTest", { testId: id }, { get: true, signal });
        this.store.merge(run, test);
      }
      for (let more = behind(run); more && !signal.aborted;) more = await this.pollEvents(id, signal);
    }
  }

  /** @param {string} testId @param {AbortSignal} signal @returns {Promise<boolean>} whether to ask for more */
  async pollEvents(testId, signal) {
    const asked = this.store.position(testId);
    const params = { testId, after: asked?.seq, epoch: asked?.epoch, limit: PAGE_LIMIT };
    const answer = await rpc("getEvents", params, { get: true, signal });
    if (signal.aborted || !this.store.page(testId, asked, answer)) return false;
    return answer.more === true && this.store.position(testId)?.seq !== asked?.seq;
  }
}
