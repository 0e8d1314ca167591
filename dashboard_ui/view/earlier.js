/** Fetches the events that a closed feed has dropped. */

import { isKnown } from "../client/fold.js";
import { POLL_MS } from "../client/polling.js";
import { rpc } from "../client/rpc.js";

const PAGE_LIMIT = 1000;

/**
 * Fills the feed of a run again. Retries until the events are here or the feed is closed.
 *
 * @param {import("../client/store.js").Store<import("./feed-log.js").FeedLog>} store
 * @param {string} testId
 * @param {() => void} onRestored
 */
export async function fetchEarlier(store, testId, onRestored) {
  const run = store.runs.get(testId);
  if (!run?.opened || !run.feed.forgotten) return;
  const { epoch } = run;
  const { forgotten } = run.feed;
  /** @type {RunEvent[]} */
  const events = [];
  try {
    for (let after = 0; after < forgotten; ) {
      const from = after ? { after, epoch } : {};
      const answer = await rpc("getEvents", { testId, ...from, limit: PAGE_LIMIT }, { get: true });
      if (answer.epoch !== epoch) return; // the socket will report the new epoch, and the feed starts again
      for (const event of answer.events.filter(isKnown)) events.push({ testId, ...event });
      after = answer.more && answer.head > after ? answer.head : forgotten;
    }
  } catch {
    setTimeout(() => fetchEarlier(store, testId, onRestored), POLL_MS);
    return;
  }
  if (store.runs.get(testId)?.feed.restore(forgotten, events)) store.runs.dirty.add(testId);
  onRestored();
}
