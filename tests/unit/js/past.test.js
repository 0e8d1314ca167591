// History and comparison: which problems are the same, what changed from run to run, the line of scores, moments by phase.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fold, blank, labelsOf } from "../../../dashboard_ui/client/fold.js";
import { historyPage } from "../../../dashboard_ui/view/addresses.js";
import * as align from "../../../dashboard_ui/view/align.js";
import { jobOf, shown } from "../../../dashboard_ui/view/coerce.js";
import { labelsTyped } from "../../../dashboard_ui/view/labels.js";
import { metricRows } from "../../../dashboard_ui/view/metrics.js";
import { firstPages } from "../../../dashboard_ui/view/games.js";
import { MAX_POINTS, datedPoints, linePath, pastOf, scorePoints, smallLine } from "../../../dashboard_ui/view/past.js";
import { controlsOf, difference, once, problem, problemKey, problemsOf } from "../../../dashboard_ui/view/same.js";
import { advance, timeline } from "../../../dashboard_ui/view/timeline.js";

for (const [a, b] of [
  ["x is undefined at main.js:12:5", "x is undefined at main.js:120:51"],
  ["http://localhost:3000/a.png 404", "https://my-game.example/a.png 404"],
  ["GET /a.png?v=12 failed", "GET /a.png?v=13&t=9 failed"],
  ["chunk main.3fa9c1d0.js failed", "chunk main.77be02aa.js failed"],
  ["at 0x7ffee3a1 in wasm", "at 0x12 in wasm"],
  ["session 4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11 gone", "session 00bb23fd-0dc9-4516-8896-6a3ef1067910 gone"],
  ["stood still for 1,204.5 s", "stood still for 3 s"],
  ["two   spaces\nand a line", "two spaces and a line"],
])
  test(`one problem: ${JSON.stringify(a)}`, () => assert.equal(problemKey("Error", a), problemKey("Error", b)));

for (const [a, b] of [
  ["x is undefined", "y is undefined"],
  ["/a.png 404", "/b.png 404"],
  ["added a feed", "added a face"], // words of the letters of a hash
])
  test(`two problems: ${JSON.stringify(a)}`, () => assert.notEqual(problemKey("Error", a), problemKey("Error", b)));

test("a kind is part of a problem", () => assert.notEqual(problemKey("Error", "x"), problemKey("Freeze", "x")));

const run = (number, more = {}) => ({
  testId: `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`,
  status: "completed", seq: number, createdAt: number, message: "", ...more,
});
const past = (...runs) => pastOf(runs.map(shown));
const found = (...texts) => ({ problems: texts.map((detail) => ({ kind: "console", detail })), controls: [] });

test("what metrics list, and what they do not say", () => {
  assert.equal(problemsOf({}), null);
  assert.equal(problemsOf({ metrics: { problems: "many" } }), null);
  assert.deepEqual(problemsOf({ metrics: { problems: [] } }), []);
  const listed = problemsOf({ metrics: { problems: ["own words", { kind: "freeze", detail: "froze" }, null, [], { detail: "" }, "own words"] } });
  assert.deepEqual(listed?.map(({ name, text }) => [name, text]), [["Problem", "own words"], ["Freeze", "froze"]]);
  const controls = controlsOf({ metrics: { controls: [{ control: "Space", change: 0.1 }, "click", "Click"] } });
  assert.deepEqual(controls?.map(({ text }) => text), ["Space", "click"]);
  assert.equal(controlsOf({ metrics: [1] }), null);
});

test("what is new, gone and the same", () => {
  const [a, b, c] = ["a", "b", "c"].map((text) => problem("Error", text));
  assert.deepEqual(difference([a, b], [b, c]), { added: [c], gone: [a], same: [b] });
  assert.equal(difference(null, [a]), null);
  assert.equal(difference([a], null), null);
  assert.deepEqual(once([a, { ...a }, b]), [a, b]);
});

test("each run is compared with the one before it that is known", () => {
  const rows = past(
    run(1, { metrics: found("a", "b") }),
    run(4, { metrics: found("b 9") }),
    run(2, { metrics: found("b 1", "c") }),
    run(3, { status: "failed" }),
  );
  assert.deepEqual(rows.map((row) => row.run.createdAt), [4, 3, 2, 1]);
  const changes = rows.map(({ problemChange: c }) => c && [c.added.length, c.gone.length]);
  assert.deepEqual(changes, [[0, 1], null, [2, 2], null]); // the failed one between is passed over
});

test("the points of a line of scores", () => {
  const runs = [run(3, { score: 100 }), run(1, { score: 0 }), run(2, { status: "failed" }), run(4, { status: "running", score: 5 })];
  const points = scorePoints(runs.map(shown), { width: 200, height: 50 });
  assert.deepEqual(points.map(({ x, y }) => [x, y]), [[0, 50], [100, null], [200, 0]]);
  assert.equal(linePath(points), "M0 50M200 0", "a gap");
  const many = scorePoints(Array.from({ length: 300 }, (_, i) => shown(run(i + 1, { score: 50 }))), { width: 100, height: 10 });
  assert.equal(many.length, MAX_POINTS);
  assert.equal(many.at(-1)?.run.createdAt, 300, "the newest");
  assert.deepEqual(scorePoints([shown(run(1, { score: 50 }))], { width: 200, height: 50 }).map(({ x, y }) => [x, y]), [[100, 25]]);
  assert.equal(linePath(smallLine([0, 50, null, 100], { width: 30, height: 10 })), "M0 10L10 5M30 0");
  assert.equal(linePath([]), "");
});

const line = (...events) => {
  const made = timeline();
  for (const [timestamp, phase, data, status = "running"] of events)
    advance(made, { testId: "x", seq: 1, type: "status", status, phase: phase && `phase${phase}`, message: "", timestamp, data });
  return made;
};

test("a moment of one run and of the other, by phase", () => {
  const a = align.phaseSpans(line([0, 1], [100, 2], [300, 3], [400, 0, undefined, "completed"]), 0);
  const b = align.phaseSpans(line([5000, 1], [5010, 2], [6010, 3], [6020, 4], [6030, 0, undefined, "completed"]), 0);
  const place = align.placeAt(a, 200);
  assert.deepEqual(place, { phase: 2, share: 0.5 });
  assert.equal(align.timeAt(b, place), 5510);
  assert.equal(align.timeAt(a, { phase: 4, share: 0.5 }), 400, "a phase that it was never in: its end");
  assert.deepEqual(align.phasesOf([a, b]), [1, 2, 3, 4]);
  assert.deepEqual(align.phasesOf([a, a]), [1, 2, 3]);
  assert.equal(align.timeAt([null, null, null, null], place), null);
  assert.equal(align.timeAt([null, { from: 7, to: 9 }, null, null], { phase: 1, share: 1 }), 7, "before all: its beginning");
});

test("the last attempt counts, and a phase that goes on grows", () => {
  const spans = align.phaseSpans(line([0, 1], [100, 2], [200, 0, { attempt: 2 }], [210, 1]), 500);
  assert.deepEqual(spans, [{ from: 210, to: 500 }, null, null, null]);
});

test("steps of the slider", () => {
  for (const phases of [[1], [1, 2, 3, 4], [2, 4]])
    for (let step = 0; step <= phases.length * align.STEPS; step++)
      assert.equal(align.stepOf(phases, align.placeOfStep(phases, step)), step, `${phases} ${step}`);
  assert.equal(align.stepOf([1, 2], { phase: 3, share: 0.5 }), 200, "a phase that neither was in: the end");
  assert.deepEqual(align.placeOfStep([], 0), { phase: 1, share: 0 });
});

test("the first and the last point of a line have dates, and as many between as there is room for", () => {
  for (const [count, width, expected] of [
    [0, 900, []], [1, 900, [0]], [2, 900, [0, 1]], [3, 170, [0, 2]], [3, 900, [0, 1, 2]], [101, 480, [0, 20, 40, 60, 80, 100]],
  ]) assert.deepEqual(datedPoints(count, width), expected, `${count} in ${width}`);
  for (let count = 2; count <= MAX_POINTS; count++)
    for (let width = 190; width < 1300; width += 37) {
      const places = datedPoints(count, width).map((i) => (i * width) / (count - 1));
      for (let i = 1; i < places.length; i++) assert.ok(places.length === 2 || places[i] - places[i - 1] >= 89, `${count} in ${width}`);
    }
});

test("a list that is here is asked for again as far as it was loaded", async () => {
  for (const [total, size, expected, cursor] of [[0, 0, 0, undefined], [30, 30, 30, undefined], [400, 50, 50, 50], [400, 130, 130, 130], [400, 230, 230, 230], [60, 300, 60, undefined]]) {
    const asked = [];
    const page = async (from = 0, limit) => {
      asked.push(limit);
      const items = Array.from({ length: Math.min(limit, total - from) }, (_, i) => from + i);
      return { items, nextCursor: from + limit < total ? from + limit : undefined };
    };
    const found = await firstPages(page, size);
    assert.ok(found.items.length >= expected && found.items.length === (found.cursor ?? total), `${total}, ${size}`);
    assert.equal(found.cursor === undefined, cursor === undefined);
    assert.ok(asked.every((limit) => limit >= 50 && limit <= 200) && asked.length <= 2);
  }
});

test("the address holds the moment", () => {
  for (const place of [{ phase: 1, share: 0 }, { phase: 3, share: 0.5 }, { phase: 4, share: 0.07 }])
    assert.deepEqual(align.placeOfHash(align.hashOf(place)), place);
  assert.ok((align.placeOfHash(align.hashOf({ phase: 4, share: 1 }))?.share ?? 0) > 0.99);
  for (const wrong of ["", "#5", "#3.", "#3.1234", "#x", "#share=1"]) assert.equal(align.placeOfHash(wrong), null, wrong);
});

test("labels of a first event, of a form and of a run that is tested again", () => {
  const event = { testId: "t", seq: 1, type: "status", status: "queued", message: "Queued", timestamp: 1 };
  const first = fold(blank("t", 1), { ...event, data: { labels: { b: "2", a: "1", A: "x", c: 3 } } });
  assert.deepEqual(first.labels, { a: "1", b: "2" });
  assert.deepEqual(fold(first, { ...event, seq: 2, data: { labels: { z: "9" } } }).labels, { a: "1", b: "2" });
  assert.deepEqual(labelsOf({ a: "x\n" }), {});
  assert.deepEqual(labelsTyped(" commit=abc, branch = a=b ,"), { commit: "abc", branch: "a=b" });
  assert.equal(labelsTyped(" , "), undefined);
  assert.throws(() => labelsTyped("commit"), /name=value/);
  assert.deepEqual(jobOf({ labels: { commit: "abc", X: "y" }, seed: 1 }, undefined), { seed: 1, labels: { commit: "abc" } });
  assert.deepEqual(shown(run(1, { labels: "none" })).labels, {});
});

test("the table of metrics leaves out the problems that the page lists", () => {
  assert.deepEqual(metricRows({ metrics: { problems: [{ kind: "console", detail: "x" }] } }).rows, []);
  assert.equal(metricRows({ metrics: { problems: "many" } }).rows.length, 1);
});

test("the addresses of the pages", () => {
  assert.equal(historyPage("/games", "/"), "games");
  assert.equal(historyPage("/a/compare", "/a/"), "compare");
  for (const other of ["/", "/tests/games", "/wall", "/games/x"]) assert.equal(historyPage(other, "/"), "", other);
});
