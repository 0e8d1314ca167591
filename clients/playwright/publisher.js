/**
 * Publishes the events of one run through an edge: in batches, in order, each once, also when the edge is away for a
 * moment. Nothing here throws at the caller: what could not be published is counted, and said in `trouble`.
 */

import { randomBytes } from "node:crypto";

/** Events in one request: as many as an edge takes. */
const MAX_BATCH = 100;
/** Their size, below the 1 MiB that an edge takes. */
const MAX_BATCH_BYTES = 512 * 1024;
/** Events that wait while the edge is away. Further ones are dropped, except the last. */
const MAX_WAITING = 5000;
const TIMEOUT_MS = 10_000;
/** An edge that has not answered for this long is given up. */
const PATIENCE_MS = 120_000;
/** Without an event for so long, a sign of life is sent: after 25 s a run is shown as stalled. */
const QUIET_MS = 10_000;
/** How long the end of the suite waits for what is left. */
export const FINISH_MS = 30_000;
/** Refusals of the address that is tested. */
const OF_THE_ADDRESS = /url|name_not_resolved/;
const LATER = new Set([408, 425, 429, 500, 502, 503, 504]);

/** An answer of the edge that is none to hope for. */
class Refused extends Error {
  /** @param {string} message @param {string} code @param {any} [details] */
  constructor(message, code, details) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

export class Publisher {
  /**
   * @param {URL} url of the edge
   * @param {string} token or ""
   * @param {Record<string, any>} about the parameters of createRun
   */
  constructor(url, token, about) {
    this.base = `${url.origin}${url.pathname.replace(/\/*$/, "/")}`;
    this.token = token;
    this.about = about;
    /** The run, once it has begun. @type {string|null} */
    this.testId = null;
    /** Why nothing more is published; "" while all is well. */
    this.trouble = "";
    /** Events that were dropped. */
    this.missing = 0;
    /** @type {any[]} */
    this.waiting = [];
    this.head = 0;
    this.nonce = randomBytes(6).toString("hex");
    this.batches = 0;
    this.over = false;
    this.answeredAt = performance.now();
    this.wake = () => {};
    this.leaving = new AbortController();
    this.done = this.work();
  }

  /** Takes an event, and returns at once. @param {any} event @param {boolean} [last] */
  put(event, last = false) {
    if (this.trouble || (this.waiting.length >= MAX_WAITING && !last)) this.missing++;
    else this.waiting.push(event);
    this.wake();
  }

  /** Publishes the run's last event, and waits until everything is stored, but not for ever. @param {any} event */
  async finish(event) {
    this.put(event, true);
    this.over = true;
    this.wake();
    const timer = setTimeout(() => {
      this.trouble ||= "the edge has not answered in time";
      this.leaving.abort();
    }, FINISH_MS);
    await this.done;
    clearTimeout(timer);
  }

  async work() {
    try {
      await this.begin();
      while (!this.over || this.waiting.length > 0) {
        if (this.waiting.length > 0) await this.publish(this.take());
        else await this.quiet();
      }
    } catch (error) {
      this.trouble ||= error instanceof Error ? error.message : String(error);
    }
    this.missing += this.waiting.length;
    this.waiting = [];
  }

  async begin() {
    let made;
    try {
      made = await this.insist("createRun", this.about);
    } catch (error) {
      // The address is for the reader alone: one that an edge does not show costs no run.
      if (!(error instanceof Refused) || !OF_THE_ADDRESS.test(error.code) || !this.about.gameUrl) throw error;
      made = await this.insist("createRun", { ...this.about, gameUrl: undefined });
    }
    this.testId = made.testId;
    this.head = made.seq;
  }

  /** The events of the next batch. */
  take() {
    let bytes = 0;
    let count = 0;
    for (const event of this.waiting.slice(0, MAX_BATCH)) {
      bytes += Buffer.byteLength(JSON.stringify(event));
      if (count > 0 && bytes > MAX_BATCH_BYTES) break;
      count++;
    }
    return this.waiting.splice(0, count);
  }

  /** @param {any[]} events */
  async publish(events) {
    const key = `${this.nonce}-${this.batches++}`; // what is stored of a batch that is sent again is not stored again
    for (;;) {
      try {
        const { seq } = await this.insist("publishEvents", { testId: this.testId, key, events, afterSeq: this.head });
        this.head = seq;
        return;
      } catch (error) {
        if (error instanceof Refused && error.code === "conflict" && error.details?.head > this.head)
          this.head = error.details.head; // somebody else has written to the run: they may
        else {
          this.missing += events.length;
          if (error instanceof Refused && error.code === "already_ended")
            throw new Error("somebody has ended the run", { cause: error });
          throw error;
        }
      }
    }
  }

  /** Waits for the next event; tells that the suite is alive when none comes. */
  async quiet() {
    let timer;
    const late = await new Promise((resolve) => {
      this.wake = () => resolve(false);
      timer = setTimeout(() => resolve(true), QUIET_MS).unref();
    });
    clearTimeout(timer);
    if (late) await this.publish([{ type: "alive", message: "at work", timestamp: Date.now() }]);
  }

  /**
   * Calls a method of the edge, again and again while the edge is away.
   *
   * @param {string} method
   * @param {any} params
   */
  async insist(method, params) {
    this.answeredAt = performance.now();
    for (let tries = 0; ; tries++) {
      const { answer, why, waitMs = 0 } = await this.ask(method, params);
      if (answer) return answer;
      if (this.leaving.signal.aborted || performance.now() - this.answeredAt > PATIENCE_MS) throw new Error(why);
      const backoffMs = Math.min(250 * 2 ** tries, 8000) * (0.8 + 0.2 * Math.random());
      await this.pause(Math.max(waitMs, backoffMs));
    }
  }

  /** @param {number} ms */
  async pause(ms) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.leaving.signal.addEventListener("abort", () => (clearTimeout(timer), resolve(null)), { once: true });
    });
  }

  /**
   * @param {string} method
   * @param {any} params
   * @returns {Promise<{answer?: any, why?: string, waitMs?: number}>} without an answer: ask again
   * @throws {Refused}
   */
  async ask(method, params) {
    const headers = { "content-type": "application/json", ...(this.token && { authorization: `Bearer ${this.token}` }) };
    const signal = AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), this.leaving.signal]);
    let response;
    let body;
    try {
      // A redirect is not followed: the token is for this edge.
      const how = { method: "POST", headers, body: JSON.stringify(params), signal, redirect: /** @type {const} */ ("error") };
      response = await fetch(`${this.base}rpc/${method}`, how);
      body = await response.json();
    } catch {
      if (!response) return { why: "the edge does not answer" };
    }
    if (response.ok && body) return { answer: body };
    const { code = "error", message = `the edge answered ${response.status}`, details } = body?.error ?? {};
    const waitMs = Math.min(Number(response.headers.get("retry-after")) || 0, 30) * 1000;
    if (response.ok || (LATER.has(response.status) && code !== "name_not_resolved")) return { why: message, waitMs };
    throw new Refused(message, code, details);
  }
}
