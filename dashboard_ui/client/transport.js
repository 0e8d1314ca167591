/**
 * Keeps a store up to date: one WebSocket for everything; a stream over HTTP while it fails; polling while both fail.
 *
 * connection.js makes the decisions; this module supplies the clock and the timers and carries out the effects. The
 * dashboard and testcast.js both use it. It runs in browsers and in Node.
 */

import { renewIn } from "./auth.js";
import { FALLBACK, IDLE, MAX_ATTEMPTS, OFF, polls, step } from "./connection.js";
import { followPage } from "./lifecycle.js";
import { Polling } from "./polling.js";
import { BASE } from "./rpc.js";
import { EdgeSocket } from "./socket.js";

/** Errors of the edge that another proof of who this is mends. */
const EXPIRING = new Set(["token_expired", "token_revoked"]);
/** Timers cannot wait longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Transport {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {() => void} how.onChange the store or the connection may have changed
   * @param {(event: RunEvent) => void} [how.onNews] an event arrived that the edge did not delay
   * @param {string} [how.base] the edge's address, with a slash at its end
   * @param {import("./auth.js").Auth|null} [how.auth]
   * @param {import("./testcast.d.ts").WebSocketClass} [how.WebSocket]
   * @param {() => void} [how.onExpiring] the edge wants another proof of who this is, within a grace time
   * @param {boolean} [how.list] whether to follow the list of all tests
   * @param {boolean} [how.looks] whether to check the list now and then after every test has ended
   * @param {import("./frames.js").Frames|null} [how.frames] the pictures of runs
   */
  constructor(store, { onChange, onNews = () => {}, onExpiring, base = BASE, auth = null, list = true, looks = false, frames = null, WebSocket }) {
    this.store = store;
    this.frames = frames;
    this.auth = auth;
    this.hooks = { onChange, onNews, onExpiring: onExpiring ?? (() => void this.renew()) };
    this.connection = { ...IDLE, looks, renews: auth !== null };
    this.fallback = OFF;
    this.reach = { base, auth, list };
    /** @type {import("./stream.js").EventStream|null} */
    this.stream = null;
    this.socket = new EdgeSocket(store, {
      base,
      auth,
      list,
      frames,
      WebSocket,
      onOpen: () => void this.authenticate(), // the answer says until when the token is good
      onMessage: (data) => this.receive(data),
      onClosed: (closed) => this.dispatch({ type: "closed", ...closed, retryAfterMs: this.retryAfterMs }),
    });
    this.polling = new Polling(store, {
      base,
      list,
      frames,
      isLive: () => this.connection.state === "live" || this.streams,
      onAnswer: () => this.life.signal.aborted || this.hooks.onChange(),
      onRound: (answered) => this.polled(answered),
      onDenied: (reason) => this.dispatch({ type: "denied", reason }),
      auth,
    });
    /** When data that is not marked stale last arrived, ms; 0 before the first. */
    this.freshAt = 0;
    /** The wait that the edge's goodbye asked for. @type {number|undefined} */
    this.retryAfterMs = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    /** That of the fallback. @type {ReturnType<typeof setTimeout>|undefined} */
    this.fallbackTimer = undefined;
    /** Asks for another token before the one in use expires. @type {ReturnType<typeof setTimeout>|undefined} */
    this.renewal = undefined;
    this.life = new AbortController();
    if (frames) Object.assign(frames, { reach: { base, auth }, onWanted: () => this.socket.subscribeFrames() });
  }

  start() {
    const hooks = {
      onWake: () => this.wake(),
      onSeen: (/** @type {boolean} */ seen) => this.seen(seen),
      onRestore: () => this.dispatch({ type: "wake", restored: true }),
      onLeave: () => this.dispatch({ type: "leave" }),
    };
    followPage(hooks, this.life.signal);
    this.refresh();
  }

  /** Closes the socket and stops polling. The transport can't be started again. */
  close() {
    this.life.abort();
    clearTimeout(this.timer);
    clearTimeout(this.renewal);
    clearTimeout(this.fallbackTimer);
    this.stream?.close();
    this.polling.stop();
    this.frames?.close();
    this.socket.detach();
    this.connection = IDLE;
    this.fallback = OFF;
  }

  /** Whether the edge has answered last. */
  get answers() {
    return this.connection.state === "live" || this.streams || this.polling.answered;
  }

  /** Whether a stream over HTTP delivers. */
  get streams() {
    return this.fallback.state === "streaming";
  }

  /** The reader pressed "Try now". */
  retry() {
    this.dispatch({ type: "retry" });
  }

  /** The page is in use again: the next attempt starts now. */
  wake() {
    this.dispatch({ type: "wake" });
  }

  /** The page can be seen, or no longer. @param {boolean} seen */
  seen(seen) {
    this.socket.subscribeFrames();
    if (seen) this.frames?.resume();
  }

  /** Must be called after the tests that the store wants may have changed. */
  refresh() {
    if (this.life.signal.aborted) return;
    const { wanted } = this.connection;
    if (wanted !== this.store.expecting) this.dispatch({ type: wanted ? "rest" : "watch" });
    this.socket.subscribe();
    this.stream?.subscribe();
    this.hooks.onChange();
  }

  /** What comes of a test by earlier subscriptions counts no more. @param {string} testId */
  unsubscribe(testId) {
    this.socket.unsubscribe(testId);
    this.stream?.unsubscribe(testId);
  }

  /** @param {ConnectionEvent} event */
  dispatch(event) {
    if (this.life.signal.aborted) return;
    const before = this.connection;
    const [after, effects] = step(before, event, { now: Date.now(), random: Math.random() });
    this.connection = after;
    for (const effect of effects) this.carryOut(effect);
    if (after.deadlineAt !== before.deadlineAt) this.arm();
    if (polls(after) !== (this.fallback !== OFF)) this.fall({ type: polls(after) ? "start" : "stop" });
    else if (event.type === "wake" || event.type === "leave") this.fall({ type: event.type });
    if (after.state !== before.state) this.hooks.onChange();
  }

  /** @param {FallbackEvent} event */
  fall(event) {
    if (this.life.signal.aborted) return;
    const before = this.fallback;
    const [after, effects] = FALLBACK[before.state][event.type](before, event, { now: Date.now(), random: Math.random() });
    this.fallback = after;
    for (const effect of effects) {
      if (effect === "stream") void this.openStream();
      else if (effect === "close") this.stream?.close();
      else if (effect === "poll") this.polling.start();
      else if (effect === "pictures" && this.frames) this.polling.start(true);
      else this.polling.stop();
    }
    if (after.deadlineAt !== before.deadlineAt) {
      clearTimeout(this.fallbackTimer);
      const delay = after.deadlineAt - Date.now();
      if (delay < Infinity) this.fallbackTimer = setTimeout(() => this.fall({ type: "deadline" }), delay);
    }
    if (after.state !== before.state) this.hooks.onChange();
  }

  async openStream() {
    try {
      const { EventStream } = await import("./stream.js");
      this.stream ??= new EventStream(this.store, {
        ...this.reach,
        onMessage: (message) => this.streamed(message),
        onClosed: ({ retryAfterMs }) => this.fall({ type: "closed", retryAfterMs }),
        onDenied: (reason) => this.dispatch({ type: "denied", reason }),
      });
      if (this.fallback !== OFF && this.fallback.state !== "polling") this.stream.open();
    } catch {
      this.fall({ type: "closed" }); // the module did not come
    }
  }

  /** @param {Effect} effect */
  carryOut(effect) {
    if (effect === "open") this.open();
    else if (effect === "look") this.polling.look();
    else this.socket[effect]();
  }

  open() {
    const { attempt } = this.connection;
    const of = attempt <= MAX_ATTEMPTS ? ` of ${MAX_ATTEMPTS}` : "";
    console.info(`testcast: ${attempt ? `reconnecting, attempt ${attempt}${of}` : "connecting"}`);
    this.retryAfterMs = undefined;
    this.socket.open();
  }

  /** Starts the timer of the connection's deadline. */
  arm() {
    clearTimeout(this.timer);
    const delay = this.connection.deadlineAt - Date.now();
    if (delay === Infinity) return;
    const dueAt = performance.now() + delay; // monotonic: the other clock may be changed
    this.timer = setTimeout(() => this.dispatch({ type: "deadline", lateMs: performance.now() - dueAt }), delay);
  }

  /** @param {any} data */
  receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      console.warn("testcast: ignored a message that is not JSON");
      return this.dispatch({ type: "frame" });
    }
    if (this.frames?.receive(message)) return this.pictured(message);
    if (message?.type !== "error" && this.socket.pictured.size > 0) this.frames?.heard();
    if (message?.type === "authenticated") this.authenticated(message.expiresAt);
    if (message?.type === "goodbye") this.retryAfterMs = message.retryAfterMs;
    const { delivered, news } = this.apply(message);
    this.dispatch({ type: delivered ? "delivered" : "frame" });
    this.refresh();
    if (news) this.hooks.onNews(news);
  }

  /** A message of the stream. @param {any} message null: a sign of life */
  streamed(message) {
    const { delivered } = this.apply(message);
    this.fall({ type: delivered ? "delivered" : "frame" });
    this.refresh();
  }

  /** @param {any} message */
  apply(message) {
    if (message?.type === "error" && message.seq === undefined) {
      const code = message.code ?? message.data?.code;
      console.warn(`testcast: ${message.message ?? code}`);
      if (EXPIRING.has(code)) this.hooks.onExpiring();
    }
    const applied = this.store.receive(message);
    if (applied.delivered && !this.store.stale) this.freshAt = Date.now();
    return applied;
  }

  /** A message about pictures has been applied. No run has changed. @param {any} message */
  pictured({ type }) {
    if (type === "frame") this.freshAt = Date.now();
    this.socket.subscribeFrames();
    this.dispatch({ type: type === "frame" ? "delivered" : "frame" });
  }

  /** The edge knows who this is until then. @param {unknown} expiresAt ms */
  authenticated(expiresAt) {
    clearTimeout(this.renewal);
    const wait = typeof expiresAt === "number" ? renewIn(expiresAt, Date.now()) : Infinity;
    if (this.auth && wait <= LONGEST_TIMER_MS) this.renewal = setTimeout(() => void this.renew(), wait);
  }

  /** Proves on the open socket who this is, with another token. A failure is left to the edge to judge. */
  async renew() {
    this.auth?.forget();
    if (this.streams) this.stream?.open(); // a stream carries the proof that it was opened with
    await this.authenticate();
  }

  async authenticate() {
    try {
      const token = await this.auth?.token();
      if (token !== undefined && this.socket.isOpen) this.socket.send({ type: "authenticate", token });
    } catch (error) {
      console.warn(`testcast: ${error instanceof Error ? error.message : error}`);
    }
  }

  /** @param {boolean} answered */
  polled(answered) {
    if (answered && !this.store.stale) this.freshAt = Date.now();
    this.refresh();
  }
}
