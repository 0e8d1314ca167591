/** Runs grouped by the game that they test. Pure. */

import { shown } from "./coerce.js";
import { host, titleOf, webUrl } from "./format.js";

/**
 * @typedef {object} Game
 * @property {string} key      the game's address as it was submitted; "" of runs without one
 * @property {string} title    that of its newest run
 * @property {string} address  for the reader, without the scheme
 * @property {ShownRun[]} runs in the order in which they were given
 * @property {number|undefined} lastScore of the newest run that has one
 */

/** The game that a run tests. @param {Snapshot} snapshot */
export const gameOf = (snapshot) => shown(snapshot).gameUrl ?? "";

/**
 * The games in the order of their first runs.
 *
 * @param {Iterable<ShownRun>} runs in the order of the list
 * @returns {Game[]}
 */
export function gamesOf(runs) {
  /** @type {Map<string, ShownRun[]>} */
  const byGame = new Map();
  for (const run of runs) {
    const key = gameOf(run.snapshot);
    const others = byGame.get(key);
    if (others) others.push(run);
    else byGame.set(key, [run]);
  }
  return [...byGame].map(([key, all]) => game(key, all));
}

/** @param {string} key @param {ShownRun[]} runs @returns {Game} */
function game(key, runs) {
  const newest = runs.map(({ snapshot }) => shown(snapshot)).sort((a, b) => b.createdAt - a.createdAt);
  const url = webUrl(key);
  return {
    key,
    title: key ? titleOf(newest[0]) : "No address",
    address: url ? url.host + url.pathname.replace(/\/$/, "") + url.search : key && host(newest[0]),
    runs,
    lastScore: newest.find(({ score }) => score !== undefined)?.score,
  };
}
