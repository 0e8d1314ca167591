/** The order of the table's rows. Pure: the current time is an argument. */

import { byAge } from "../client/runs.js";
import { fields, shown } from "./coerce.js";
import { phaseNumber, titleOf } from "./format.js";
import { oneLine } from "./text.js";

/** @typedef {import("./view-state.js").Column} Column */
/** @typedef {import("./view-state.js").Sort} Sort */

/** The columns that a first click sorts downwards. @type {ReadonlySet<Column>} */
const DOWN_FIRST = new Set(["when", "phase", "score", "duration"]);
/** What wants attention comes first. */
const STATUSES = ["running", "queued", "failed", "cancelled", "completed"];
const MAX_LABELS = 20;

/** `commit=abc, branch=main`; "" for a run without labels. @param {Snapshot} snapshot */
export function labelText(snapshot) {
  const entries = Object.entries(fields(/** @type {any} */ (snapshot).labels)).slice(0, MAX_LABELS);
  const texts = entries.filter(([, value]) => typeof value === "string");
  return texts.map(([name, value]) => `${oneLine(name, 64)}=${oneLine(value, 200)}`).join(", ");
}

/** How long a run has been played; undefined before it starts. @param {Shown} run @param {number} now ms */
export function playedFor({ startedAt, finishedAt }, now) {
  return startedAt === undefined ? undefined : Math.max(0, (finishedAt ?? now) - startedAt);
}

/**
 * What a column sorts a run by. Undefined and "": the run has nothing there, and comes last in either direction.
 *
 * @param {Snapshot} snapshot
 * @param {Column} column
 * @param {number} now ms, by the edge's clock
 * @returns {number|string|undefined}
 */
export function sortKey(snapshot, column, now) {
  const run = shown(snapshot);
  switch (column) {
    case "when":
      return run.createdAt;
    case "title":
      return titleOf(run).toLowerCase();
    case "status":
      return STATUSES.indexOf(run.look) < 0 ? STATUSES.length : STATUSES.indexOf(run.look);
    case "phase":
      return phaseNumber(run.phase) || undefined;
    case "score":
      return run.score;
    case "duration":
      return playedFor(run, now);
    case "label":
      return labelText(snapshot).toLowerCase();
    default:
      return run.worker?.toLowerCase();
  }
}

/**
 * Runs in the order of the table. Runs with the same value are newest first.
 *
 * @template {{snapshot: Snapshot}} R
 * @param {Iterable<R>} runs
 * @param {Sort} sort
 * @param {number} now ms, by the edge's clock
 * @returns {R[]}
 */
export function sorted(runs, { column, down }, now) {
  const keyed = [...runs].map((run) => ({ run, key: sortKey(run.snapshot, column, now) }));
  const none = (/** @type {unknown} */ key) => key === undefined || key === "";
  keyed.sort((a, b) => {
    const [noA, noB] = [none(a.key), none(b.key)];
    const order = noA || noB ? Number(noA) - Number(noB) : compare(a.key, b.key) * (down ? -1 : 1);
    return order || byAge(a.run.snapshot, b.run.snapshot);
  });
  return keyed.map(({ run }) => run);
}

const words = new Intl.Collator("en", { numeric: true });

/** @param {any} a @param {any} b */
const compare = (a, b) => (typeof a === "string" ? words.compare(a, b) : a - b);

/** The order after a click on a heading: that column, or the other direction. @param {Sort} sort @param {Column} column @returns {Sort} */
export function clicked(sort, column) {
  if (sort.column === column) return { column, down: !sort.down };
  return { column, down: DOWN_FIRST.has(column) };
}
