/**
 * Folds the events of a run into its snapshot. Pure.
 *
 * The rules are the projector's (broker/PROTOCOL.md), so a card changes with the event and does not wait for the list.
 */

/** The types that this version knows. Events of other types change no state. */
const EVENT_TYPES = new Set(["status", "progress", "complete", "error"]);

/** @param {RunEvent} event */
export const isKnown = (event) => EVENT_TYPES.has(event.type);

/** @param {Snapshot} run */
export const ended = (run) => run.status === "completed" || run.status === "failed";

/** A snapshot before the first event. @param {string} testId @param {number} createdAt @returns {Snapshot} */
export const blank = (testId, createdAt) => ({ testId, status: "queued", seq: 0, createdAt });

/**
 * Applies an event.
 *
 * @param {Snapshot} run
 * @param {RunEvent} event
 * @returns {Snapshot} a new snapshot; `run` itself if it already contains the event
 */
export function fold(run, event) {
  if (event.seq <= run.seq) return run;
  // After a terminal event, and at an event of a newer version's type, only the position changes.
  if (ended(run)) return { ...run, seq: event.seq };
  if (!isKnown(event)) {
    const { stalled: _, ...rest } = run; // any event is a sign of life
    return { ...rest, seq: event.seq };
  }
  const data = event.data !== null && typeof event.data === "object" ? event.data : {};
  /** @type {Snapshot} */
  const next = { ...run, seq: event.seq, message: event.message, updatedAt: event.timestamp };
  delete next.stalled; // an event is a sign of life
  if (event.phase) next.phase = event.phase;

  if (event.type === "status") {
    if (event.status) next.status = event.status;
    if (typeof data.title === "string") next.title = data.title;
    if (typeof data.gameUrl === "string") next.gameUrl = data.gameUrl;
    if (typeof data.worker === "string") next.worker = data.worker;
    if (Number.isInteger(data.attempt) && data.attempt >= 0) next.attempt = data.attempt;
  } else if (event.type === "progress") {
    next.status = "running";
  } else if (event.type === "complete") {
    next.status = "completed";
    if (typeof data.score === "number" && data.score >= 0 && data.score <= 100) next.score = data.score;
    if (data.metrics !== null && data.metrics !== undefined) next.metrics = data.metrics;
  } else if (event.type === "error") {
    next.error = event.message;
    if (event.status === "failed") next.status = "failed";
  }
  if (next.status === "running") next.startedAt ??= event.timestamp;
  if (ended(next)) next.finishedAt ??= event.timestamp;
  return next;
}
