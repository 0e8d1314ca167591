// What a round of requests asks for and when, and when its answers are applied.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Polling } from "../../../dashboard_ui/client/polling.js";
import { Store } from "../../../dashboard_ui/client/store.js";
import { WatchedStore } from "../../../dashboard_ui/client/watched.js";
import { FeedLog } from "../../../dashboard_ui/view/feed-log.js";

const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const snapshot = (n, more = {}) => ({ testId: id(n), title: `Game ${n}`, status: "running", message: "Running", seq: 1, createdAt: n, ...more });
const listed = (tests) => ({ tests, counts: null });
const page = (seq, more = {}) => ({
  outcome: "recovered",
  epoch: "e1",
  head: seq,
  more: false,
  events: [{ seq, type: "progress", message: `m${seq}`, timestamp: seq }],
  ...more,
});

const realFetch = globalThis.fetch;
/** The requests that have not been answered. `answer` answers the oldest one with this name. */
let requests = [];
beforeEach(() => {
  requests = [];
  globalThis.fetch = (url, { signal }) =>
    new Promise((resolve, reject) => {
      const { pathname, searchParams } = new URL(url);
      const method = pathname.split("/").at(-1);
      requests.push({ name: `${method} ${Number(searchParams.get("testId")?.slice(-12) ?? 0)}`, resolve, reject });
      signal.addEventListener("abort", () => reject(signal.reason));
    });
});
afterEach(() => (globalThis.fetch = realFetch));

const names = () => requests.map(({ name }) => name).sort();
/** Lets everything run that waits for nothing outside. */
const settle = () => new Promise((resolve) => setImmediate(resolve));
async function answer(name, body, status = 200) {
  const at = requests.findIndex((request) => request.name === name);
  assert.ok(at >= 0, `${name} is not among ${names()}`);
  requests.splice(at, 1)[0].resolve(Response.json(body, { status }));
  await settle();
}

/** A page that follows these running runs, with the message of the last one that an answer has shown. */
function following(count, { list = true, store = new Store({ newFeed: () => new FeedLog() }) } = {}) {
  const rounds = [];
  const shown = [];
  const polling = new Polling(store, {
    base: "http://edge/",
    list,
    isLive: () => false,
    onAnswer: () => shown.push([...store.runs].map((run) => run.snapshot.message).join()),
    onRound: (answered) => rounds.push(answered),
  });
  const upserts = Array.from({ length: count }, (_, i) => snapshot(i + 1));
  store.tests({ full: true, upserts });
  for (const { testId } of upserts) store.sync({ testId, outcome: "live", epoch: "e1", head: 1, snapshot: null });
  for (const { testId } of upserts) store.event({ testId, seq: 1, type: "status", status: "running", message: "Running" });
  return { polling, store, rounds, shown };
}

test("a look requests the list and the events of running runs at the same time", async () => {
  const { polling, store } = following(3);
  store.tests({ upserts: [snapshot(9, { status: "completed", seq: 5 })] });
  const round = polling.ask(16);
  await settle();
  assert.deepEqual(names(), ["getEvents 1", "getEvents 2", "getEvents 3", "listTests 0"]);
  for (const n of [1, 2, 3]) await answer(`getEvents ${n}`, page(2));
  await answer("listTests 0", listed([1, 2, 3].map((n) => snapshot(n, { seq: 2 }))));
  await round;
});

test("an answer is shown when it arrives, whatever the others do", async () => {
  const { polling, shown, rounds } = following(2);
  const round = polling.ask(16);
  await settle();
  await answer("getEvents 2", page(7));
  assert.deepEqual([shown.at(-1), rounds], ["Running,m7", []], "the list and the other run hang");
  await answer("listTests 0", listed([snapshot(1, { seq: 4, message: "listed" }), snapshot(2, { seq: 5 })]));
  assert.equal(shown.at(-1), "listed,m7", "the list may be older than the events");
  await answer("getEvents 1", page(4));
  await round;
  assert.deepEqual([rounds, names()], [[true], []]);
});

test("a list that is ahead of the events asks for what is missing", async () => {
  const { polling, store } = following(1);
  const round = polling.ask(16);
  await settle();
  await answer("getEvents 1", page(2));
  await answer("listTests 0", listed([snapshot(1, { seq: 3 })]));
  assert.deepEqual(names(), ["getEvents 1"]);
  await answer("getEvents 1", page(3));
  await round;
  assert.deepEqual(store.position(id(1)), { epoch: "e1", seq: 3 });
});

test("the runs of a look are bounded, and an open feed comes first", async () => {
  const { polling, store } = following(40);
  store.setOpened(id(33), true);
  void polling.ask(4);
  await settle();
  assert.deepEqual(names().length, 5);
  assert.ok(names().includes("getEvents 33"));
  polling.stop();
});

test("a round without a look asks for the list first, and then for what has moved on", async () => {
  const { polling } = following(3);
  const round = polling.ask();
  await settle();
  assert.deepEqual(names(), ["listTests 0"]);
  await answer("listTests 0", listed([snapshot(1, { seq: 4 }), snapshot(2), snapshot(3, { seq: 6 })]));
  assert.deepEqual(names(), ["getEvents 1", "getEvents 3"]);
  await answer("getEvents 1", page(4));
  await answer("getEvents 3", page(6));
  await round;
});

test("a run that the page of the list does not contain is requested by its id", async () => {
  const { polling, store } = following(1);
  store.pin(id(1));
  const round = polling.ask(16);
  await settle();
  await answer("listTests 0", listed([snapshot(2)]));
  await answer("getEvents 1", page(2));
  await answer("getTest 1", { test: snapshot(1, { seq: 2, stalled: true }) });
  await answer("getEvents 2", page(1)); // new: nothing of it is here
  await round;
  assert.equal(store.runs.get(id(1)).snapshot.stalled, true);
});

test("an aborted round applies nothing", async () => {
  const { polling, shown, rounds } = following(2);
  const first = polling.ask(16);
  await settle();
  const aborted = [...requests];
  const second = polling.ask(16);
  await first;
  assert.deepEqual(rounds, [false]);
  requests = requests.filter((request) => !aborted.includes(request));
  for (const { resolve } of aborted) resolve(Response.json(page(9)));
  await settle();
  assert.deepEqual(shown, []);
  for (const n of [1, 2]) await answer(`getEvents ${n}`, page(2));
  await answer("listTests 0", listed([snapshot(1, { seq: 2 }), snapshot(2, { seq: 2 })]));
  await second;
  assert.deepEqual(rounds, [false, true]);
});

test("one failure fails the round, and the other answers are applied", async () => {
  const { polling, shown, rounds } = following(2);
  const round = polling.ask(16);
  await settle();
  await answer("getEvents 1", { error: { code: "broker_unavailable", message: "away" } }, 503);
  assert.deepEqual(rounds, []);
  await answer("getEvents 2", page(5));
  await answer("listTests 0", listed([snapshot(1), snapshot(2)]));
  await round;
  assert.equal(shown.at(-1), "Running,m5");
  assert.deepEqual(rounds, [false]);
});

test("no such run is an answer, and no failure of the round", async () => {
  const { polling, store, rounds } = following(2);
  const round = polling.ask(16);
  await settle();
  await answer("getEvents 1", { error: { code: "not_found", message: "no such run" } }, 404);
  await answer("getEvents 2", page(5));
  await answer("listTests 0", listed([snapshot(1), snapshot(2)]));
  await round;
  assert.equal(store.runs.get(id(1)).refusal, "no such run");
  assert.deepEqual(rounds, [true]);
});

test("without a list, the events of every watched run are requested, a limited number at the same time", async () => {
  const store = new WatchedStore(false);
  const { polling } = following(0, { list: false, store });
  for (let n = 1; n <= 20; n++) {
    store.pin(id(n));
    store.watched.set(id(n), false);
  }
  const round = polling.ask();
  await settle();
  assert.equal(requests.length, 16);
  for (let n = 1; n <= 20; n++) await answer(`getEvents ${n}`, page(n, { outcome: "live" }));
  await round;
  assert.equal(store.queue.length, 20);
});

test("an answer for a run that is watched no longer does not move its position", async () => {
  const store = new WatchedStore(false);
  const { polling } = following(0, { list: false, store });
  store.pin(id(1));
  store.watched.set(id(1), false);
  const round = polling.ask();
  await settle();
  store.watched.delete(id(1));
  store.forget(id(1));
  await answer("getEvents 1", page(5, { outcome: "live" }));
  await round;
  assert.equal(store.runs.get(id(1)).seq, 0, "a later watch starts at the first event");
});
