/** Which runs a wall shows, and for how long. Pure. */

import { ended } from "../../client/fold.js";

/** A run that has ended stays this long with its result, ms. */
export const STAYS_MS = 20_000;

/** @typedef {{gameUrl: string, labels: Array<[string, string]>}} Filter an empty address: any */

/** What the address asks for: `?gameUrl=…` and `?label=name=value`, which may be repeated. @param {string} search @returns {Filter} */
export function filterOf(search) {
  const query = new URLSearchParams(search);
  const labels = query.getAll("label").map((label) => {
    const [name, ...value] = label.split("=");
    return /** @type {[string, string]} */ ([name, value.join("=")]);
  });
  return { gameUrl: query.get("gameUrl") ?? "", labels };
}

/** @param {Filter} filter @param {any} snapshot */
export const matches = ({ gameUrl, labels }, snapshot) =>
  (!gameUrl || snapshot.gameUrl === gameUrl) && labels.every(([name, value]) => snapshot.labels?.[name] === value);

/** The runs of a wall: those that are running, and those of them that have just ended. */
export class Choice {
  /** @param {Filter} filter */
  constructor(filter) {
    this.filter = filter;
    /** When each run on the wall was seen to have ended, ms; null: it is running. @type {Map<string, number|null>} */
    this.shown = new Map();
  }

  /**
   * Judges a run anew.
   *
   * @param {string} id
   * @param {Snapshot|null} snapshot null: there is no such run any more
   * @param {number} now ms
   * @returns {"shown"|"ended"|"left"|"none"} what it is now; "ended": it has ended just now
   */
  judge(id, snapshot, now) {
    const before = this.shown.get(id);
    if (snapshot?.status === "running" && matches(this.filter, snapshot)) {
      this.shown.set(id, null);
      return "shown";
    }
    if (before === undefined) return "none";
    if (snapshot && ended(snapshot)) {
      if (before !== null) return "shown";
      this.shown.set(id, now);
      return "ended";
    }
    this.shown.delete(id); // queued again, or gone
    return "left";
  }

  /** Lets those go that ended a while ago. @param {number} now ms @returns {string[]} their ids */
  leave(now) {
    const gone = [...this.shown].filter(([, at]) => at !== null && now - at >= STAYS_MS).map(([id]) => id);
    for (const id of gone) this.shown.delete(id);
    return gone;
  }
}
