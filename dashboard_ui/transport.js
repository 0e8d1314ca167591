/**
 * The way to the edge: RPC, one WebSocket for everything, polling beside it when it fails. The only file that
 * touches the network or a timer of it; every decision about the socket is connection.js's. It knows no page:
 * the dashboard and testcast.js stand on it alike, and it runs in Node.
 */

import { IDLE, MAX_ATTEMPTS, polls, step } from "./connection.js";
import { ended } from "./fold.js";
import { behind } from "./store.js";

export const POLL_MS = 3000;
/** What was published right before a look is in the list by then. */
const LOOK_AGAIN_MS = 1000;
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
 * Calls an RPC method of an edge.
 *
 * @param {string} method
 * @param {Record<string, any>} [params]
 * @param {{get?: boolean, signal?: AbortSignal, base?: string}} [how] get: for the read-only methods; base: the edge's
 *   origin, by default that of this page
 * @returns {Promise<any>} what it answered
 * @throws {RpcError}
 */
export async function rpc(method, params = {}, { get = false, signal, base = "" } = {}) {
  const timeout = AbortSignal.timeout(RPC_TIMEOUT_MS);
  /** @type {RequestInit} */
  const init = {
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    headers: { accept: "application/json" },
  };
  let url = `${base}/rpc/${method}`;
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
   * @param {object} how
   * @param {() => void} how.onChange the store or the connection may have changed
   * @param {(event: RunEvent) => void} [how.onNews] an event came that was not held back anywhere
   * @param {string} [how.base] the edge's origin, by default that of this page
   * @param {boolean} [how.list] whether to follow the list of all tests too
   * @param {boolean} [how.looks] whether to look at the list now and then when every test has ended
   */
  constructor(store, { onChange, onNews = () => {}, base = globalThis.location?.origin, list = true, looks = false }) {
    this.store = store;
    this.hooks = { onChange, onNews };
    this.base = base;
    this.list = list;
    this.connection = { ...IDLE, looks };
    /** @type {WebSocket|null} */
    this.socket = null;
    /** What the open socket is subscribed to. @type {Set<string>} */
    this.subscribed = new Set();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** Whether it asks every 3 s. */
    this.polling = false;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.pollTimer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.lookTimer = undefined;
    /** The round of questions that is under way, if any. @type {AbortController|null} */
    this.round = null;
    /** Whether the last round was answered. */
    this.pollAnswered = false;
    /** When data last came that was not marked stale, ms; 0 before the first. */
    this.freshAt = 0;
    /** @type {number|undefined} */
    this.retryAfterMs = undefined;
    this.life = new AbortController();
  }

  /** Starts, and listens for the moments in which a second look pays; in Node there are none. */
  start() {
    const { signal } = this.life;
    if (globalThis.document) {
      addEventListener("online", () => this.wake(), { signal });
      addEventListener("pagehide", (event) => event.persisted && this.dispatch({ type: "leave" }), { signal });
      // Only a page that comes back: the first showing would look beside its own first attempt, and end it.
      addEventListener("pageshow", ({ persisted }) => persisted && this.dispatch({ type: "wake", restored: true }), { signal });
      document.addEventListener("visibilitychange", () => document.hidden || this.wake(), { signal });
    }
    this.refresh();
  }

  /** Lets go of everything, for good. */
  close() {
    this.life.abort();
    clearTimeout(this.timer);
    this.stopPolling();
    this.detach();
    this.connection = IDLE;
  }

  /** The reader's "try now". */
  retry() {
    this.dispatch({ type: "retry" });
  }

  /** Somebody looks, or something works again: no need to wait for the next attempt. */
  wake() {
    this.dispatch({ type: "wake" });
  }

  /** To be called when the store's wishes may have changed. */
  refresh() {
    if (this.life.signal.aborted) return;
    const { wanted } = this.connection;
    if (wanted !== this.store.expecting) this.dispatch({ type: wanted ? "rest" : "watch" });
    this.subscribe();
    this.hooks.onChange();
  }

  /** @param {ConnectionEvent} event */
  dispatch(event) {
    if (this.life.signal.aborted) return;
    const before = this.connection;
    const [after, effects] = step(before, event, { now: Date.now(), random: Math.random() });
    this.connection = after;
    for (const effect of effects) this[effect]();
    if (after.deadlineAt !== before.deadlineAt) this.arm();
    if (polls(after) !== this.polling) polls(after) ? this.startPolling() : this.stopPolling();
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
    const socket = new WebSocket(`${this.base.replace("http", "ws")}/ws`);
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

  /** Asks for something that must be answered: the list again, or a test from where we are. */
  probe() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (this.list) this.send({ type: "unsubscribe", channel: "tests" });
    this.subscribed.delete(this.list ? "tests" : (this.subscribed.values().next().value ?? ""));
    this.subscribe();
  }

  /** Asks over HTTP at once (a round that is under way may hang on a line that is no more), and once more. */
  look() {
    if (globalThis.document?.hidden) return;
    void this.ask();
    clearTimeout(this.lookTimer);
    this.lookTimer = setTimeout(() => this.round ?? this.ask(), LOOK_AGAIN_MS);
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
    if (this.list && !this.subscribed.has("tests")) {
      this.subscribed.add("tests");
      this.send({ type: "subscribe", channel: "tests" });
    }
    const wanted = this.store.subscriptions();
    for (const testId of wanted) {
      if (this.subscribed.has(testId)) continue;
      this.subscribed.add(testId);
      const position = this.store.position(testId);
      this.send({ type: "subscribe", testId, ...(position && { after: position.seq, epoch: position.epoch }) });
    }
    // What has ended has nothing more to say, once it has said all: an edge's patience with one socket has an end.
    if (this.subscribed.size === wanted.length + Number(this.list)) return;
    const kept = new Set(wanted).add("tests");
    for (const testId of this.subscribed) {
      const run = this.store.runs.get(testId);
      if (!kept.has(testId) && !(run && behind(run))) this.unsubscribe(testId);
    }
  }

  /** @param {string} testId */
  unsubscribe(testId) {
    if (this.subscribed.delete(testId)) this.send({ type: "unsubscribe", testId });
  }

  /** Fetches what a feed has let go of; tries until it is here, or the feed is closed. @param {string} testId */
  async fill(testId) {
    const run = this.store.runs.get(testId);
    if (!run?.opened || !run.forgotten || this.life.signal.aborted) return;
    const { forgotten, epoch } = run;
    const how = { get: true, signal: this.life.signal, base: this.base };
    /** @type {RunEvent[]} */
    const events = [];
    try {
      for (let after = 0; after < forgotten; ) {
        const from = after ? { after, epoch } : {};
        const answer = await rpc("getEvents", { testId, ...from, limit: PAGE_LIMIT }, how);
        if (answer.epoch !== epoch) return; // the socket tells of the new one, and the feed starts again
        for (const event of answer.events) events.push({ testId, ...event });
        after = answer.more && answer.head > after ? answer.head : forgotten;
      }
    } catch {
      setTimeout(() => this.fill(testId), POLL_MS);
      return;
    }
    this.store.restore(testId, forgotten, events);
    this.refresh();
  }

  // ── polling ──

  startPolling() {
    console.info(`testcast: polling every ${POLL_MS / 1000} s`);
    this.polling = true;
    this.pollAnswered = false;
    if (!this.round) void this.ask();
  }

  stopPolling() {
    if (this.polling) console.info("testcast: polling ends");
    this.polling = false;
    clearTimeout(this.pollTimer);
    clearTimeout(this.lookTimer);
    this.round?.abort();
    this.round = null;
  }

  /** One round of questions, and the next in 3 s for as long as it polls. */
  async ask() {
    clearTimeout(this.pollTimer);
    this.round?.abort();
    const round = (this.round = new AbortController());
    const startedAt = performance.now();
    const answered = await this.poll(round.signal).then(
      () => true,
      () => false,
    );
    if (this.round !== round) return this.refresh(); // of what came before it was called off
    this.round = null;
    this.pollAnswered = answered;
    if (answered && !this.store.stale) this.freshAt = Date.now();
    if (this.polling) this.pollTimer = setTimeout(() => this.ask(), POLL_MS - (performance.now() - startedAt));
    this.refresh();
  }

  /** The list, and the events of the watched runs that have moved on. @param {AbortSignal} signal */
  async poll(signal) {
    const how = { get: true, signal, base: this.base };
    const tests = this.list ? await this.pollList(how) : [];
    for (const testId of this.store.subscriptions()) {
      const run = this.store.runs.get(testId);
      if (!run || signal.aborted) continue;
      try {
        // An older run than the list reaches: ask for it by name.
        if (this.list && !ended(run.snapshot) && !tests.some((test) => test.testId === testId))
          this.store.merge(run, (await rpc("getTest", { testId }, how)).test);
        for (let more = !this.list || behind(run); more && !signal.aborted;) more = await this.pollEvents(testId, how);
      } catch (error) {
        if (!(error instanceof RpcError) || error.status !== 404) throw error;
        this.store.refused({ testId, message: error.message });
      }
    }
  }

  /** @param {{get: boolean, signal: AbortSignal, base: string}} how @returns {Promise<Snapshot[]>} */
  async pollList(how) {
    const { tests, counts, stale } = await rpc("listTests", { limit: LIST_LIMIT }, how);
    // Beside a socket that delivers, the answer is an older word: it adds, and takes nothing away.
    const full = this.connection.state !== "live";
    if (!how.signal.aborted) this.store.tests({ upserts: tests, counts, full, stale });
    return tests;
  }

  /**
   * @param {string} testId
   * @param {{get: boolean, signal: AbortSignal, base: string}} how
   * @returns {Promise<boolean>} whether to ask for more
   */
  async pollEvents(testId, how) {
    const asked = this.store.position(testId);
    const params = { testId, after: asked?.seq, epoch: asked?.epoch, limit: PAGE_LIMIT };
    const answer = await rpc("getEvents", params, how);
    if (how.signal.aborted || !this.store.page(testId, asked, answer)) return false;
    return answer.more === true && this.store.position(testId)?.seq !== asked?.seq;
  }
}
