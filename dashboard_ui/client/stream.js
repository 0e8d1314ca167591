/**
 * An edge's events as one stream over HTTP (Server-Sent Events): for where no WebSocket passes. Loaded when it is needed.
 *
 * The runs and positions are part of the address, so a stream that has to bring another run is replaced by a new one. The
 * messages are those of the socket.
 */

/** The wait for another stream after a refusal: most likely the edge is of an earlier version. */
const LATER_MS = 30_000;
/** Runs in one address: what an edge takes by default. With more, the page polls. */
const MAX_WATCHED = 64;
/** New runs are collected for this long before the stream is replaced. */
const COLLECT_MS = 200;

export class EventStream {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {string} how.base the edge's address, with a slash at its end
   * @param {import("./auth.js").Auth|null} how.auth
   * @param {boolean} how.list whether to follow the list of all tests
   * @param {(message: any) => void} how.onMessage null: something else arrived, as a sign of life
   * @param {(closed: {retryAfterMs?: number}) => void} how.onClosed not called after `close`
   * @param {(reason: string) => void} how.onDenied the edge does not know who asks
   */
  constructor(store, how) {
    this.store = store;
    this.how = how;
    /** The runs that the stream brings, each with the position it was asked for. @type {Map<string, string>} */
    this.watched = new Map();
    /** The stream in use. @type {AbortController|null} */
    this.reading = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
  }

  /** Opens a stream from the store's positions, in place of the one in use. */
  open() {
    this.close();
    this.watched = new Map(this.store.subscriptions().map((testId) => [testId, this.name(testId)]));
    this.reading = new AbortController();
    void this.read(this.reading.signal);
  }

  close() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.reading?.abort();
    this.reading = null;
  }

  /** Opens a stream that brings what the store wants, unless the one in use does. */
  subscribe() {
    if (!this.reading || this.timer !== undefined) return;
    if (this.store.subscriptions().some((testId) => !this.watched.has(testId)))
      this.timer = setTimeout(() => this.open(), COLLECT_MS);
  }

  /** What the stream says of a run counts no more. @param {string} testId */
  unsubscribe(testId) {
    if (this.reading && this.watched.has(testId)) this.open();
  }

  /** A run with its position, as the address names it. @param {string} testId */
  name(testId) {
    const position = this.store.position(testId);
    return position ? `${testId}:${position.epoch}.${position.seq}` : testId;
  }

  /** @param {AbortSignal} signal */
  async read(signal) {
    const { auth, onDenied, onClosed } = this.how;
    /** @type {{retryAfterMs?: number}} */
    const closed = {};
    try {
      const token = await auth?.token();
      const response = await this.request(signal, token);
      if (response.status === 401) signal.aborted || onDenied("The edge wants to know who asks.");
      else if (!response.ok || !response.body) closed.retryAfterMs = LATER_MS;
      else await this.messages(response.body, signal, closed);
    } catch {
      // the line is cut, or there is no token: another attempt follows
    }
    if (signal.aborted) return;
    this.close();
    onClosed(closed);
  }

  /** @param {AbortSignal} signal @param {string} [token] */
  request(signal, token) {
    const { base, list } = this.how;
    const watches = [...this.watched.values()].map((name) => ["watch", name]);
    if (watches.length > MAX_WATCHED) throw new RangeError("too many runs");
    const query = new URLSearchParams([...watches, ...(list ? [["channel", "tests"]] : [])]);
    return fetch(`${base}events?${query}`, {
      signal,
      cache: "no-store",
      headers: { accept: "text/event-stream", ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      ...(token !== undefined && { credentials: "omit" }),
    });
  }

  /**
   * @param {ReadableStream<Uint8Array>} body
   * @param {AbortSignal} signal
   * @param {{retryAfterMs?: number}} closed takes what a goodbye asks for
   */
  async messages(body, signal, closed) {
    const [reader, decoder] = [body.getReader(), new TextDecoder()];
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? "";
      if (blocks.length === 0) this.how.onMessage(null);
      for (const block of blocks) {
        if (signal.aborted) return;
        const message = messageOf(block);
        if (message?.type === "goodbye") closed.retryAfterMs = message.retryAfterMs;
        if (this.isLate(message)) return this.open();
        this.how.onMessage(message);
      }
    }
  }

  /** A reset from a position that the store has left meanwhile: a poll has told it. @param {any} message */
  isLate(message) {
    const { type, outcome, testId } = message ?? {};
    return type === "sync" && outcome === "reset" && this.watched.get(testId) !== this.name(testId);
  }
}

/** The message in a block of lines; null: there is none, as in a comment. @param {string} block */
export function messageOf(block) {
  const data = block.split(/\r?\n/).flatMap((line) => /^data: ?(.*)/s.exec(line)?.[1] ?? []);
  try {
    return JSON.parse(data.join("\n"));
  } catch {
    return null;
  }
}
