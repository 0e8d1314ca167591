/** The WebSocket to an edge, with the subscriptions that the store wants. Makes no decisions about reconnecting. */

import { behind } from "./runs.js";

export class EdgeSocket {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {string} how.base the edge's address, with a slash at its end
   * @param {boolean} how.list whether to subscribe to the list of all tests
   * @param {(data: any) => void} how.onMessage
   * @param {(closed: {code: number, reason: string}) => void} how.onClosed not called after `detach`
   */
  constructor(store, { base, list, onMessage, onClosed }) {
    this.store = store;
    this.base = base;
    this.list = list;
    this.hooks = { onMessage, onClosed };
    /** @type {WebSocket|null} */
    this.socket = null;
    /** The subscriptions of the open socket: test ids, and "tests" for the list. @type {Set<string>} */
    this.subscribed = new Set();
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  open() {
    const socket = new WebSocket(`${this.base.replace("http", "ws")}ws`);
    this.socket = socket;
    this.subscribed.clear();
    socket.onopen = () => {
      console.info("testcast: socket open");
      this.subscribe();
    };
    socket.onmessage = (message) => this.hooks.onMessage(message.data);
    socket.onerror = () => console.warn("testcast: the socket failed");
    socket.onclose = ({ code, reason }) => {
      console.info(`testcast: socket closed with ${code}${reason ? ` (${reason})` : ""}`);
      this.forget();
      this.hooks.onClosed({ code, reason });
    };
  }

  /** Drops the socket without waiting for its close event, which may take minutes on a dead connection. */
  detach() {
    const socket = this.socket;
    this.forget();
    if (socket) console.info("testcast: socket given up");
    socket?.close(1000);
  }

  /** Repeats a subscription, which a working edge must answer: the list, or a test from the current position. */
  probe() {
    if (!this.isOpen) return;
    if (this.list) this.send({ type: "unsubscribe", channel: "tests" });
    this.subscribed.delete(this.list ? "tests" : (this.subscribed.values().next().value ?? ""));
    this.subscribe();
  }

  /** Subscribes to what the store wants, and unsubscribes from what it no longer wants. */
  subscribe() {
    if (!this.isOpen) return;
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
    // An edge limits the subscriptions of a socket. A run that has ended is dropped once all its events are here.
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

  /** @param {object} message */
  send(message) {
    this.socket?.send(JSON.stringify(message));
  }

  forget() {
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onerror = this.socket.onclose = null;
    this.socket = null;
    this.subscribed.clear();
  }
}
