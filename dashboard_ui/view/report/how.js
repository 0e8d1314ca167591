/** How a run was tested, in rows for a reader. Pure. */

import { count } from "../format.js";
import { bytesWords, share } from "./words.js";

/** @type {Record<string, [string, string]>} */
const TIMES = {
  owned: ["Owned by the agent", "The game was advanced frame by frame, however busy the machine was."],
  real: ["Real", "The game could not be advanced frame by frame. It was played as a person plays it, and less is claimed."],
  mixed: ["Owned by the agent, and real", "A part could not be repeated frame by frame and was played in real time; less is claimed of it."],
};

/**
 * @param {How} how
 * @returns {Array<{name: string, text: string, hint?: string, share?: number, wide?: boolean}>}
 */
export function howRows({ time, determinism, uncontrolled, unknown, speed, gameSeconds, coverage }) {
  const rows = [];
  if (coverage) {
    const part = coverage.used / coverage.total;
    rows.push({ name: "Code that ran", text: `${share(part)}, ${bytesWords(coverage)}`, share: part });
  }
  if (time) rows.push({ name: "Time", text: TIMES[time][0], hint: TIMES[time][1] });
  if (determinism) {
    const { moments, agreed } = determinism;
    const hint = agreed < moments ? "Nothing is claimed of moments that differ when they are repeated." : "";
    const text = moments ? `${agreed} of ${count(moments, "moment")} the same` : "no moment";
    rows.push({ name: "Repeated without input", text, hint: moments ? hint : "Whether the same inputs give the same frames is not known." });
  }
  if (uncontrolled)
    rows.push({
      name: "Used and not controlled",
      text: uncontrolled.length ? uncontrolled.join(", ") : "nothing",
      hint: uncontrolled.length ? "What depends on it may differ when it is played again." : "",
    });
  if (gameSeconds !== undefined) rows.push({ name: "Played", text: `${count(Math.round(gameSeconds), "second")} of the game's time` });
  if (speed !== undefined) rows.push({ name: "Speed", text: `${Number(speed.toPrecision(2)).toLocaleString("en")} × real time` });
  if (unknown?.length) rows.push({ name: "Not found out", text: unknown.join("\n"), wide: true });
  return rows;
}
