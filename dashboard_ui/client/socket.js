/** The WebSocket to an edge, with the subscriptions that the store wants. Makes no decisions about reconnecting. */

import { RpcError } from "./rpc.js";
import { behind } from "./runs.js";

export class EdgeSocket {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {string} how.base the edge's address, with a slash at its end
   * @param {import("./auth.js").Auth|null} [how.auth]
   * @param {boolean} how.list whether to subscribe to the list of all tests
   * @param {import("./frames.js").Frames|null} [how.frames]
   * @param {() => void} [how.onOpen]
   * @param {import("./testcast.d.ts").WebSocketClass} [how.WebSocket] in place of the platform's
   * @param {(data: any) => void} how.onMessage
   * @param {(closed: {code: number, reason: string}) => void} how.onClosed not called after `detach`
   */
  constructor(store, { base, auth = null, list, frames = null, onOpen = () => {}, WebSocket, onMessage, onClosed }) {
    this.store = store;
    /** The class of sockets; undefined: this platform has none. */
    this.Socket = WebSocket ?? globalThis.WebSocket;
    this.base = base;
    this.auth = auth;
    /** The attempt for which a ticket is being asked, if any. @type {object|null} */
    this.asking = null;
    this.list = list;
    this.frames = frames;
    this.hooks = { onOpen, onMessage, onClosed };
    /** @type {WebSocket|null} */
    this.socket = null;
    /** The subscriptions of the open socket: test ids, and "tests" for the list. @type {Set<string>} */
    this.subscribed = new Set();
    /** The runs whose new pictures the open socket tells. @type {Set<string>} */
    this.pictured = new Set();
  }

  get isOpen() {
    return this.socket?.readyState === 1;
  }

  open() {
    if (this.auth) void this.openWithTicket(this.auth);
    else this.openWith([]);
  }

  /** @param {import("./auth.js").Auth} auth */
  async openWithTicket(auth) {
    const asking = (this.asking = {});
    try {
      const protocols = await auth.protocols();
      if (this.asking === asking) this.openWith(protocols);
    } catch (error) {
      if (this.asking !== asking) return;
      this.asking = null;
      const { status = 0, message = "" } = error instanceof RpcError ? error : {};
      this.hooks.onClosed({ code: status === 401 ? 4401 : status === 403 ? 4403 : 1006, reason: message });
    }
  }

  /** The next attempt asks the caller for another token. */
  renew() {
    this.auth?.forget();
  }

  /** @param {string[]} protocols */
  openWith(protocols) {
    this.asking = null;
    if (!this.Socket) return queueMicrotask(() => this.hooks.onClosed({ code: 1006, reason: "" }));
    /** @type {WebSocket} */
    const socket = new this.Socket(`${this.base.replace("http", "ws")}ws`, protocols);
    this.socket = socket;
    this.subscribed.clear();
    this.pictured.clear();
    socket.onopen = () => {
      console.info("testcast: socket open");
      this.hooks.onOpen();
      this.frames?.opened();
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
    this.subscribeFrames();
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

  /** Subscribes to the pictures that are wanted. One subscription shows whether the edge knows them, then the others follow. */
  subscribeFrames() {
    const { frames, pictured } = this;
    if (!this.isOpen || !frames || frames.supported === false) return;
    const { wanted } = frames;
    const tell = (/** @type {string} */ type, /** @type {string} */ testId) => this.send({ type, channel: "frames", testId });
    for (const testId of pictured) {
      if (wanted.has(testId)) continue;
      pictured.delete(testId);
      tell("unsubscribe", testId);
    }
    for (const testId of wanted) {
      if (frames.supported === null && pictured.size > 0) break;
      if (pictured.has(testId)) continue;
      pictured.add(testId);
      tell("subscribe", testId);
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
    this.asking = null;
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onerror = this.socket.onclose = null;
    this.socket = null;
    this.subscribed.clear();
    this.pictured.clear();
  }
}
