/** Asks an edge over HTTP for what the store wants: every 3 s while sockets and streams fail, or once. */

import { ended } from "./fold.js";
import { pageHidden } from "./lifecycle.js";
import { RpcError, rpc } from "./rpc.js";
import { behind } from "./runs.js";

export const POLL_MS = 3000;
/** Delay of the second request of a look: by then the list contains what was published just before the first. */
const LOOK_AGAIN_MS = 1000;
/** Running tests whose events a look requests without waiting for the list, which is folded with a delay. */
const LOOK_EVENTS_LIMIT = 16;
/** Runs that one round requests at the same time. */
const CONCURRENT = 16;
/** Runs that one poll of the list returns, newest first; as many as on the socket. */
const LIST_LIMIT = 100;
const PAGE_LIMIT = 1000;
/** Errors about one run. Others say nothing about it. */
const REFUSALS = new Set(["not_found", "forbidden"]);

/** @typedef {{get: boolean, signal: AbortSignal, base: string, auth: import("./auth.js").Auth|null, once: boolean}} How */

export class Polling {
  /**
   * @param {import("./store.js").Store<any>} store
   * @param {object} how
   * @param {string} how.base the edge's address, with a slash at its end
   * @param {boolean} how.list whether to ask for the list of all tests
   * @param {import("./frames.js").Frames|null} [how.frames]
   * @param {() => boolean} how.isLive whether a socket delivers at the same time
   * @param {() => void} how.onAnswer an answer was applied to the store
   * @param {(answered: boolean) => void} how.onRound a round has ended
   * @param {(reason: string) => void} [how.onDenied] the edge does not know who asks
   * @param {import("./auth.js").Auth|null} [how.auth]
   */
  constructor(store, { base, list, frames = null, isLive, onAnswer, onRound, onDenied = () => {}, auth = null }) {
    this.store = store;
    this.base = base;
    this.list = list;
    this.frames = frames;
    this.hooks = { isLive, onAnswer, onRound, onDenied };
    this.auth = auth;
    this.running = false;
    /** Whether it asks for pictures only, since a stream brings everything else. */
    this.picturesOnly = false;
    /** Whether the last round was answered. */
    this.answered = false;
    /** The round in progress. @type {AbortController|null} */
    this.round = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.pollTimer = undefined;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.lookTimer = undefined;
  }

  /** @param {boolean} [picturesOnly] */
  start(picturesOnly = false) {
    if (this.running && this.picturesOnly === picturesOnly) return;
    if (this.running) this.stop();
    if (!picturesOnly) console.info(`testcast: polling every ${POLL_MS / 1000} s`);
    this.running = true;
    this.picturesOnly = picturesOnly;
    this.answered = false;
    if (!this.round) void this.ask();
  }

  stop() {
    if (this.running && !this.picturesOnly) console.info("testcast: polling ends");
    this.running = this.picturesOnly = false;
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
   * @param {number} [unlisted] running tests whose events are requested without waiting for the list
   */
  async ask(unlisted = 0) {
    clearTimeout(this.pollTimer);
    this.round?.abort();
    const round = (this.round = new AbortController());
    const startedAt = performance.now();
    const answered = await this.poll(round.signal, unlisted).then(
      () => true,
      (error) => {
        if (error instanceof RpcError && error.status === 401 && this.round === round)
          this.hooks.onDenied(error.message);
        return false;
      },
    );
    if (this.round !== round) return this.hooks.onRound(false); // aborted; the store may have changed before
    this.round = null;
    this.answered = answered;
    if (this.running) this.pollTimer = setTimeout(() => this.ask(), POLL_MS - (performance.now() - startedAt));
    this.hooks.onRound(answered && !this.picturesOnly);
  }

  /**
   * Gets the list, and the events of the watched runs that have moved on. Each answer is applied when it arrives. Ends
   * when every request has been answered or has failed.
   *
   * @param {AbortSignal} signal
   * @param {number} unlisted
   */
  async poll(signal, unlisted) {
    /** @type {How} */
    const how = { get: true, signal, base: this.base, auth: this.auth, once: true };
    if (this.picturesOnly && !unlisted) return this.pollFrames(how);
    const list = this.list ? this.pollList(how) : Promise.resolve(null);
    const first = this.list ? this.unended().slice(0, unlisted) : [];
    const requests = first.map(async (testId) => {
      await this.pollRun(testId, how);
      await this.pollListed(testId, await list, how);
    });
    const others = list.then((tests) => {
      const rest = this.store.subscriptions().filter((testId) => !first.includes(testId));
      return concurrently(rest, (testId) => this.pollListed(testId, tests, how));
    });
    // The second round of a look is for the list.
    const pictures = this.running || unlisted > 0 ? this.pollFrames(how) : Promise.resolve();
    await allOf([others, pictures, ...requests]);
  }

  /** Asks which pictures are new. A failure is none of the round. @param {How} how */
  async pollFrames(how) {
    const hasEnded = (/** @type {string} */ testId) => {
      const run = this.store.runs.get(testId);
      return run !== undefined && ended(run.snapshot);
    };
    await this.frames?.poll(how, hasEnded);
  }

  /** @returns {string[]} the watched runs that have not ended, those with an open feed first */
  unended() {
    const watched = this.store.subscriptions().flatMap((testId) => this.store.runs.get(testId) ?? []);
    const running = watched.filter((run) => !ended(run.snapshot));
    return running.sort((a, b) => Number(b.opened) - Number(a.opened)).map((run) => run.id);
  }

  /**
   * Gets what is missing of a run after the list is known.
   *
   * @param {string} testId
   * @param {Snapshot[]|null} tests the list; null: none is wanted, and every run's events are requested
   * @param {How} how
   */
  async pollListed(testId, tests, how) {
    const run = this.store.runs.get(testId);
    if (!run || how.signal.aborted) return;
    // A run that is older than the page of the list is requested by its id.
    if (tests && !ended(run.snapshot) && !tests.some((test) => test.testId === testId))
      await this.unlessRefused(testId, how, async () => {
        const { test } = await rpc("getTest", { testId }, how);
        if (!how.signal.aborted) this.store.runs.merge(run, test);
      });
    if (!tests || behind(run)) await this.pollRun(testId, how);
  }

  /** Gets all events of a run that are missing. @param {string} testId @param {How} how */
  pollRun(testId, how) {
    return this.unlessRefused(testId, how, async () => {
      while (!how.signal.aborted && (await this.pollEvents(testId, how))) this.hooks.onAnswer();
    });
  }

  /**
   * Requests something of one run. That there is no such run is an answer and no failure.
   *
   * @param {string} testId
   * @param {How} how
   * @param {() => Promise<void>} request
   */
  async unlessRefused(testId, { signal }, request) {
    try {
      await request();
    } catch (error) {
      if (!(error instanceof RpcError) || !REFUSALS.has(error.code)) throw error;
      if (!signal.aborted) this.store.refused({ testId, message: error.message, code: error.code });
    }
    if (!signal.aborted) this.hooks.onAnswer();
  }

  /** @param {How} how @returns {Promise<Snapshot[]>} */
  async pollList(how) {
    const { tests, counts, stale } = await rpc("listTests", { limit: LIST_LIMIT }, how);
    // While a socket delivers, the answer may be older than what it delivered: nothing is removed.
    const full = !this.hooks.isLive();
    if (how.signal.aborted) return tests;
    this.store.tests({ upserts: tests, counts, full, stale });
    this.hooks.onAnswer();
    return tests;
  }

  /**
   * @param {string} testId
   * @param {How} how
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

/**
 * Runs a request for each item, a limited number at the same time. A failure ends one of them, and the others go on.
 *
 * @template T
 * @param {T[]} items
 * @param {(item: T) => Promise<void>} request
 */
async function concurrently(items, request) {
  const queue = items.values();
  await allOf(
    Array.from({ length: CONCURRENT }, async () => {
      for (const item of queue) await request(item);
    }),
  );
}

/** Waits for all; throws the first failure afterwards. @param {Promise<any>[]} promises */
async function allOf(promises) {
  const failed = (await Promise.allSettled(promises)).find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}
