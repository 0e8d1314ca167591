/**
 * Snapshots as the page shows them: every field has its type, whatever an agent or another version wrote. Pure.
 *
 * Only the parts of the page that send a value back (a new test of the same game) use the snapshot as it came.
 */

import { labelsOf, phasesOf } from "../client/fold.js";
import { MAX_CHARS, inspect, oneLine, words } from "./text.js";

const MAX_TITLE_CHARS = 300;
/** Parts of a score, and reasons of a part. */
const MAX_PARTS = 50;
const MAX_REASONS = 20;
/** The largest time that a Date holds. */
const MAX_TIME_MS = 8.64e15;

/** @type {WeakMap<object, Shown>} */
const known = new WeakMap();

/** @param {Snapshot} raw @returns {Shown} the same object for the same snapshot */
export function shown(raw) {
  let made = known.get(raw);
  if (!made) known.set(raw, (made = coerce(raw)));
  return made;
}

/** @param {any} raw @returns {Shown} */
function coerce(raw) {
  const status = /** @type {Status} */ (oneLine(raw.status, 40) || "queued");
  const score = number(raw.score);
  return {
    testId: oneLine(raw.testId, 100),
    title: text(raw.title, MAX_TITLE_CHARS),
    gameUrl: text(raw.gameUrl, MAX_CHARS),
    status,
    look: status === "failed" && raw.errorCode === "cancelled" ? "cancelled" : status,
    phase: typeof raw.phase === "string" ? raw.phase : null,
    phases: phasesOf(raw.phases)?.map((each) => oneLine(each)),
    message: words(raw.message),
    score: score !== undefined && score >= 0 && score <= 100 ? score : undefined,
    metrics: raw.metrics,
    seq: number(raw.seq) ?? 0,
    createdAt: time(raw.createdAt) ?? 0,
    startedAt: time(raw.startedAt),
    finishedAt: time(raw.finishedAt),
    updatedAt: time(raw.updatedAt),
    attempt: count(raw.attempt),
    worker: text(raw.worker, MAX_TITLE_CHARS),
    project: typeof raw.project === "string" ? oneLine(raw.project, 63) : undefined,
    labels: labelsOf(raw.labels).labels ?? {},
    error: words(raw.error) || undefined,
    pinned: raw.pinned === true,
    stalled: raw.stalled === true && status === "running",
    queuePlace: status === "queued" ? count(raw.queuePlace) : undefined,
    noAgent: raw.noAgent === true && status === "queued",
  };
}

/** @param {unknown} value @param {number} max */
const text = (value, max) => oneLine(value, max) || undefined;
/** @param {unknown} value */
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);
/** @param {unknown} value ms */
const time = (value) => (Math.abs(number(value) ?? Infinity) <= MAX_TIME_MS ? number(value) : undefined);
/** A number from 1 up. @param {unknown} value */
const count = (value) => (Number.isSafeInteger(value) && Number(value) >= 1 ? Number(value) : undefined);

/**
 * What a run was submitted with, as far as it is known: for its facts, and to test the same again.
 *
 * @param {any} snapshot
 * @param {RunEvent|undefined} first the run's first event
 * @returns {{budgetSeconds?: number, seed?: number, project?: string, labels?: Record<string, string>}} an edge refuses an empty project: it is not known
 */
export function jobOf(snapshot, first) {
  const job = { ...fields(first?.data), ...fields(snapshot) };
  const [budget, seed, project] = [number(job.budgetSeconds), number(job.seed), fields(snapshot).project];
  return {
    ...(budget !== undefined && budget > 0 && { budgetSeconds: budget }),
    ...(Number.isSafeInteger(seed) && { seed }),
    ...(typeof project === "string" && { project }),
    ...labelsOf(fields(snapshot).labels),
  };
}

/** What an object holds; nothing of anything else. @param {any} value @returns {Record<string, any>} */
export const fields = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : Object.create(null);

/** The valid parts of a score. @param {{metrics?: any}} run @returns {RubricPart[]} */
export function rubricOf(run) {
  const { rubric } = fields(run.metrics);
  if (!Array.isArray(rubric)) return [];
  return rubric.slice(0, MAX_PARTS).flatMap((part) => {
    const { part: name, score, max, reasons } = fields(part);
    const valid = typeof name === "string" && number(score) !== undefined && (number(max) ?? 0) > 0;
    return valid ? [{ part: oneLine(name, 80), score, max, reasons: reasonsOf(reasons) }] : [];
  });
}

/** @param {unknown} reasons */
function reasonsOf(reasons) {
  if (!Array.isArray(reasons)) return [];
  return reasons.slice(0, MAX_REASONS).map((reason) => inspect(reason));
}
