/** What stands out on the time line of a run: phases, attempts, problems, game overs. Pure. */

import { fields } from "../coerce.js";
import { kindOf } from "../lines.js";
import { advance, timeline } from "../timeline.js";

/** @typedef {"over"|"problem"|"error"} MarkKind from the mildest to the gravest */
/** @typedef {{kind: MarkKind, seq: number}} Mark */

/** @type {MarkKind[]} */
const BY_WEIGHT = ["over", "problem", "error"];

/** @param {RunEvent} event @returns {MarkKind|null} */
export function markOf(event) {
  const kind = kindOf(event);
  if (kind === "problem" || kind === "error") return kind;
  const over = fields(event.data).gameOver === true || /^game over\b/i.test(event.message);
  return over && event.type === "progress" ? "over" : null;
}

export class Marks {
  constructor() {
    this.generation = -1;
    this.taken = 0;
    /** @type {Mark[]} */
    this.list = [];
    this.line = timeline();
    /** The events of problems and errors, and of game overs, ascending. @type {{problems: number[], overs: number[]}} */
    this.seqs = { problems: [], overs: [] };
  }

  /** @param {{log: RunEvent[], generation: number}} feed */
  update({ log, generation }) {
    if (generation !== this.generation) Object.assign(this, new Marks(), { generation });
    for (; this.taken < log.length; this.taken++) {
      const event = log[this.taken];
      advance(this.line, event);
      const kind = markOf(event);
      if (!kind) continue;
      this.list.push({ kind, seq: event.seq });
      (kind === "over" ? this.seqs.overs : this.seqs.problems).push(event.seq);
    }
  }

  /**
   * The marks as they are drawn: one for each place, the gravest that stands there.
   *
   * @param {(seq: number) => number} placeOf from 0 to 1
   * @param {number} places how many there are
   * @returns {Array<{kind: MarkKind, place: number, seq: number}>} place: from 0 to 1
   */
  drawn(placeOf, places) {
    /** @type {Map<number, {kind: MarkKind, place: number, seq: number}>} */
    const found = new Map();
    for (const { kind, seq } of this.list) {
      const place = placeOf(seq);
      const key = Math.round(place * places);
      const known = found.get(key);
      if (!known || BY_WEIGHT.indexOf(kind) > BY_WEIGHT.indexOf(known.kind)) found.set(key, { kind, place, seq });
    }
    return [...found.values()];
  }
}
