// Every event once and in order, from whatever mixture of socket and polling; positions; the list.

import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_RUNS } from "../../../dashboard_ui/client/runs.js";
import { MAX_SUBSCRIPTIONS, Store } from "../../../dashboard_ui/client/store.js";
import { FeedLog, KEPT } from "../../../dashboard_ui/view/feed-log.js";

const A = "11111111-1111-4111-8111-111111111111";
const B = "22222222-2222-4222-8222-222222222222";

/** A store with the feeds of the dashboard. */
const newStore = (only = null) => new Store({ only, newFeed: (testId) => new FeedLog({ whole: testId === only }) });
const ids = (store) => [...store.runs].map(({ id }) => id);
const event = (seq, more = {}) => ({ testId: A, seq, type: "progress", message: `m${seq}`, timestamp: 1000 + seq, ...more });
const sync = (more = {}) => ({ type: "sync", testId: A, outcome: "live", epoch: "e1", head: 0, snapshot: null, ...more });
const snapshot = (id, seq, more = {}) => ({ testId: id, title: "T", gameUrl: "http://g/", status: "running", phase: null, message: "", seq, createdAt: 1, updatedAt: 1, attempt: 1, ...more });
const seqs = (store, id = A) => store.runs.get(id).feed.lines.filter((line) => line.kind === "progress").map((line) => line.seq);
const texts = (store, kind) => store.runs.get(A).feed.lines.filter((line) => line.kind === kind).map((line) => line.text);

test("an event is taken once, whether it comes again by itself or in a batch", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(event(3));
  store.receive([event(3), event(4), event(4), event(2), event(7)]);
  store.receive(event(7));
  assert.deepEqual(seqs(store), [3, 4, 7]);
  assert.deepEqual(store.position(A), { epoch: "e1", seq: 7 });
});

test("a position exists only once the epoch is known", () => {
  const store = newStore();
  store.receive(event(3));
  assert.equal(store.position(A), null);
  assert.equal(store.position(B), null);
});

test("the snapshot follows the events, and an older list does not turn it back", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(event(3, { phase: "phase2" }));
  store.receive({ type: "tests", upserts: [snapshot(A, 2, { status: "queued" })], removed: [] });
  assert.equal(store.runs.get(A).snapshot.status, "running");
  assert.equal(store.runs.get(A).snapshot.phase, "phase2");
  store.receive({ type: "tests", upserts: [snapshot(A, 3, { stalled: true })], removed: [] });
  assert.equal(store.runs.get(A).snapshot.stalled, true, "the same position may bring news: stalled");
  store.receive(event(4));
  assert.equal(store.runs.get(A).snapshot.stalled, undefined, "an event is a sign of life");
});

test("a list that is ahead moves the card, and the feed still takes the events", () => {
  const store = newStore();
  store.receive(sync());
  store.receive({ type: "tests", upserts: [snapshot(A, 9, { status: "completed", score: 80 })] });
  store.receive([event(8), event(9)]);
  assert.equal(store.runs.get(A).snapshot.score, 80);
  assert.deepEqual(seqs(store), [8, 9]);
});

test("a full list replaces; what is pinned or open stays", () => {
  const store = newStore();
  const C = "33333333-3333-4333-8333-333333333333";
  store.receive({ type: "tests", full: true, upserts: [snapshot(A, 1), snapshot(B, 2), snapshot(C, 3)] });
  store.pin(A);
  store.setOpened(B, true);
  store.receive({ type: "tests", full: true, upserts: [] });
  assert.deepEqual(ids(store).sort(), [A, B]);
  assert.ok(store.runs.takeDirty().includes(C), "whoever draws hears of the removed one");
});

test("removed ones go, the rest stays", () => {
  const store = newStore();
  store.receive({ type: "tests", full: true, upserts: [snapshot(A, 1), snapshot(B, 2)] });
  store.runs.takeDirty();
  store.receive({ type: "tests", upserts: [], removed: [A, "33333333-3333-4333-8333-333333333333"] });
  assert.deepEqual(ids(store), [B]);
  assert.deepEqual(store.runs.takeDirty().sort(), [A, "33333333-3333-4333-8333-333333333333"], "whoever has loaded more of the list hears of it too");
});

test("a run that was deleted goes, also where its feed is open; its own page keeps it to say so", () => {
  const gone = { type: "error", testId: A, message: `test ${A} was deleted`, data: { code: "not_found", deleted: true } };
  for (const only of [null, A]) {
    const store = newStore(only);
    store.receive({ type: "tests", full: true, upserts: [snapshot(A, 1), snapshot(B, 2)] });
    store.pin(A);
    store.setOpened(A, true);
    store.runs.takeDirty();
    store.receive({ type: "error", testId: A, message: "there is no test", data: { code: "not_found" } });
    assert.ok(store.runs.has(A) && !store.runs.get(A).deleted, "that may be for another reason");
    store.receive(gone);
    store.receive(gone);
    assert.equal(store.runs.has(A), only === A);
    assert.ok(store.runs.takeDirty().includes(A) && store.runs.has(B));
    if (only) assert.ok(store.runs.get(A).deleted);
  }
});

test("what the reader has pinned or deleted shows before the list says so", () => {
  const store = newStore();
  store.receive({ type: "tests", full: true, upserts: [snapshot(A, 1), snapshot(B, 2)] });
  store.kept(A, "pinTest");
  assert.equal(store.runs.get(A).snapshot.pinned, true);
  store.receive({ type: "tests", upserts: [snapshot(A, 1)], removed: [] });
  assert.equal(store.runs.get(A).snapshot.pinned, undefined, "another reader has unpinned it");
  store.kept(A, "deleteTest");
  store.kept(A, "unpinTest");
  assert.deepEqual(ids(store), [B]);
});

test("recovered: exactly the events after the position, then a quiet line that counts them", () => {
  const store = newStore();
  store.receive(sync({ head: 1 }));
  store.receive([event(1), event(2)]);
  store.receive(sync({ outcome: "recovered", head: 5 }));
  store.receive([event(3), event(4), event(5)]);
  store.receive(event(6));
  assert.deepEqual(seqs(store), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(texts(store, "system"), ["recovered 3 events"]);
  assert.equal(store.runs.get(A).feed.lines.at(-2).kind, "system", "before the first live one");
});

test("recovered with nothing missed says nothing", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(event(2));
  store.receive(sync({ outcome: "recovered", head: 2 }));
  store.receive(event(3));
  assert.deepEqual(texts(store, "system"), []);
});

test("recovered up to a malformed event: the heartbeat ends it", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(event(2));
  store.receive(sync({ outcome: "recovered", head: 4 }));
  store.receive(event(3));
  store.receive({ type: "heartbeat", testId: A, head: 4 });
  assert.deepEqual(texts(store, "system"), ["recovered 1 event"]);
  assert.equal(store.position(A).seq, 4);
});

for (const reason of ["expired", "ahead", "epoch"]) {
  test(`reset (${reason}) throws the feed away, says so, and takes what is retained`, () => {
    const store = newStore();
    store.receive(sync({ epoch: "old" }));
    store.receive([event(50), event(51)]);
    const generation = store.runs.get(A).feed.generation;
    store.receive(sync({ outcome: "reset", reason, epoch: "new", head: 8, snapshot: snapshot(A, 8, { status: "queued" }) }));
    store.receive([event(7), event(8)]);
    assert.deepEqual(seqs(store), [7, 8]);
    assert.equal(texts(store, "system").length, 1);
    assert.ok(store.runs.get(A).feed.generation > generation);
    assert.deepEqual(store.position(A), { epoch: "new", seq: 8 });
    assert.equal(store.runs.get(A).feed.events, 2);
    assert.equal(store.runs.get(A).snapshot.status, "queued", "the reset's snapshot, though its seq is lower");
  });
}

test("a heartbeat moves the position on, never back, and means nothing for a run without a sync", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(event(5));
  store.receive({ type: "heartbeat", testId: A, head: 9 });
  store.receive({ type: "heartbeat", testId: A, head: 6 });
  assert.equal(store.position(A).seq, 9);
  store.receive({ type: "heartbeat", testId: B, head: 6 });
  assert.equal(store.runs.has(B), false);
});

test("stale is per source and ends with the next fresh message of it", () => {
  const store = newStore();
  store.receive(sync({ stale: true }));
  store.receive({ type: "tests", upserts: [], stale: true });
  assert.equal(store.stale, true);
  store.receive({ type: "heartbeat" });
  assert.equal(store.stale, true, "the run still is");
  store.receive(event(1));
  assert.equal(store.stale, false);
  store.receive([sync({ stale: true })]);
  store.tests({ upserts: [], full: true });
  assert.equal(store.stale, false, "an edge is stale as a whole");
});

test("what counts as delivered", () => {
  const store = newStore();
  const delivered = (message) => store.receive(message).delivered;
  for (const message of [sync(), event(1), [event(2)], { type: "tests", upserts: [] }, { type: "heartbeat" }]) assert.equal(delivered(message), true);
  for (const message of [{ type: "goodbye", retryAfterMs: 5 }, { type: "error", message: "no" }, { type: "error", testId: A, message: "no" }, { type: "news" }, [], null, 7, "x", [null, 3]]) {
    assert.equal(delivered(message), false, JSON.stringify(message));
  }
});

test("a run's own error is an event; a control error is a refusal", () => {
  const store = newStore();
  store.pin(A);
  store.receive(event(4, { type: "error", status: "failed", message: "no answer", data: { code: "unreachable" } }));
  assert.equal(store.runs.get(A).snapshot.status, "failed");
  store.receive({ type: "error", testId: A, message: "too many", timestamp: 1, data: { code: "too_many_subscriptions" } });
  assert.equal(store.runs.get(A).refusal, "too many");
  assert.equal(store.runs.get(A).feed.events, 1);
});

test("unknown types, broken events and unknown fields harm nothing", () => {
  const store = newStore();
  store.receive([{ type: "shiny", testId: A, seq: 1 }, { type: "progress", seq: 2 }, { type: "progress", testId: 3, seq: 2, message: "x" }, { type: "status", testId: A, seq: "4", message: "x" }, { type: "sync" }, event(9, { extra: [1] })]);
  assert.deepEqual(seqs(store), [9]);
});

test("an event of a type unknown to us moves the position and nothing else", () => {
  const store = newStore();
  store.pin(A);
  store.receive([event(4, { type: "status", status: "running" }), { type: "shiny", testId: A, seq: 5, status: "failed" }]);
  const run = store.runs.get(A);
  assert.deepEqual([run.seq, run.snapshot.seq, run.snapshot.status, run.feed.events], [5, 5, "running", 1]);
  store.receive({ type: "sync", testId: A, seq: 6, outcome: "reset" });
  assert.equal(run.feed.events, 1, "what has a seq is an event, whatever its type");
});

test("news is what an edge does not hold back, and no replay", () => {
  const store = newStore();
  assert.equal(store.receive(sync({ head: 5 })).news, null);
  assert.equal(store.receive(event(5, { type: "status", status: "running" })).news, null, "replay");
  assert.equal(store.receive(event(6)).news, null, "progress may have been held");
  assert.equal(store.receive([event(7, { type: "status", status: "running" }), event(8)]).news.seq, 7);
});

// ── polling ──

const page = (events, more = {}) => ({ outcome: "recovered", epoch: "e1", head: events.at(-1)?.seq ?? 0, events, more: false, ...more });

test("socket, then polling, then socket: nothing twice, nothing lost", () => {
  const store = newStore();
  store.receive(sync());
  store.receive([event(1), event(2)]);
  assert.equal(store.page(A, store.position(A), page([event(3), event(4)], { more: true })), true);
  assert.equal(store.page(A, store.position(A), page([event(5)])), true);
  store.receive(sync({ outcome: "recovered", head: 6 }));
  store.receive([event(4), event(5), event(6)]);
  assert.deepEqual(seqs(store), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(texts(store, "system"), ["recovered 1 event"], "polls are no recoveries");
});

test("a page is thrown away when the position has moved since it was asked", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(event(1));
  const asked = store.position(A);
  store.receive(event(2));
  assert.equal(store.page(A, asked, page([], { outcome: "reset", reason: "ahead" })), false);
  assert.deepEqual(seqs(store), [1, 2]);
});

test("a page's head is the position after it, past malformed events, and also when more follow", () => {
  const store = newStore();
  store.pin(A);
  store.page(A, null, page([event(1)], { outcome: "live", head: 4, more: true }));
  assert.equal(store.position(A).seq, 4);
  store.page(A, store.position(A), page([], { head: 7, more: true }));
  assert.equal(store.position(A).seq, 7, "nothing but malformed events on it");
  store.page(A, store.position(A), page([event(8)], { head: 9 }));
  assert.equal(store.position(A).seq, 9);
});

// ── interest ──

test("subscribed: runs that have not ended, and ended ones only when their feed is open", () => {
  const store = newStore();
  store.receive({ type: "tests", full: true, upserts: [snapshot(A, 1), snapshot(B, 2, { status: "completed" })] });
  assert.deepEqual(store.subscriptions(), [A]);
  store.setOpened(B, true);
  assert.deepEqual(store.subscriptions().sort(), [A, B]);
});

test("more runs than one page may follow: the open ones and the newest", () => {
  const store = newStore();
  const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
  for (let n = 0; n < MAX_SUBSCRIPTIONS + 20; n++) store.tests({ upserts: [snapshot(id(n), 1, { createdAt: n + 1 })] });
  store.setOpened(id(0), true);
  const wanted = store.subscriptions();
  assert.equal(wanted.length, MAX_SUBSCRIPTIONS);
  assert.ok(wanted.includes(id(0)) && wanted.includes(id(MAX_SUBSCRIPTIONS + 19)) && !wanted.includes(id(1)));
});

test("expecting: the first list, a run that goes on, an open feed that is not complete", () => {
  const store = newStore();
  assert.equal(store.expecting, true, "nothing is known yet");
  store.receive({ type: "tests", full: true, upserts: [] });
  assert.equal(store.expecting, true, "an empty page waits for its first test");
  store.receive({ type: "tests", full: true, upserts: [snapshot(A, 4)] });
  assert.equal(store.expecting, true);
  store.receive({ type: "tests", upserts: [snapshot(A, 5, { status: "failed" })] });
  assert.equal(store.expecting, false);
  store.setOpened(A, true);
  assert.equal(store.expecting, true, "its feed is wanted now");
  store.receive(sync({ head: 5 }));
  store.receive([event(4), event(5)]);
  assert.equal(store.expecting, false);
});

test("a run's page expects only its own run", () => {
  const store = newStore(A);
  store.pin(A, snapshot(A, 3, { status: "completed" }));
  store.setOpened(A, true);
  store.receive({ type: "tests", full: true, upserts: [snapshot(B, 9)] });
  assert.equal(store.expecting, true);
  assert.deepEqual(store.subscriptions(), [A]);
  store.receive(sync({ head: 3 }));
  store.receive([event(1), event(2), event(3)]);
  assert.equal(store.expecting, false);
});

test("a run that the edge refuses to show is not waited for", () => {
  const store = newStore(A);
  store.pin(A, snapshot(A, 3, { status: "completed" }));
  store.setOpened(A, true);
  store.receive({ type: "error", testId: A, message: "no", data: { code: "not_found" } });
  assert.equal(store.expecting, false);
});

test("a run's page whose run does not exist stops asking", () => {
  const store = newStore(A);
  store.pin(A);
  assert.equal(store.expecting, true);
  store.receive({ type: "error", testId: A, message: "there is no test", data: { code: "not_found" } });
  assert.equal(store.expecting, false);
});

test("newest first, and the same order every time", () => {
  const store = newStore();
  store.tests({ upserts: [snapshot(B, 1, { createdAt: 5 }), snapshot(A, 1, { createdAt: 5 }), snapshot("33333333-3333-4333-8333-333333333333", 1, { createdAt: 9 })] });
  assert.deepEqual(store.runs.newestFirst().map((run) => run.id[0]), ["3", "1", "2"]);
});

test("events in any mixture of sources: the same feed as from one", () => {
  let seed = 7;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  for (let round = 0; round < 200; round++) {
    const stored = [];
    for (let seq = 1; stored.length < 30; seq += 1 + Math.floor(random() * 3)) stored.push(event(seq));
    const head = stored.at(-1).seq;
    const store = newStore();
    store.pin(A);
    while ((store.position(A)?.seq ?? 0) < head) {
      const position = store.position(A);
      const after = stored.filter(({ seq }) => seq > (position?.seq ?? 0));
      const outcome = position ? "recovered" : "live";
      const n = 1 + Math.floor(random() * after.length);
      if (random() < 0.5) {
        store.page(A, position, page(after.slice(0, n), { outcome, more: n < after.length }));
      } else {
        store.receive(sync({ outcome, head }));
        // Some that we have already, as after a resume by an edge that reads from the position itself.
        store.receive(stored.filter(({ seq }) => seq >= (position?.seq ?? 0)).slice(0, n + 1));
      }
    }
    assert.deepEqual(seqs(store), stored.map(({ seq }) => seq));
  }
});

test("events by several carriers at the same time, each from where it was opened: the same feed as from one", () => {
  let seed = 23;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  const below = (n) => Math.floor(random() * n);
  for (let round = 0; round < 200; round++) {
    const stored = [];
    for (let seq = 1; stored.length < 30; seq += 1 + below(3)) stored.push(event(seq));
    const head = stored.at(-1).seq;
    const store = newStore();
    store.pin(A);
    /** What sockets, streams and requests that are under way have yet to bring. */
    let carriers = [];
    while ((store.position(A)?.seq ?? 0) < head) {
      const position = store.position(A);
      const after = stored.filter(({ seq }) => seq > (position?.seq ?? 0));
      const outcome = position ? "recovered" : "live";
      if (carriers.length === 0 || random() < 0.2) {
        if (random() < 0.3) carriers.push([{ page: after.slice(0, 1 + below(10)), position, outcome }]);
        else carriers.push([sync({ outcome, head }), ...after, { type: "heartbeat", testId: A, head }]);
        continue;
      }
      const carrier = carriers[below(carriers.length)];
      for (const message of carrier.splice(0, 1 + below(6))) {
        if (message.page) store.page(A, message.position, page(message.page, { outcome, more: true }));
        else store.receive(message);
      }
      carriers = carriers.filter((each) => each.length > 0 && random() > 0.05); // some are cut
    }
    assert.deepEqual(seqs(store), stored.map(({ seq }) => seq));
  }
});

// ── a page that stands for days ──

const phased = (seq) => event(seq, { phase: `phase${1 + Math.floor(seq / 100)}` });
const all = (from, to) => Array.from({ length: to - from }, (_, i) => phased(from + i));

test("a closed feed keeps its newest events, however many come, and counts them all", () => {
  const store = newStore();
  store.receive(sync());
  for (let seq = 1; seq < 300; seq++) {
    store.receive(phased(seq));
    const feed = store.runs.get(A).feed;
    assert.ok(feed.log.length <= 2 * KEPT && feed.lines.length <= 2 * KEPT + 5, `${feed.log.length} events`);
    assert.equal(feed.log.at(-1).seq, seq);
    assert.equal(feed.events, seq);
    assert.equal(feed.log[0].seq, feed.forgotten || 1);
  }
  assert.ok(store.runs.get(A).feed.forgotten > 100);
  assert.equal(store.position(A).seq, 299, "where it goes on is another matter");
});

test("an open feed and a run's own page keep everything; closing lets go", () => {
  const store = newStore();
  store.receive(sync());
  store.setOpened(A, true);
  store.receive(all(1, 300));
  assert.equal(store.runs.get(A).feed.log.length, 299);
  const { generation } = store.runs.get(A).feed;
  store.setOpened(A, false);
  assert.equal(store.runs.get(A).feed.log.length, KEPT);
  assert.ok(store.runs.get(A).feed.generation > generation, "whoever draws the feed draws it anew");
  const page = newStore(A);
  page.receive([sync(), ...all(1, 300)]);
  assert.equal(page.runs.get(A).feed.log.length, 299);
});

test("what was let go of comes back as if it had stayed, whatever has come meanwhile", () => {
  const [store, stayed] = [newStore(), newStore()];
  for (const each of [store, stayed]) each.receive(sync());
  stayed.setOpened(A, true);
  for (const each of [store, stayed]) each.receive(all(1, 250));
  store.setOpened(A, true);
  const { forgotten } = store.runs.get(A).feed;
  assert.equal(store.runs.get(A).feed.lines[0].kind, "system", "says that there is more");
  for (const each of [store, stayed]) each.receive(all(250, 260));
  assert.equal(store.runs.get(A).feed.restore(forgotten, all(1, 255)), true);
  assert.deepEqual(store.runs.get(A).feed.lines, stayed.runs.get(A).feed.lines);
  assert.deepEqual(store.runs.get(A).feed.log, stayed.runs.get(A).feed.log);
  assert.equal(store.runs.get(A).feed.restore(forgotten, all(1, 255)), false);
  assert.equal(store.runs.get(A).feed.log.length, 259, "not twice");
});

test("what comes back too late is of no use: closed and cut again, or started again", () => {
  const store = newStore();
  store.receive(sync());
  store.receive(all(1, 250));
  const { forgotten } = store.runs.get(A).feed;
  store.setOpened(A, true);
  store.receive(all(250, 300));
  store.setOpened(A, false);
  store.runs.get(A).feed.restore(forgotten, all(1, 300));
  assert.equal(store.runs.get(A).feed.log.length, KEPT);
  store.receive(sync({ outcome: "reset", reason: "epoch", epoch: "e2", head: 0 }));
  assert.equal(store.runs.get(A).feed.forgotten, 0);
  store.runs.get(A).feed.restore(forgotten, all(1, 300));
  assert.equal(store.runs.get(A).feed.log.length, 0);
});

test("a page does not collect runs for ever: the oldest that have ended go, and the list knows from where on it is whole", () => {
  const store = newStore();
  const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
  const run = (n, more = {}) => snapshot(id(n), n, { createdAt: n, status: "completed", ...more });
  store.tests({ full: true, upserts: Array.from({ length: MAX_RUNS }, (_, i) => run(MAX_RUNS - i)) });
  store.runs.shed();
  assert.equal(store.runs.size, MAX_RUNS, "so many may stay");
  store.tests({ upserts: [run(1, { seq: 2000, status: "running" }), run(MAX_RUNS + 1)] });
  store.setOpened(id(2), true);
  store.pin(id(3));
  store.runs.takeDirty();
  store.runs.shed();
  const half = MAX_RUNS / 2;
  assert.equal(store.runs.size, half + 3);
  assert.ok([1, 2, 3].every((n) => store.runs.has(id(n))), "what goes on, is open or was asked for stays");
  assert.equal(store.runs.oldest.testId, store.runs.newestFirst()[half - 1].id);
  assert.equal(store.runs.takeDirty().length, MAX_RUNS + 1 - half - 3, "whoever draws hears of each");
});
