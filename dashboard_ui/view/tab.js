/** The title and the icon of the page's tab, which say how the tests stand. Both change also while the tab is hidden. */

import { shown } from "./coerce.js";
import { titleOf } from "./format.js";

/** @typedef {{title: string, mark: string, look: Look|null}} TabText mark: what the icon says; look null: as always */

const SIGNS = { queued: "◌", running: "▶", completed: "✓", failed: "✗", cancelled: "⊘" };
const NAME = "testcast";

/** The sign of a run, with its score. @param {Shown} run */
export const signOf = ({ look, score }) =>
  look === "completed" && score !== undefined ? `${SIGNS.completed} ${Math.round(score)}` : (SIGNS[look] ?? "");

/** For a run's own page. Pure. @param {Shown} run @returns {TabText} */
export function tabOfRun(run) {
  const title = [`${signOf(run)} ${titleOf(run)}`.trim(), run.look, NAME].join(" · ");
  return { title, mark: markOf(run), look: run.look };
}

/**
 * For the main page: how many tests run; and in a hidden tab the test that has ended since, until somebody looks. Pure.
 *
 * @param {number} running
 * @param {Shown|null} news the newest test that has ended while the tab was hidden
 * @returns {TabText}
 */
export function tabOfList(running, news) {
  const parts = [news && `${signOf(news)} ${titleOf(news)}`, running > 0 && `${running.toLocaleString("en")} running`, NAME];
  const title = parts.filter(Boolean).join(" · ");
  if (news) return { title, mark: markOf(news), look: news.look };
  if (running > 0) return { title, mark: running > 99 ? "99+" : String(running), look: "running" };
  return { title, mark: "", look: null };
}

/** @param {Shown} run */
const markOf = (run) => (run.look === "completed" && run.score !== undefined ? String(Math.round(run.score)) : "");

/**
 * The newest run that has ended since a time. Pure.
 *
 * @param {Iterable<{snapshot: Snapshot}>} runs
 * @param {number} since ms, by the edge's clock
 * @returns {Shown|null}
 */
export function newestEnd(runs, since) {
  /** @type {Snapshot|null} */
  let newest = null;
  for (const { snapshot } of runs) {
    const { finishedAt } = snapshot;
    if (finishedAt !== undefined && finishedAt >= since && finishedAt > (newest?.finishedAt ?? 0)) newest = snapshot;
  }
  return newest && shown(newest);
}

/** An icon has one look in light and dark. Its letters are read at 16 px. */
const COLOURS = { queued: "#5a606b", running: "#2463d8", completed: "#17702f", failed: "#bd2029", cancelled: "#fff" };
const STROKES = {
  queued: '<circle cx="16" cy="16" r="8" stroke-dasharray="3.2 3.1"/>',
  running: '<path d="M12 9v14l11-7z" fill="#fff" stroke="none"/>',
  completed: '<path d="M8 17l6 6L24 10"/>',
  failed: '<path d="M10 10l12 12M22 10L10 22"/>',
  cancelled: '<g stroke="#5a606b"><circle cx="16" cy="16" r="11"/><path d="M8.5 8.5l15 15"/></g>',
};

/** The address of an icon; "" for the usual one. Pure. @param {TabText} text */
export function iconOf({ mark, look }) {
  if (!look || !Object.hasOwn(COLOURS, look)) return "";
  const size = mark.length > 2 ? 15 : 21;
  const letters = `<text x="16" y="${16 + size * 0.36}" font-family="system-ui,sans-serif" font-weight="700" font-size="${size}" text-anchor="middle" fill="#fff">${mark}</text>`;
  const drawn = mark ? letters : `<g fill="none" stroke="#fff" stroke-width="3.5" stroke-linecap="round">${STROKES[look]}</g>`;
  const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="${COLOURS[look]}"/>${drawn}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(picture)}`;
}

export class Tab {
  constructor() {
    this.link = document.querySelector('link[rel="icon"]');
    this.usual = this.link?.getAttribute("href") ?? "";
    this.icon = "";
  }

  /** @param {TabText} text */
  show(text) {
    if (document.title !== text.title) document.title = text.title;
    const icon = iconOf(text);
    if (icon === this.icon) return; // browsers fetch and draw an icon anew each time it is set
    this.icon = icon;
    this.link?.setAttribute("href", icon || this.usual);
  }
}
