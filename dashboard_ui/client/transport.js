/**
 * Keeps a store up to date: one WebSocket for everything, and polling while it fails.
 *
 * connection.js makes the decisions; this module supplies the clock and the timer and carries out the effects. The
 * dashboard and testcast.js both use it. It runs in browsers and in Node.
 */

import { IDLE, MAX_ATTEMPTS, polls, step } from "./connection.js";
import { followPage } from "./lifecycle.js";
import { Polling } from "./polling.js";
import { BASE } from "./rpc.js";
import { EdgeSocket } from "./socket.js";

export class Transport {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {() => void} how.onChange the store or the connection may have changed
   * @param {(event: RunEvent) => void} [how.onNews] an event arrived that the edge did not delay
   * @param {string} [how.base] the edge's address, with a slash at its end
   * @param {boolean} [how.list] whether to follow the list of all tests
   * @param {boolean} [how.looks] whether to check the list now and then after every test has ended
   */
  constructor(store, { onChange, onNews = () => {}, base = BASE, list = true, looks = false }) {
    this.store = store;
    this.hooks = { onChange, onNews };
    this.connection = { ...IDLE, looks };
    this.socket = new EdgeSocket(store, {
      base,
      list,
      onMessage: (data) => this.receive(data),
      onClosed: (closed) => this.dispatch({ type: "closed", ...closed, retryAfterMs: this.retryAfterMs }),
    });
    this.polling = new Polling(store, {
      base,
      list,
      isLive: () => this.connection.state === "live",
      onAnswer: () => this.life.signal.aborted || this.hooks.onChange(),
      onRound: (answered) => this.polled(answered),
    });
    /** When data that is not marked stale last arrived, ms; 0 before the first. */
    this.freshAt = 0;
    /** The wait that the edge's goodbye asked for. @type {number|undefined} */
    this.retryAfterMs = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    this.life = new AbortController();
  }

  start() {
    const hooks = {
      onWake: () => this.wake(),
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
    this.polling.stop();
    this.socket.detach();
    this.connection = IDLE;
  }

  /** The reader pressed "Try now". */
  retry() {
    this.dispatch({ type: "retry" });
  }

  /** The page is in use again: the next attempt starts now. */
  wake() {
    this.dispatch({ type: "wake" });
  }

  /** Must be called after the tests that the store wants may have changed. */
  refresh() {
    if (this.life.signal.aborted) return;
    const { wanted } = this.connection;
    if (wanted !== this.store.expecting) this.dispatch({ type: wanted ? "rest" : "watch" });
    this.socket.subscribe();
    this.hooks.onChange();
  }

  /** @param {ConnectionEvent} event */
  dispatch(event) {
    if (this.life.signal.aborted) return;
    const before = this.connection;
    const [after, effects] = step(before, event, { now: Date.now(), random: Math.random() });
    this.connection = after;
    for (const effect of effects) this.carryOut(effect);
    if (after.deadlineAt !== before.deadlineAt) this.arm();
    if (polls(after) !== this.polling.running) polls(after) ? this.polling.start() : this.polling.stop();
    if (after.state !== before.state) this.hooks.onChange();
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
    if (message?.type === "goodbye") this.retryAfterMs = message.retryAfterMs;
    if (message?.type === "error" && message.seq === undefined) console.warn(`testcast: ${message.message}`);
    const { delivered, news } = this.store.receive(message);
    if (delivered && !this.store.stale) this.freshAt = Date.now();
    this.dispatch({ type: delivered ? "delivered" : "frame" });
    this.refresh();
    if (news) this.hooks.onNews(news);
  }

  /** @param {boolean} answered */
  polled(answered) {
    if (answered && !this.store.stale) this.freshAt = Date.now();
    this.refresh();
  }
}
