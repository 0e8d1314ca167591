/** When a run was in which phase, as a fold of its events: what the time line draws. Pure. */

import { phaseNumber } from "./format.js";

/** More attempts than that have no room on one line; the oldest go first. */
const MAX_SPANS = 24;

/** @returns {Timeline} of a run that has not begun */
export const timeline = () => ({ spans: [], attempt: 1, running: false, ended: false });

/**
 * Takes the next event. Within an attempt a phase is entered once, in order: an agent that goes back and forth
 * makes no thousand segments. Time never goes back either, though two workers' clocks may disagree.
 *
 * @param {Timeline} line changed in place: a run may have 20,000 events
 * @param {RunEvent} event
 */
export function advance(line, event) {
  if (line.ended) return;
  const last = line.spans.at(-1);
  const at = Math.max(event.timestamp, last?.to ?? 0);
  if (last && line.running) last.to = at;
  const attempt = event.type === "status" ? event.data?.attempt : undefined;
  if (Number.isInteger(attempt) && attempt > line.attempt) {
    line.attempt = attempt;
    line.running = false; // what its worker had begun is over
  }
  if (event.type === "status" && event.status === "queued") line.running = false; // waits for a worker
  const phase = phaseNumber(event.phase);
  const before = last?.attempt === line.attempt ? last.phase : 0;
  if (phase > before && event.status !== "queued") {
    line.spans.push({ phase, attempt: line.attempt, from: at, to: at, seq: event.seq });
    if (line.spans.length > MAX_SPANS) line.spans.shift();
    line.running = true;
  }
  if (event.type === "complete" || event.status === "completed" || event.status === "failed") {
    line.ended = true;
    line.running = false;
  }
}

/**
 * How long each phase took in all attempts, ms; null for one that was never entered.
 *
 * @param {Timeline} line
 * @param {number} now ms
 */
export function phaseTimes({ spans, running }, now) {
  /** @type {Array<number|null>} */
  const times = [null, null, null, null];
  for (const [i, { phase, from, to }] of spans.entries()) {
    const end = running && i === spans.length - 1 ? Math.max(to, now) : to;
    times[phase - 1] = (times[phase - 1] ?? 0) + end - from;
  }
  return times;
}
