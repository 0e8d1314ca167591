/** Two runs side by side: a moment of one and the moment of the other that belongs to it, by phase. Pure. */

/** @typedef {{phase: number, share: number}} Place the phase 1 to 4, and how much of it has passed, 0 to 1 */

/**
 * The time of each phase: from its first event to the next phase's. A later attempt replaces an earlier one. Null: the
 * run was never in it.
 *
 * @param {Timeline} line
 * @param {number} now ms: the end of a phase that goes on
 * @returns {Array<{from: number, to: number}|null>} of phases 1 to 4
 */
export function phaseSpans(line, now) {
  /** @type {Array<{from: number, to: number}|null>} */
  const spans = [null, null, null, null];
  const attempt = line.spans.at(-1)?.attempt;
  for (const span of line.spans) {
    if (span.attempt !== attempt) continue;
    const grows = line.running && span === line.spans.at(-1);
    spans[span.phase - 1] = { from: span.from, to: grows ? Math.max(span.to, now) : span.to };
  }
  return spans;
}

/**
 * The time of a place. A phase that the run was never in is the end of what came before it, or the beginning of all.
 *
 * @param {Array<{from: number, to: number}|null>} spans
 * @param {Place} place
 * @returns {number|null} ms by the publisher's clock; null: the run was in no phase
 */
export function timeAt(spans, { phase, share }) {
  const span = spans[phase - 1];
  if (span) return span.from + clamp(share) * (span.to - span.from);
  for (let before = phase - 2; before >= 0; before--) if (spans[before]) return spans[before]?.to ?? null;
  return spans.find(Boolean)?.from ?? null;
}

/** @param {Array<{from: number, to: number}|null>} spans @param {number} at ms @returns {Place} */
export function placeAt(spans, at) {
  let found = { phase: 1, share: 0 };
  spans.forEach((span, i) => {
    if (!span || at < span.from) return;
    const length = span.to - span.from;
    found = { phase: i + 1, share: length > 0 ? clamp((at - span.from) / length) : 0 };
  });
  return found;
}

/** The phases that one of the runs was in: what the slider goes through. @param {Array<Array<unknown|null>>} runs */
export const phasesOf = (runs) => [1, 2, 3, 4].filter((phase) => runs.some((spans) => spans[phase - 1]));

/** Steps of the slider in each phase. */
export const STEPS = 100;

/** @param {number[]} phases @param {number} step from 0 to STEPS × phases @returns {Place} */
export function placeOfStep(phases, step) {
  const last = Math.max(0, phases.length - 1);
  const index = Math.min(last, Math.floor(step / STEPS));
  return { phase: phases[index] ?? 1, share: clamp(step / STEPS - index) };
}

/** @param {number[]} phases @param {Place} place @returns {number} */
export function stepOf(phases, { phase, share }) {
  const index = phases.findIndex((each) => each >= phase);
  if (index < 0) return phases.length * STEPS;
  return index * STEPS + (phases[index] === phase ? Math.round(clamp(share) * STEPS) : 0);
}

/** `#3.5` is the middle of phase 3 @param {string} hash @returns {Place|null} */
export function placeOfHash(hash) {
  const found = /^#([1-4])(?:\.(\d{1,3}))?$/.exec(hash);
  return found ? { phase: Number(found[1]), share: Number(`0.${found[2] ?? 0}`) } : null;
}

/** @param {Place} place */
export const hashOf = ({ phase, share }) =>
  share >= 1 ? `#${phase}.999` : `#${phase}${clamp(share) ? `.${String(Math.floor(clamp(share) * 1000)).padStart(3, "0")}` : ""}`;

/** @param {number} value */
const clamp = (value) => Math.min(1, Math.max(0, value));
