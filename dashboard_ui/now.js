/**
 * The time by the edge's clock. A reader's machine may be minutes off, so times that servers wrote are compared
 * with this and never with the machine's own clock. One question to the edge bounds the error by half its round
 * trip, as NTP does; the quickest one counts, until the machine's clock may have been set (ten minutes).
 */

const KEEP_MS = 600_000;

let offset = 0;
let roundTrip = Infinity;
let takenAt = -Infinity;

/** ms since 1970 by the edge's clock; by our own until it has answered. */
export const now = () => Date.now() + offset;

/** By how much `now` may be wrong, ms: half the round trip. Unknown before the first answer, and then none is claimed. */
export const clockError = () => (roundTrip < Infinity ? roundTrip / 2 : 0);

/** @param {() => Promise<{now?: number}>} ask the edge for its time, ms; a failure is left to the next time */
export async function compareClocks(ask) {
  const [at, askedAt] = [performance.now(), Date.now()];
  const answer = await ask().catch(() => null);
  const took = performance.now() - at;
  if (typeof answer?.now !== "number" || (took > roundTrip && at - takenAt < KEEP_MS)) return;
  const difference = answer.now - (askedAt + took / 2);
  // Within the error the two clocks are one: most are set by NTP, far better than this can tell.
  [offset, roundTrip, takenAt] = [Math.abs(difference) > took / 2 + 1 ? difference : 0, took, at];
}
