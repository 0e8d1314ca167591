/** The addresses of the pages of history. */

import { BASE } from "../client/rpc.js";

const FURTHER = ["games", "compare"];

/** The name of a page of history, like "games"; "" for the others. @param {string} pathname the page's */
export function historyPage(pathname, root = new URL(BASE).pathname) {
  const below = pathname.startsWith(root) ? pathname.slice(root.length) : pathname.slice(1);
  return FURTHER.find((name) => name === below) ?? "";
}

/** The history of a game. @param {string} gameUrl */
export const historyOf = (gameUrl) => `${BASE}games?${new URLSearchParams({ url: gameUrl })}`;

/** The history of a label. @param {string} text `name=value` */
export const historyOfLabel = (text) => `${BASE}games?${new URLSearchParams({ label: text })}`;

/** Two runs side by side. @param {string} a the earlier @param {string} b */
export const comparisonOf = (a, b) => `${BASE}compare?${new URLSearchParams({ a, b })}`;
