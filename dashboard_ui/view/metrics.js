/** The metrics of a score as rows of a table: whatever an agent published, as far as a reader can use it. Pure. */

import { fields, rubricOf } from "./coerce.js";
import { duration } from "./format.js";
import { problemsOf } from "./same.js";
import { inspect, oneLine, words } from "./text.js";

/** Rows of a table, and levels of nested names. */
export const MAX_ROWS = 100;
const MAX_LEVELS = 3;
/** Entries of a list that stand in one row. */
const MAX_LISTED = 50;

/** Longer than this, ms, a time is shown in minutes. */
const MINUTE_MS = 60_000;

/** @param {number} ms */
const milliseconds = (ms) => (ms < MINUTE_MS ? `${ms.toLocaleString("en")} ms` : duration(ms));

/** The metrics of this project's agent, with names for the reader. @type {Map<string, string>} */
const NAMES = new Map([
  ["bestScore", "Best score"],
  ["actions", "Actions"],
  ["scenes", "Scenes"],
  ["gameOvers", "Game overs"],
  ["restarts", "Restarts"],
  ["freezes", "Freezes"],
  ["controls", "Controls, and the part of the picture that each changes"],
  ["tried", "Tried"],
  ["untried", "Untried"],
  ["unknown", "Unknown"],
  ["loadMs", "Loaded after"],
  ["firstPictureMs", "First picture after"],
  ["longTasksMs", "Long tasks"],
  ["inputToPictureMs", "From input to picture"],
  ["heapGrowthKB", "Heap growth, KB"],
  ["cut", "Left out for its size"],
  ["incidents", "Incidents"],
  ["problems", "Problems"],
]);

/**
 * @param {{metrics?: any}} run
 * @param {Iterable<string>} [reported] metrics that the report shows
 * @returns {{rows: MetricRow[], more: number}} more: rows that are not shown
 */
export function metricRows(run, reported = []) {
  const { metrics } = run;
  if (metrics === null || metrics === undefined) return { rows: [], more: 0 };
  /** @type {MetricRow[]} */
  const rows = [];
  if (typeof metrics !== "object") rows.push({ name: "metrics", values: [words(metrics, 300)] });
  const known = rubricOf(run).length > 0;
  const entries = Object.entries(typeof metrics === "object" ? metrics : {});
  const elsewhere = new Set([known && "rubric", problemsOf({ metrics: { problems: fields(metrics).problems } })?.length && "problems", ...reported]); // the page has them already
  for (const [key, value] of sorted(entries)) if (!elsewhere.has(key)) add(rows, "", key, value, 1);
  return { rows: rows.slice(0, MAX_ROWS), more: Math.max(0, rows.length - MAX_ROWS) };
}

/** The known metrics first, in the order of their names above. @param {Array<[string, any]>} entries */
function sorted(entries) {
  const order = [...NAMES.keys()];
  const place = (/** @type {string} */ key) => (NAMES.has(key) ? order.indexOf(key) : order.length);
  return entries.sort(([a], [b]) => place(a) - place(b));
}

/** @param {MetricRow[]} rows @param {string} path @param {string} key @param {any} value @param {number} level */
function add(rows, path, key, value, level) {
  const name = path ? `${path}.${oneLine(key, 80)}` : (NAMES.get(key) ?? oneLine(key, 80));
  const controls = !path && key === "controls" ? changes(value) : null;
  if (controls) rows.push({ name, values: controls });
  else if (Array.isArray(value)) rows.push({ name, values: listed(value) });
  else if (value !== null && typeof value === "object" && level < MAX_LEVELS && Object.keys(value).length > 0)
    for (const [inner, each] of Object.entries(value))
      add(rows, path ? name : oneLine(key, 80), inner, each, level + 1);
  else rows.push({ name, values: [isEmpty(value) ? "none" : text(key, value)] });
}

/** @param {any} value */
const isEmpty = (value) => value !== null && typeof value === "object" && Object.keys(value).length === 0;

/** @param {any[]} values */
function listed(values) {
  if (values.length === 0) return ["none"];
  const shown = values.slice(0, MAX_LISTED).map((each) => inspect(each));
  return values.length > MAX_LISTED ? [...shown, `… ${values.length - MAX_LISTED} more`] : shown;
}

/** The controls of a game with the part of the picture that each changed; null: something else. @param {any} value */
function changes(value) {
  if (!Array.isArray(value) || value.length === 0) return null;
  const found = value.slice(0, MAX_LISTED).map((each) => {
    const { control, change } = fields(each);
    if (typeof control !== "string" || typeof change !== "number") return null;
    const percent = 100 * change;
    return `${oneLine(control, 80)} ${percent >= 10 || percent === 0 ? Math.round(percent) : percent.toPrecision(2)} %`;
  });
  return found.some((each) => each === null) ? null : /** @type {string[]} */ (found);
}

/** @param {string} key @param {any} value */
function text(key, value) {
  if (typeof value !== "number") return inspect(value);
  if (/[a-z]Ms$/.test(key) && Number.isFinite(value)) return milliseconds(value);
  return value.toLocaleString("en", { maximumFractionDigits: 6 });
}
