// Older pages: of the list, with its filter and search; and of a feed that has dropped its older events.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Store } from "../../../dashboard_ui/client/store.js";
import { fetchEarlier } from "../../../dashboard_ui/view/earlier.js";
import { FeedLog } from "../../../dashboard_ui/view/feed-log.js";
import { Listing } from "../../../dashboard_ui/view/listing.js";

const A = "11111111-1111-4111-8111-111111111111";
const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const snapshot = (n, more = {}) => ({ testId: id(n), title: `Game ${n}`, gameUrl: "http://g/", status: "completed", seq: n, createdAt: n, ...more });
const newStore = () => new Store({ newFeed: () => new FeedLog() });

/** The newest `n` of 1000 runs are here. */
function storeWith(n) {
  const store = newStore();
  const upserts = Array.from({ length: n }, (_, i) => snapshot(1000 - i));
  store.tests({ full: true, upserts, counts: { queued: 0, running: 0, completed: 1000, failed: 0 } });
  return store;
}

/** A listing whose pages come from the 1000 runs; `asked` has the parameters of each request. */
function listingOf(store) {
  const asked = [];
  const listing = new Listing(store.runs, async (params) => {
    asked.push(params);
    const from = params.cursor ? Number(params.cursor) : 1000;
    const tests = Array.from({ length: params.limit }, (_, i) => snapshot(from - i));
    store.tests({ upserts: tests });
    return { tests, nextCursor: from > params.limit ? String(from - params.limit) : undefined };
  });
  return { listing, asked };
}

const shown = (store, listing) => [...store.runs].filter((run) => listing.shows(run)).length;

test("all runs that the list reaches are shown, by filter and search", () => {
  const store = storeWith(100);
  const { listing } = listingOf(store);
  store.tests({ upserts: [snapshot(1001, { status: "running", title: "Moon" })] });
  assert.equal(shown(store, listing), 101);
  listing.choose("running", "");
  assert.equal(shown(store, listing), 1);
  listing.choose("all", "moon");
  assert.equal(shown(store, listing), 1);
  listing.choose("failed", "moon");
  assert.equal(shown(store, listing), 0);
});

test("the pinned runs are a filter of their own", async () => {
  const store = storeWith(100);
  const { listing, asked } = listingOf(store);
  store.tests({ upserts: [snapshot(1000, { pinned: true }), snapshot(999, { pinned: true, title: "Moon" })] });
  listing.choose("pinned", "");
  assert.equal(shown(store, listing), 2);
  listing.choose("pinned", "moon");
  assert.equal(shown(store, listing), 1);
  listing.choose("pinned", "");
  await listing.ask();
  assert.deepEqual(asked, [{ limit: 100, query: undefined, status: undefined, pinned: true, cursor: undefined }]);
  listing.choose("completed", "");
  await listing.ask();
  assert.deepEqual([asked[1].status, asked[1].pinned], ["completed", undefined]);
});

test("the edge is asked for a filter or a search only if runs are missing here", () => {
  const { listing } = listingOf(storeWith(100));
  listing.choose("completed", "");
  assert.equal(listing.asking, true);
  listing.choose("all", "");
  assert.equal(listing.asking, false);
  const whole = listingOf(storeWith(1000)).listing;
  whole.choose("completed", "moon");
  assert.equal(whole.asking, false);
  assert.equal(whole.hasMore, false);
});

test("a run below the reach of the pages stays hidden unless it is pinned or open", async () => {
  const store = storeWith(100);
  const { listing } = listingOf(store);
  store.tests({ upserts: [snapshot(5)] });
  assert.equal(listing.shows(store.runs.get(id(5))), false);
  store.pin(id(5));
  assert.equal(listing.shows(store.runs.get(id(5))), true);
});

test("without filter and search the next page is the first one with runs that are not here", async () => {
  const store = storeWith(250);
  const { listing, asked } = listingOf(store);
  assert.equal(listing.hasMore, true);
  assert.equal(await listing.ask(), true);
  assert.deepEqual(asked.map(({ cursor }) => cursor), [undefined, "900", "800"]);
  assert.equal(shown(store, listing), 300);
  assert.equal(await listing.ask(), true);
  assert.equal(asked.at(-1).cursor, "700");
  assert.equal(shown(store, listing), 400);
});

test("a page of another filter is ignored", async () => {
  const { listing } = listingOf(storeWith(100));
  listing.choose("completed", "");
  const asked = listing.ask();
  listing.choose("all", "");
  assert.equal(await asked, false);
  assert.equal(listing.reach, null);
  assert.equal(listing.asking, false);
});

test("a request that fails leaves its reason, which the next request removes", async () => {
  const store = storeWith(100);
  let fails = true;
  const listing = new Listing(store.runs, async () => {
    if (fails) throw new Error("too many requests");
    return { tests: [] };
  });
  listing.choose("failed", "");
  assert.equal(await listing.ask(), true);
  assert.equal(listing.problem, "too many requests");
  fails = false;
  const asked = listing.ask();
  assert.equal(listing.problem, "");
  assert.equal(await asked, true);
  assert.equal(listing.hasMore, false);
});

test("a list that does not overlap is reported once", () => {
  const store = storeWith(100);
  const { listing } = listingOf(store);
  assert.equal(listing.takeBreak(), true);
  assert.equal(listing.takeBreak(), false);
  store.tests({ full: true, upserts: [snapshot(1200)], counts: null });
  assert.equal(listing.takeBreak(), true);
});

// ── a feed ──

const event = (seq) => ({ seq, type: "progress", message: `m${seq}`, timestamp: seq });

/** A run with 250 events, of which the newest are kept. */
function longRun() {
  const store = newStore();
  store.receive({ type: "sync", testId: A, outcome: "live", epoch: "e1", head: 0, snapshot: null });
  store.receive(Array.from({ length: 250 }, (_, i) => ({ testId: A, ...event(i + 1) })));
  assert.ok(store.runs.get(A).feed.forgotten > 100);
  return store;
}

const realFetch = globalThis.fetch;
const asked = [];
/** Answers getEvents in pages of 40. */
const answerPages = async (url) => {
  const query = new URL(url, "http://edge").searchParams;
  asked.push(query);
  const after = Number(query.get("after") ?? 0);
  const events = Array.from({ length: 40 }, (_, i) => event(after + i + 1));
  return Response.json({ epoch: "e1", events, head: after + 40, more: true });
};
beforeEach(() => (asked.length = 0));
afterEach(() => (globalThis.fetch = realFetch));

test("dropped events are fetched in pages, and the run is marked as changed", async () => {
  globalThis.fetch = answerPages;
  const store = longRun();
  store.setOpened(A, true);
  store.runs.takeDirty();
  let restored = 0;
  await fetchEarlier(store, A, () => restored++);
  assert.deepEqual(store.runs.get(A).feed.log.map(({ seq }) => seq), Array.from({ length: 250 }, (_, i) => i + 1));
  assert.deepEqual(store.runs.takeDirty(), [A]);
  assert.equal(restored, 1);
  assert.equal(asked[0].has("after"), false, "from the first event");
  assert.ok(asked.slice(1).every((query) => query.get("epoch") === "e1"));
  await fetchEarlier(store, A, () => restored++);
  assert.equal(restored, 1, "nothing is missing any more");
});

test("a closed feed asks for nothing, and another epoch's answer is ignored", async () => {
  globalThis.fetch = answerPages;
  const store = longRun();
  await fetchEarlier(store, A, assert.fail);
  assert.equal(asked.length, 0);
  globalThis.fetch = async () => Response.json({ epoch: "e2", events: [], head: 0, more: false });
  store.setOpened(A, true);
  await fetchEarlier(store, A, assert.fail);
  assert.ok(store.runs.get(A).feed.forgotten > 100);
});

test("a request that fails is repeated after 3 s", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let failures = 0;
  globalThis.fetch = async () => {
    failures++;
    throw new TypeError("no network");
  };
  const store = longRun();
  store.setOpened(A, true);
  const { promise, resolve } = Promise.withResolvers();
  await fetchEarlier(store, A, resolve);
  assert.equal(failures, 1);
  globalThis.fetch = answerPages;
  t.mock.timers.tick(3000);
  await promise;
  assert.equal(store.runs.get(A).feed.forgotten, 0);
});
