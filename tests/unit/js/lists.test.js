// The table's order, the groups by game, the tab's title and icon, the waits of the queue, and who is told of an end.

import assert from "node:assert/strict";
import { test } from "node:test";

import { OTHERS_FIRST_MS, Following } from "../../../dashboard_ui/view/following.js";
import { gamesOf } from "../../../dashboard_ui/view/grouping.js";
import { phaseText } from "../../../dashboard_ui/view/parts.js";
import { aboutWait, setWaits } from "../../../dashboard_ui/view/queue-waits.js";
import { clicked, labelText, sorted } from "../../../dashboard_ui/view/sorting.js";
import { iconOf, newestEnd, tabOfList, tabOfRun } from "../../../dashboard_ui/view/tab.js";
import { COLUMNS, NEWEST_FIRST, saysView, viewState, withViewState } from "../../../dashboard_ui/view/view-state.js";
import { shown } from "../../../dashboard_ui/view/coerce.js";

const NOW = 1_000_000;
const run = (n, more = {}) => ({ snapshot: { testId: `run-${n}`, status: "running", seq: 1, createdAt: n * 1000, ...more } });
const ids = (runs) => runs.map(({ snapshot }) => Number(snapshot.testId.slice(4)));

const RUNS = [
  run(1, { title: "beta 10", status: "completed", score: 78, startedAt: 1000, finishedAt: 9000, worker: "w2" }),
  run(2, { title: "Beta 9", status: "failed", phase: "phase2", startedAt: 1000, finishedAt: 4000 }),
  run(3, { title: "alpha", status: "failed", errorCode: "cancelled", labels: { commit: "b" }, worker: "w1" }),
  run(4, { title: "gamma", status: "running", phase: "phase3", startedAt: 5000, labels: { commit: "a", x: "1" } }),
  run(5, { title: "delta", status: "queued", score: 0 }),
];

for (const [column, down, expected] of [
  ["when", true, [5, 4, 3, 2, 1]],
  ["when", false, [1, 2, 3, 4, 5]],
  ["title", false, [3, 2, 1, 5, 4]], // 9 before 10, in any case
  ["title", true, [4, 5, 1, 2, 3]],
  ["status", false, [4, 5, 2, 3, 1]],
  ["phase", true, [4, 2, 5, 3, 1]],
  ["score", true, [1, 5, 4, 3, 2]],
  ["score", false, [5, 1, 4, 3, 2]], // 0 is a score; who has none comes last either way
  ["duration", true, [4, 1, 2, 5, 3]],
  ["label", false, [4, 3, 5, 2, 1]],
  ["agent", true, [1, 3, 5, 4, 2]],
]) test(`sorted by ${column}, ${down ? "down" : "up"}`, () => assert.deepEqual(ids(sorted(RUNS, { column, down }, NOW)), expected));

test("a sort takes whatever an agent wrote", () => {
  const odd = [run(1, { title: 5, score: "x", labels: [1], worker: {} }), run(2, { labels: { a: 1, b: "ok" } }), run(3, { phase: 7, startedAt: "no" })];
  for (const column of COLUMNS) assert.equal(sorted(odd, { column, down: true }, NOW).length, 3, column);
  assert.deepEqual([labelText(odd[0].snapshot), labelText(odd[1].snapshot), labelText(run(9).snapshot)], ["", "b=ok", ""]);
});

test("a click sorts by a column, a second one the other way", () => {
  assert.deepEqual(clicked(NEWEST_FIRST, "when"), { column: "when", down: false });
  assert.deepEqual(clicked(NEWEST_FIRST, "title"), { column: "title", down: false });
  assert.deepEqual(clicked({ column: "score", down: true }, "score"), { column: "score", down: false });
});

for (const state of [
  { table: false, grouped: false, sort: NEWEST_FIRST },
  { table: true, grouped: true, sort: { column: "when", down: false } },
  { table: true, grouped: false, sort: { column: "score", down: true } },
]) test(`the view comes back from the address: ${JSON.stringify(state)}`, () => assert.deepEqual(viewState(withViewState("?q=x", state)), state));

test("the usual view is not in the address, and nonsense is the usual view", () => {
  const usual = { table: false, grouped: false, sort: NEWEST_FIRST };
  assert.equal(withViewState("?view=table&sort=title&q=x", usual), "?q=x");
  for (const search of ["?view=constructor&sort=__proto__&group=1", "?sort=--score", "?sort=", ""]) assert.deepEqual(viewState(search), usual);
  assert.deepEqual([saysView("?q=x"), saysView("?sort=title")], [false, true]);
});

test("games come in the order of their newest runs, with the last score", () => {
  const at = (n, url, more) => run(n, { gameUrl: url, ...more });
  const [a, b, none] = gamesOf([at(5, "http://a.example/x/"), at(4, "http://b.example/?q=1", { title: "B", score: 12.6 }), at(3, "http://a.example/x/", { score: 70, title: "old" }), at(2, "http://a.example/x/", { score: 99 }), run(1)]);
  assert.deepEqual([a.key, a.title, a.address, ids(a.runs), a.lastScore], ["http://a.example/x/", "a.example", "a.example/x", [5, 3, 2], 70]);
  assert.deepEqual([b.title, b.address, b.lastScore], ["B", "b.example?q=1".replace("?", "?"), 12.6]);
  assert.deepEqual([none.key, none.title, none.address, none.lastScore], ["", "No address", "", undefined]);
});

const about = (more) => shown({ testId: "x", title: "Star", status: "running", seq: 1, createdAt: 1, ...more });

test("a run's tab says how it stands", () => {
  assert.equal(tabOfRun(about()).title, "▶ Star · running · testcast");
  assert.deepEqual(tabOfRun(about({ status: "completed", score: 77.6 })), { title: "✓ 78 Star · completed · testcast", mark: "78", look: "completed" });
  assert.equal(tabOfRun(about({ status: "completed" })).title, "✓ Star · completed · testcast");
  assert.equal(tabOfRun(about({ status: "failed" })).title, "✗ Star · failed · testcast");
  assert.equal(tabOfRun(about({ status: "failed", errorCode: "cancelled" })).title, "⊘ Star · cancelled · testcast");
  assert.equal(tabOfRun(about({ status: "shiny" })).title, "Star · shiny · testcast");
});

test("the main page's tab says how many run, and in a hidden tab what has ended since", () => {
  assert.deepEqual(tabOfList(0, null), { title: "testcast", mark: "", look: null });
  assert.deepEqual(tabOfList(120, null), { title: "120 running · testcast", mark: "99+", look: "running" });
  const over = about({ status: "completed", score: 78, finishedAt: 500 });
  assert.deepEqual(tabOfList(1, over), { title: "✓ 78 Star · 1 running · testcast", mark: "78", look: "completed" });
  const runs = [{ snapshot: over }, run(1, { finishedAt: 900, status: "failed" }), run(2, { finishedAt: 100 }), run(3)];
  assert.equal(newestEnd(runs, 400)?.testId, "run-1");
  assert.equal(newestEnd(runs, 901), null);
  assert.equal(newestEnd(runs, Infinity), null);
});

test("each look has an icon of its own, and none is made of what an agent wrote", () => {
  const looks = ["queued", "running", "completed", "failed", "cancelled"];
  const icons = looks.map((look) => iconOf({ title: "", mark: "", look }));
  assert.equal(new Set(icons).size, looks.length);
  for (const icon of icons) assert.match(icon, /^data:image\/svg\+xml,%3Csvg/);
  for (const look of [null, "shiny", "__proto__", "constructor"]) assert.equal(iconOf({ title: "", mark: "", look }), "");
});

test("a wait is said in round figures, or not at all", () => {
  const queued = { status: "queued", phase: null };
  assert.ok(setWaits([5000, 40_000, 89_000, 150_000]));
  assert.ok(!setWaits([5000, 40_000, 89_000, 150_000]), "nothing has changed");
  assert.deepEqual([1, 2, 3, 4, 5, undefined].map(aboutWait), ["about 5 s", "about 40 s", "about 2 min", "about 3 min", "", ""]);
  assert.equal(phaseText({ ...queued, queuePlace: 2 }), "2nd in the queue, about 40 s");
  assert.equal(phaseText({ ...queued, queuePlace: 1, noAgent: true }), "Waits for an agent");
  for (const nonsense of [undefined, "x", {}, [null, "5", -1, NaN]]) {
    setWaits(nonsense);
    assert.equal(phaseText({ ...queued, queuePlace: 1 }), "Next in the queue");
  }
});

/** Tabs of one browser: they share what is kept, and one at a time has the lock. */
function browserOf({ keeps = true } = {}) {
  let kept = [];
  let turn = Promise.resolve();
  const told = [];
  const tab = (name, inFront = false) => {
    const waits = [];
    const browser = {
      read: () => (keeps ? [...kept] : []),
      write: (ids) => keeps && ((kept = ids), true),
      alone: (work) => (turn = turn.then(work)),
      wait: (ms) => new Promise((resolve) => waits.push([ms, resolve])),
      inFront: () => inFront,
      notify: ({ testId }) => told.push(`${name} ${testId}`),
    };
    const following = new Following(browser);
    return { following, waits, later: () => waits.splice(0).forEach(([, resolve]) => resolve()), end: (id) => following.check((each) => (each === id ? { testId: id, status: "completed" } : undefined)) };
  };
  return { tab, told, settled: () => new Promise((resolve) => setImmediate(resolve)), kept: () => kept };
}

test("one of many tabs notifies, once", async () => {
  const { tab, told, settled, kept } = browserOf();
  const [a, b] = [tab("a"), tab("b")];
  await a.following.set("r", true);
  b.following.reread();
  assert.ok(b.following.has("r"));
  for (const one of [a, b, a]) one.end("r");
  assert.deepEqual(a.waits.map(([ms]) => ms), [OTHERS_FIRST_MS]);
  assert.deepEqual(told, []);
  for (const one of [a, b]) one.later();
  await settled();
  assert.deepEqual(told, ["a r"]);
  a.end("r");
  await settled();
  assert.deepEqual([told, kept(), a.following.has("r")], [["a r"], [], false]);
});

test("nobody is told while a tab that shows the run is in front", async () => {
  const { tab, told, settled } = browserOf();
  const [back, front] = [tab("back"), tab("front", true)];
  await back.following.set("r", true);
  front.following.reread();
  for (const one of [back, front]) one.end("r");
  await settled();
  back.later();
  await settled();
  assert.deepEqual(told, []);
});

test("what still runs, or is not known, is waited for", async () => {
  const { tab, told, settled } = browserOf();
  const { following, waits } = tab("a");
  await following.set("r", true);
  following.check(() => undefined);
  following.check(() => ({ testId: "r", status: "running" }));
  await settled();
  assert.deepEqual([told, waits, following.has("r")], [[], [], true]);
});

test("a browser that keeps nothing still notifies", async () => {
  const { tab, told, settled } = browserOf({ keeps: false });
  const { following, end, later } = tab("a");
  await following.set("r", true);
  following.reread();
  assert.ok(following.has("r"));
  end("r");
  later();
  await settled();
  assert.deepEqual(told, ["a r"]);
  await following.set("s", true);
  await following.set("s", false);
  assert.ok(!following.has("s"));
});
