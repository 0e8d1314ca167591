/** Asks an edge over HTTP for what the store wants: every 3 s while sockets fail, or once. */

import { ended } from "./fold.js";
import { pageHidden } from "./lifecycle.js";
import { RpcError, rpc } from "./rpc.js";
import { behind } from "./runs.js";

export const POLL_MS = 3000;
/** Delay of the second request of a look: by then the list contains what was published just before the first. */
const LOOK_AGAIN_MS = 1000;
/** Running tests whose events a look requests although the list shows nothing new: the list is folded with a delay. */
const LOOK_EVENTS_LIMIT = 16;
/** Runs that one poll of the list returns, newest first; as many as on the socket. */
const LIST_LIMIT = 100;
const PAGE_LIMIT = 1000;

export class Polling {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {string} how.base the edge's origin
   * @param {boolean} how.list whether to ask for the list of all tests
   * @param {() => boolean} how.isLive whether a socket delivers at the same time
   * @param {(answered: boolean) => void} how.onRound a round has ended
   */
  constructor(store, { base, list, isLive, onRound }) {
    this.store = store;
    this.base = base;
    this.list = list;
    this.hooks = { isLive, onRound };
    this.running = false;
    /** Whether the last round was answered. */
    this.answered = false;
    /** The round in progress. @type {AbortController|null} */
    this.round = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.pollTimer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.lookTimer = undefined;
  }

  start() {
    console.info(`testcast: polling every ${POLL_MS / 1000} s`);
    this.running = true;
    this.answered = false;
    if (!this.round) void this.ask();
  }

  stop() {
    if (this.running) console.info("testcast: polling ends");
    this.running = false;
    clearTimeout(this.pollTimer);
    clearTimeout(this.lookTimer);
    this.round?.abort();
    this.round = null;
  }

  /** Asks now, and once more a second later. A round in progress is aborted: its connection may be dead. */
  look() {
    if (pageHidden()) return;
    void this.ask(LOOK_EVENTS_LIMIT);
    clearTimeout(this.lookTimer);
    this.lookTimer = setTimeout(() => this.round ?? this.ask(), LOOK_AGAIN_MS);
  }

  /**
   * One round of requests. While polling runs, the next one starts 3 s after this one started.
   * @param {number} [unlisted] running tests whose events are requested although the list shows nothing new
   */
  async ask(unlisted = 0) {
    clearTimeout(this.pollTimer);
    this.round?.abort();
    const round = (this.round = new AbortController());
    const startedAt = performance.now();
    const answered = await this.poll(round.signal, unlisted).then(
      () => true,
      () => false,
    );
    if (this.round !== round) return this.hooks.onRound(false); // aborted; the store may have changed before
    this.round = null;
    this.answered = answered;
    if (this.running) this.pollTimer = setTimeout(() => this.ask(), POLL_MS - (performance.now() - startedAt));
    this.hooks.onRound(answered);
  }

  /**
   * Gets the list, and the events of the watched runs that have moved on.
   * @param {AbortSignal} signal
   * @param {number} unlisted
   */
  async poll(signal, unlisted) {
    const how = { get: true, signal, base: this.base };
    const tests = this.list ? await this.pollList(how) : [];
    for (const testId of this.store.subscriptions()) {
      const run = this.store.runs.get(testId);
      if (!run || signal.aborted) continue;
      try {
        // A run that is older than the page of the list is requested by its id.
        if (this.list && !ended(run.snapshot) && !tests.some((test) => test.testId === testId))
          this.store.runs.merge(run, (await rpc("getTest", { testId }, how)).test);
        let more = !this.list || behind(run) || (!ended(run.snapshot) && unlisted-- > 0);
        while (more && !signal.aborted) more = await this.pollEvents(testId, how);
      } catch (error) {
        if (!(error instanceof RpcError) || error.status !== 404) throw error;
        this.store.refused({ testId, message: error.message });
      }
    }
  }

  /** @param {{get: boolean, signal: AbortSignal, base: string}} how @returns {Promise<Snapshot[]>} */
  async pollList(how) {
    const { tests, counts, stale } = await rpc("listTests", { limit: LIST_LIMIT }, how);
    // While a socket delivers, the answer may be older than what it delivered: nothing is removed.
    const full = !this.hooks.isLive();
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
