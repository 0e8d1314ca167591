/** The times that a run spent in each phase, folded from its events. Pure. */

import { phasesOf } from "../client/fold.js";
import { phaseNumber } from "./format.js";

/** The most segments on the time line. The oldest are dropped first. */
const MAX_SPANS = 24;

/** @returns {Timeline} of a run that has not started */
export const timeline = () => ({ spans: [], attempt: 1, running: false, ended: false });

/**
 * Applies the next event.
 *
 * Within an attempt the phases only advance: an agent that switches between phases adds no segments. Times never
 * decrease either, although the clocks of two workers may disagree.
 *
 * @param {Timeline} line changed in place, since a run may have 20,000 events
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
    line.running = false; // the previous attempt is over
  }
  if (event.type === "status" && event.status === "queued") line.running = false; // the run waits for a worker
  const phase = phaseNumber(event.phase);
  const before = last?.attempt === line.attempt ? last.phase : 0;
  if (phase > before && event.status !== "queued") {
    const title = phasesOf(event.data?.phases)?.[phase - 1];
    line.spans.push({ phase, title, attempt: line.attempt, from: at, to: at, seq: event.seq });
    if (line.spans.length > MAX_SPANS) line.spans.shift();
    line.running = true;
  }
  if (event.type === "complete" || event.status === "completed" || event.status === "failed") {
    line.ended = true;
    line.running = false;
  }
}

/**
 * The time in each phase over all attempts, ms; null for a phase that was never entered.
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
