/** The runs of a game over time: what each changed, and the line of their scores. Pure. */

import { ended } from "../client/fold.js";
import { byAge } from "../client/runs.js";
import { controlsOf, difference, problemsOf } from "./same.js";

/** @typedef {import("./same.js").Found} Found */
/** @typedef {import("./same.js").Difference} Difference */
/**
 * @typedef {object} PastRun a row of the history
 * @property {Shown} run
 * @property {Found[]|null} problems null: not known
 * @property {Found[]|null} controls
 * @property {Difference|null} problemChange against the next older run of which they are known
 * @property {Difference|null} controlChange
 */
/** @typedef {{x: number, y: number|null, run: Shown}} ScorePoint y null: the run ended without a score */

/** @param {Shown[]} runs in any order @returns {PastRun[]} newest first */
export function pastOf(runs) {
  /** @type {PastRun[]} */
  const rows = [];
  /** @type {Found[]|null} */
  let lastProblems = null;
  /** @type {Found[]|null} */
  let lastControls = null;
  for (const run of [...runs].sort((a, b) => byAge(b, a))) {
    const [problems, controls] = [problemsOf(run), controlsOf(run)];
    const problemChange = difference(lastProblems, problems);
    const controlChange = difference(lastControls, controls);
    rows.push({ run, problems, controls, problemChange, controlChange });
    lastProblems = problems ?? lastProblems;
    lastControls = controls ?? lastControls;
  }
  return rows.reverse();
}

/** The most points of a line: more would be closer than a pixel or two. */
export const MAX_POINTS = 100;

/**
 * The points of a line of scores, the oldest left, each as far from the next: runs, not days. Only runs that have ended.
 * The axis is always 0 to 100.
 *
 * @param {Shown[]} runs in any order
 * @param {{width: number, height: number}} box
 * @returns {ScorePoint[]}
 */
export function scorePoints(runs, { width, height }) {
  const done = runs.filter(ended).sort((a, b) => byAge(b, a)).slice(-MAX_POINTS);
  const step = done.length > 1 ? width / (done.length - 1) : 0;
  return done.map((run, i) => ({
    x: done.length > 1 ? i * step : width / 2,
    y: run.score === undefined ? null : height * (1 - run.score / 100),
    run,
  }));
}

/** As much room as a date takes, px. */
const DATE_PX = 90;

/**
 * The points that have their dates below the line: the first, the last, and as many between as there is room for.
 *
 * @param {number} count of points
 * @param {number} width of the line, px
 * @returns {number[]} their places, ascending
 */
export function datedPoints(count, width) {
  if (count < 2) return count ? [0] : [];
  const step = width / (count - 1);
  let parts = Math.min(count - 1, Math.floor(width / DATE_PX));
  while (parts > 1 && Math.floor((count - 1) / parts) * step < DATE_PX) parts--;
  parts = Math.max(1, parts);
  return Array.from({ length: parts + 1 }, (_, i) => Math.round((i * (count - 1)) / parts));
}

/**
 * The line through points as a path: a run without a score is a gap, and the line does not go on across it.
 *
 * @param {Array<{x: number, y: number|null}>} points
 */
export function linePath(points) {
  let [path, pen] = ["", "M"];
  for (const { x, y } of points) {
    if (y === null) pen = "M";
    else {
      path += `${pen}${round(x)} ${round(y)}`;
      pen = "L";
    }
  }
  return path;
}

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/** A small line of scores, null where there is none. @param {Array<number|null>} scores @param {{width: number, height: number}} box */
export const smallLine = (scores, { width, height }) =>
  scores.map((score, i) => ({
    x: scores.length > 1 ? (i * width) / (scores.length - 1) : width / 2,
    y: typeof score === "number" ? height * (1 - score / 100) : null,
  }));
