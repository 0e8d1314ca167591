// The wall: where its pictures are, which runs it shows and for how long, and which pictures are fetched.

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { Frames } from "../../../dashboard_ui/client/frames.js";
import { Screenshots } from "../../../dashboard_ui/view/screenshots.js";
import { Choice, STAYS_MS, filterOf, matches } from "../../../dashboard_ui/view/wall/choice.js";
import { RATIO, layout, moved } from "../../../dashboard_ui/view/wall/layout.js";
import { ListStore } from "../../../dashboard_ui/view/wall/list-store.js";

// ── layout ──

for (const [count, width, height, columns, rows] of [
  [1, 1920, 1080, 1, 1],
  [2, 1920, 1080, 2, 1],
  [4, 1920, 1080, 2, 2],
  [5, 1920, 1080, 3, 2],
  [50, 1920, 1080, 8, 7],
  [3, 400, 900, 1, 3],
  [3, 3000, 400, 3, 1],
]) {
  test(`${count} pictures in ${width} × ${height} are ${columns} by ${rows}`, () => {
    const found = layout(count, width, height);
    assert.deepEqual([found.columns, found.rows], [columns, rows]);
  });
}

test("pictures fit into the window, keep their shape, and could not be larger", () => {
  for (let count = 1; count <= 210; count += 7)
    for (const [width, height] of [[1920, 1080], [1440, 700], [380, 780], [5000, 200]]) {
      const { columns, rows, width: w, height: h } = layout(count, width, height, 2);
      assert.ok(columns * rows >= count);
      assert.ok(columns * w + (columns - 1) * 2 <= width && rows * h + (rows - 1) * 2 <= height);
      assert.ok(Math.abs(h - w / RATIO) <= 1);
      for (let other = 1; other <= count; other++) {
        const across = (width - 2 * (other - 1)) / other;
        const down = (height - 2 * (Math.ceil(count / other) - 1)) / Math.ceil(count / other);
        assert.ok(w >= Math.floor(Math.min(across, down * RATIO)), `${other} columns would be better`);
      }
    }
});

test("no window and no pictures are no error", () => {
  for (const found of [layout(0, 0, 0), layout(50, 0, 0), layout(9, 1, 1, 2)])
    assert.ok(found.columns >= 1 && found.width >= 1 && found.height >= 1);
});

test("arrow keys move to a neighbour and never off the wall", () => {
  const from = (key, at) => moved(key, at, 7, 3);
  assert.deepEqual(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].map((key) => from(key, 4)), [3, 5, 1, -1]);
  assert.deepEqual([from("ArrowLeft", 0), from("ArrowUp", 1), from("ArrowRight", 6), from("ArrowDown", 3)], [-1, -1, -1, 6]);
  assert.deepEqual([from("Home", 4), from("End", 4), from("x", 4), from("ArrowUp", -1)], [0, 6, -1, 0]);
  assert.equal(moved("ArrowRight", -1, 0, 1), -1);
});

// ── which runs ──

const run = (status, more = {}) => ({ testId: "a", status, seq: 1, createdAt: 1, ...more });

test("a run that is running is shown, and one that has ended stays for a while", () => {
  const choice = new Choice(filterOf(""));
  assert.equal(choice.judge("a", run("queued"), 0), "none");
  assert.equal(choice.judge("b", run("completed"), 0), "none", "it ended before anybody looked");
  assert.equal(choice.judge("a", run("running"), 10), "shown");
  assert.equal(choice.judge("a", run("failed"), 1000), "ended");
  assert.equal(choice.judge("a", run("failed"), 2000), "shown", "it flashes once");
  assert.deepEqual(choice.leave(1000 + STAYS_MS - 1), []);
  assert.deepEqual(choice.leave(1000 + STAYS_MS), ["a"]);
  assert.equal(choice.judge("a", run("failed"), 99_000), "none");
});

test("a run that is queued again, or that is gone, leaves at once", () => {
  const choice = new Choice(filterOf(""));
  for (const next of [run("queued"), null]) {
    choice.judge("a", run("running"), 0);
    assert.equal(choice.judge("a", next, 1), "left");
    assert.equal(choice.shown.size, 0);
  }
});

test("an address asks for some runs", () => {
  const filter = filterOf("?gameUrl=http%3A%2F%2Fg%2F&label=commit=a=b&label=os=linux");
  assert.deepEqual(filter, { gameUrl: "http://g/", labels: [["commit", "a=b"], ["os", "linux"]] });
  const labels = { commit: "a=b", os: "linux" };
  assert.equal(matches(filter, run("running", { gameUrl: "http://g/", labels })), true);
  assert.equal(matches(filter, run("running", { gameUrl: "http://h/", labels })), false);
  assert.equal(matches(filter, run("running", { gameUrl: "http://g/", labels: { os: "linux" } })), false);
  assert.equal(matches(filter, run("running", { gameUrl: "http://g/" })), false);
  assert.equal(matches(filterOf(""), run("running")), true);
});

test("a wall follows the list and no events", () => {
  const store = new ListStore();
  store.tests({ upserts: [run("running")], full: true });
  assert.deepEqual([store.subscriptions(), store.expecting, store.runs.size], [[], true, 1]);
});

// ── which pictures ──

const settle = () => new Promise((resolve) => setImmediate(resolve));
afterEach(() => mock.timers.reset());

/** Pictures of runs, with requests that `answer(address, response)` answers. */
function pictures(how = {}) {
  const frames = new Frames({ url: (testId, number) => `${testId}/${number}` });
  const asked = [];
  const pending = new Map();
  const ask = (address) => (asked.push(address), new Promise((resolve) => pending.set(address, resolve)));
  const shots = new Screenshots({ frames, fetchFrame: ask, fetchShot: (testId) => ask(`${testId}/newest`), everyMs: 0, ...how });
  frames.onChange = (testId) => shots.told(testId, Date.now());
  const seen = [];
  const on = (testId, status = "running") => [
    { id: testId, snapshot: { status } },
    { showPicture: async (picture) => void seen.push(picture), showNone: () => void seen.push("none") },
  ];
  const answer = async (address, more = {}) => {
    pending.get(address)({ status: 200, etag: `"${address}"`, picture: address, ...more });
    await settle();
  };
  const tell = (testId, number) => frames.receive({ type: "frame", testId, number, eventSeq: 1, timeMs: 1 });
  return { frames, shots, asked, seen, on, answer, tell };
}

test("only the newest picture is fetched, and none while one of the run is on its way", async () => {
  const { shots, asked, seen, on, answer, tell } = pictures();
  shots.tick([on("a")], 0);
  for (const number of [1, 2, 3, 4]) tell("a", number);
  assert.deepEqual(asked, ["a/1"]);
  await answer("a/1");
  assert.deepEqual(asked, ["a/1", "a/4"]);
  await answer("a/4");
  shots.tick([on("a")], 5000);
  assert.deepEqual([asked, seen], [["a/1", "a/4"], ["a/1", "a/4"]]);
});

test("a limited number of requests are on their way, and every run has its turn", async () => {
  const { shots, asked, on, answer, tell } = pictures({ atOnce: 2 });
  const ids = ["a", "b", "c", "d"];
  shots.tick(ids.map((id) => on(id)), 0);
  for (const id of ids) tell(id, 1);
  assert.deepEqual(asked, ["a/1", "b/1"]);
  tell("a", 2);
  await answer("a/1");
  assert.equal(asked[2], "c/1", "the others come before the second one of a");
  await answer("b/1");
  await answer("c/1");
  assert.deepEqual(asked.slice(3), ["d/1", "a/2"]);
});

test("a picture that has gone is not asked for again, and one that failed is", async () => {
  mock.timers.enable({ apis: ["Date"] });
  const { shots, asked, seen, on, answer, tell } = pictures();
  shots.tick([on("a"), on("b")], 0);
  tell("a", 1);
  tell("b", 1);
  await answer("a/1", { status: 404, picture: null });
  await answer("b/1", { status: 503, picture: null });
  shots.tick([on("a"), on("b")], Date.now());
  assert.equal(asked.length, 2);
  seen.length = 0;
  mock.timers.tick(3000);
  shots.tick([on("a"), on("b")], Date.now());
  assert.deepEqual([asked.slice(2), seen], [["b/1"], []]);
});

test("a run off the screen gets no pictures", () => {
  const { frames, shots, asked, on, tell } = pictures();
  shots.tick([on("a"), on("b", "queued")], 0);
  assert.deepEqual([...frames.wanted], ["a"]);
  shots.tick([], 0);
  tell("a", 1);
  assert.deepEqual([[...frames.wanted], asked], [[], []]);
});

test("a run whose pictures nobody tells is asked for its newest one", async () => {
  mock.timers.enable({ apis: ["Date"] });
  const { frames, shots, asked, on, answer } = pictures();
  frames.supported = true;
  shots.tick([on("a", "completed")], 0);
  assert.deepEqual(asked, []);
  shots.tick([on("a", "completed")], 1500);
  assert.deepEqual(asked, ["a/newest"]);
  await answer("a/newest");
  shots.tick([on("a", "completed")], 60_000);
  assert.equal(asked.length, 1, "it has ended: nothing newer comes");
});

test("that a run has no picture is said when the edge has answered so, and not before", async () => {
  mock.timers.enable({ apis: ["Date"] });
  const { frames, shots, asked, seen, on, answer } = pictures();
  frames.supported = true;
  const runs = [on("a", "completed"), on("b", "completed")];
  for (const at of [0, 1499, 1500]) shots.tick(runs, at);
  assert.deepEqual([asked, seen], [["a/newest", "b/newest"], []]);
  await answer("a/newest", { status: 503, picture: null });
  assert.deepEqual(seen, []);
  await answer("b/newest", { status: 404, picture: null });
  assert.deepEqual(seen, ["none"]);
});

test("an edge that does not number pictures is asked at once and again", async () => {
  mock.timers.enable({ apis: ["Date"] });
  const { frames, shots, asked, seen, on, answer } = pictures({ everyMs: 950 });
  frames.supported = false;
  shots.tick([on("a")], 0);
  await answer("a/newest");
  shots.tick([on("a")], 900);
  shots.tick([on("a")], 1000);
  await answer("a/newest", { status: 304, picture: null });
  shots.tick([on("a")], 2000);
  assert.deepEqual([asked.length, seen], [3, ["a/newest"]]);
});
