/**
 * The current time by the edge's clock.
 *
 * The reader's clock may be minutes off, so times written by servers are compared with this one. As in NTP, the error
 * of a comparison is at most half its round trip. The comparison with the shortest round trip is used for ten minutes;
 * after that the reader's clock may have been changed.
 */

const KEEP_MS = 600_000;

let offset = 0;
let roundTrip = Infinity;
let takenAt = -Infinity;

/** Milliseconds since 1970 by the edge's clock; by the reader's clock until the edge has answered. */
export const now = () => Date.now() + offset;

/** The largest possible error of `now`, ms: half the round trip. 0 before the first answer, when it is unknown. */
export const clockError = () => (roundTrip < Infinity ? roundTrip / 2 : 0);

/**
 * Compares the reader's clock with the edge's.
 *
 * @param {() => Promise<{now?: number}>} ask requests the edge's time, ms; a failure is ignored
 */
export async function compareClocks(ask) {
  const [at, askedAt] = [performance.now(), Date.now()];
  const answer = await ask().catch(() => null);
  const took = performance.now() - at;
  if (typeof answer?.now !== "number" || (took > roundTrip && at - takenAt < KEEP_MS)) return;
  const difference = answer.now - (askedAt + took / 2);
  // A difference within the error is ignored: most clocks are set by NTP, far more precisely than this.
  [offset, roundTrip, takenAt] = [Math.abs(difference) > took / 2 + 1 ? difference : 0, took, at];
}
