/** The time from the publishing of an event to the painted screen. Pure. */

/** Longer than this, ms, the clocks disagree and nothing is known. */
const MAX_MS = 60_000;

/**
 * @param {object} event
 * @param {number} event.timestamp   by the publisher's clock
 * @param {number} event.now         by the edge's clock
 * @param {number} event.liveForMs   how long the page has received events as they are published
 * @param {number} event.errorMs     the largest possible error of `now`
 * @returns {number|null} ms. Null: unknown, since the two clocks plainly disagree, or since the event was published
 *   while the page was away and says nothing about the connection
 */
export function latencyOf({ timestamp, now, liveForMs, errorMs }) {
  const ms = Math.round(now - timestamp);
  return ms >= -errorMs && ms <= liveForMs && ms < MAX_MS ? Math.max(1, ms) : null;
}
