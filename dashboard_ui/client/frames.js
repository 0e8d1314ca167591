/**
 * Which pictures of a run exist. The edge tells the newest over the socket, and answers `getFrames` with all of them.
 *
 * A picture is known by its number, which names the same picture for ever, so its address may be cached. Nothing is asked
 * for runs that nobody wants, or while nobody sees the page.
 */

import { pageHidden } from "./lifecycle.js";
import { BASE, RpcError, rpc } from "./rpc.js";

/** @typedef {{number: number, seq: number, at: number}} FrameInfo at: ms by the publisher's clock; seq, at: 0 if unknown */
/** @typedef {{frames: number[][], newest?: number, more?: boolean, gone?: boolean}} FramesAnswer rows: number, seq, ms, bytes */
/** @typedef {{history: boolean, behind: boolean, asking: boolean, asked: number}} Want asked: after the run's end */
/** @typedef {{signal?: AbortSignal, base?: string, auth?: import("./auth.js").Auth|null, once?: boolean}} How */

/** The most runs whose new pictures one socket tells. */
export const MAX_WANTED = 200;
/** Pictures in one answer. */
const PAGE_LIMIT = 2000;
/** While new pictures come, the list is completed this often: the socket tells only the newest. */
const COMPLETE_MS = 5000;
/** Runs that are asked for at the same time. */
const CONCURRENT = 8;
/** Polls after the end of a run: what was published last may be seen a moment later. */
const LAST_ASKS = 2;
/** The words of an edge of an earlier version, which has pictures only in `getShot`. */
const UNSUPPORTED = new Set(["unknown_method", "malformed_message", "unknown_type", "unknown_channel"]);

/** The address of a picture. @param {string} testId @param {number} number @param {string} [base] with a slash at its end */
export const frameUrl = (testId, number, base = BASE) => `${base}tests/${testId}/frames/${number}`;

/** The known pictures of one run. */
export class FrameLog {
  constructor() {
    /** By number. Without the history of the run: only the newest. @type {FrameInfo[]} */
    this.list = [];
    /** Whether there may have been earlier pictures, which the edge does not keep any more. */
    this.gone = false;
    /** Whether the whole list has been here once. */
    this.loaded = false;
    /** None is missing in the list up to this number. */
    this.complete = 0;
    /** By time; null: not sorted yet. @type {FrameInfo[]|null} */
    this.byTime = null;
  }

  /** @returns {FrameInfo|null} */
  get newest() {
    return this.list.at(-1) ?? null;
  }

  /** Takes each picture once. @param {FrameInfo[]} infos in any order @returns {boolean} whether one of them was new */
  add(infos) {
    let changed = false;
    for (const info of infos) {
      let at = this.list.length;
      while (at > 0 && this.list[at - 1].number > info.number) at--;
      const known = this.list[at - 1];
      if (known?.number === info.number) {
        if (known.at || !info.at) continue; // it says nothing new
        at--;
        this.list[at] = info;
      } else this.list.splice(at, 0, info);
      changed = true;
    }
    if (changed) this.byTime = null;
    return changed;
  }

  /** The picture that was seen at a time: the newest at or before. @param {number} at ms @returns {FrameInfo|null} */
  nearest(at) {
    this.byTime ??= this.list.filter((info) => info.at > 0).sort((a, b) => a.at - b.at || a.number - b.number);
    let [low, high] = [0, this.byTime.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.byTime[middle].at <= at) low = middle + 1;
      else high = middle;
    }
    return this.byTime[low - 1] ?? null;
  }

  /** The first picture of an event; where it has none, the last one before it. @param {number} seq @returns {FrameInfo|null} */
  ofSeq(seq) {
    /** @type {FrameInfo|null} */
    let before = null;
    for (const info of this.list) {
      if (info.seq === seq) return info;
      if (info.seq > 0 && info.seq < seq) before = info;
    }
    return before;
  }

  /** Forgets all but the newest. */
  shorten() {
    if (this.list.length > 1) this.list.splice(0, this.list.length - 1);
    this.byTime = null;
  }
}

export class Frames {
  /**
   * @param {object} [how]
   * @param {(testId: string) => void} [how.onChange] the log of a run has changed, or `supported` has
   * @param {(testId: string, params: {after: number, limit: number}, how: How) => Promise<FramesAnswer>} [how.ask]
   * @param {(testId: string, number: number) => string} [how.url] the address of a picture
   */
  constructor({ onChange = () => {}, ask = getFrames, url = frameUrl } = {}) {
    this.onChange = onChange;
    this.ask = ask;
    this.url = url;
    /** Set by the transport: the wanted runs have changed. */
    this.onWanted = () => {};
    /** Whether the edge has numbered pictures; null: not known yet. @type {boolean|null} */
    this.supported = null;
    /** @type {Map<string, FrameLog>} */
    this.logs = new Map();
    /** @type {Map<string, Want>} */
    this.wants = new Map();
    /** How the transport reaches its edge. @type {How} */
    this.reach = {};
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
    this.life = new AbortController();
  }

  /** @param {string} testId @returns {FrameLog} empty if nothing is known */
  of(testId) {
    let log = this.logs.get(testId);
    if (!log) this.logs.set(testId, (log = new FrameLog()));
    return log;
  }

  /** @param {string} testId @param {{history?: boolean}} [how] history: the whole list, not only the newest picture */
  want(testId, { history = false } = {}) {
    const want = this.wants.get(testId);
    if (want && (want.history || !history)) return;
    this.wants.set(testId, { history, behind: history, asking: false, asked: 0 });
    if (!want) this.onWanted();
    if (history) void this.load(testId);
  }

  /** Nothing more is asked for a run. A list that was loaded stays. @param {string} testId */
  drop(testId) {
    const want = this.wants.get(testId);
    if (!want) return;
    this.wants.delete(testId);
    if (!want.history) this.logs.delete(testId);
    this.onWanted();
  }

  /** The runs whose new pictures are of use now: none while nobody sees the page. @returns {Set<string>} */
  get wanted() {
    return new Set(pageHidden() ? [] : [...this.wants.keys()].slice(0, MAX_WANTED));
  }

  /**
   * Applies a message of the socket.
   *
   * @param {any} message
   * @returns {boolean} whether the message was about pictures, and nothing else
   */
  receive(message) {
    if (message?.type === "error") return this.refused(message);
    if (message?.type !== "frame" || message.seq !== undefined) return false; // an event may have this type, too
    const { testId, number, eventSeq, timeMs } = message;
    if (this.supported === null) this.supported = true;
    const want = this.wants.get(testId);
    if (!want || !isNumber(number)) return true;
    if (want.history) {
      want.behind = true;
      this.arm();
    }
    this.take(testId, [infoOf([number, eventSeq, timeMs])]);
    return true;
  }

  /** @param {any} error of the socket @returns {boolean} whether it says that the edge does not know this channel */
  refused({ code, data, message, testId, channel }) {
    const word = code ?? data?.code;
    const about = channel === "frames" || (testId === undefined && `${message}`.includes("'frames'"));
    if (about && UNSUPPORTED.has(word)) this.unsupported();
    return about;
  }

  /** Another message arrived after the channel was asked for, and no refusal: the edge knows it. */
  heard() {
    this.supported ??= true;
  }

  unsupported() {
    if (this.supported === false) return;
    this.supported = false;
    for (const testId of this.wants.keys()) this.onChange(testId);
  }

  /** A socket has opened, perhaps to another edge: asks for what came meanwhile. */
  opened() {
    this.supported = null;
    this.resume();
  }

  /** Asks for what is missing in the lists, also after the page was hidden. */
  resume() {
    for (const [testId, want] of this.wants) {
      if (!want.history) continue;
      want.behind = true;
      void this.load(testId);
    }
  }

  /**
   * Asks for new pictures of the wanted runs; of one that has ended, once more. Never rejects.
   *
   * @param {How} how
   * @param {(testId: string) => boolean} hasEnded
   */
  async poll(how, hasEnded) {
    const queue = [...this.wanted].filter((testId) => (this.wants.get(testId)?.asked ?? 0) < LAST_ASKS).values();
    const ask = async (/** @type {string} */ testId) => {
      const want = this.wants.get(testId);
      if (!want || how.signal?.aborted) return;
      const last = hasEnded(testId);
      want.behind = true;
      if ((await this.load(testId, how)) && last) want.asked++;
    };
    if (this.supported !== true) {
      this.supported = null; // another edge may answer; one request tells
      for (const testId of queue) {
        await ask(testId);
        break;
      }
    }
    const work = async () => {
      for (const testId of queue) if (this.supported !== false) await ask(testId);
    };
    await Promise.all(Array.from({ length: CONCURRENT }, work));
  }

  /**
   * Completes the list of a run, or learns its newest picture.
   *
   * @param {string} testId
   * @param {How} [how]
   * @returns {Promise<boolean>} whether the edge has answered
   */
  async load(testId, how = this.reach) {
    const want = this.wants.get(testId);
    if (!want || want.asking || pageHidden()) return false;
    want.asking = true;
    const signal = how.signal ? AbortSignal.any([how.signal, this.life.signal]) : this.life.signal;
    try {
      while (want.behind && this.wants.get(testId) === want) {
        want.behind = false;
        await this.page(testId, want, { ...how, signal });
      }
    } catch (error) {
      want.behind = true;
      if (error instanceof RpcError && error.code === "unknown_method") this.unsupported();
      else if (want.history && !(error instanceof RpcError && error.final)) this.arm();
      return false;
    } finally {
      want.asking = false;
    }
    return true;
  }

  /** @param {string} testId @param {Want} want @param {How} how */
  async page(testId, want, how) {
    const log = this.of(testId);
    const after = want.history ? log.complete : (log.newest?.number ?? 0);
    const answer = await this.ask(testId, { after, limit: want.history ? PAGE_LIMIT : 1 }, how);
    if (how.signal?.aborted || this.wants.get(testId) !== want) return;
    this.supported = true;
    const infos = answer.frames.filter((row) => isNumber(row?.[0])).map(infoOf);
    const newest = answer.newest ?? 0;
    const told = infos.at(-1)?.number ?? 0;
    const changed = log.gone !== (answer.gone === true) || (want.history && !log.loaded);
    log.gone = answer.gone === true;
    if (want.history) {
      log.complete = Math.max(log.complete, told);
      want.behind ||= answer.more === true && told > after;
      log.loaded ||= !want.behind;
    } else if (newest > told) infos.push(infoOf([newest]));
    if (!this.take(testId, infos) && changed) this.onChange(testId);
  }

  /** @param {string} testId @param {FrameInfo[]} infos @returns {boolean} whether one of them was new */
  take(testId, infos) {
    const log = this.of(testId);
    const only = !this.wants.get(testId)?.history && !log.loaded;
    const known = log.newest?.number ?? 0;
    if (!log.add(only ? infos.filter(({ number }) => number >= known) : infos)) return false;
    if (only) log.shorten();
    this.onChange(testId);
    return true;
  }

  /** Completes the lists a little later. */
  arm() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      for (const [testId, want] of this.wants) if (want.history && want.behind) void this.load(testId);
    }, COMPLETE_MS);
  }

  /** Ends all requests. */
  close() {
    this.life.abort();
    clearTimeout(this.timer);
  }
}

/** @param {string} testId @param {{after: number, limit: number}} params @param {How} how @returns {Promise<FramesAnswer>} */
const getFrames = (testId, params, how) => rpc("getFrames", { testId, ...params }, { ...how, get: true });

/** @param {number[]} row number, seq, ms @returns {FrameInfo} */
const infoOf = ([number, seq, at]) => ({ number, seq: isNumber(seq) ? seq : 0, at: isNumber(at) ? at : 0 });

/** @param {unknown} value */
const isNumber = (value) => Number.isSafeInteger(value) && /** @type {number} */ (value) > 0;
