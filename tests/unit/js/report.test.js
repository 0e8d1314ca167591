// The report of a run: what is read of the metrics and the events of any agent, and its words.

import assert from "node:assert/strict";
import { test } from "node:test";

import { difference, problemsOf } from "../../../dashboard_ui/view/same.js";
import { kindOf, linesOf } from "../../../dashboard_ui/view/lines.js";
import { note, problems } from "../../../dashboard_ui/view/problems.js";
import { metricRows } from "../../../dashboard_ui/view/metrics.js";
import { howRows } from "../../../dashboard_ui/view/report/how.js";
import { MAX_INPUTS, MAX_LISTED, Told, controlOf, findingOf, reportOf, shownIn } from "../../../dashboard_ui/view/report/read.js";
import { bytesWords, capOf, commandOf, gameTime, heldOf, keysOf, pointerWords, seenWords, share } from "../../../dashboard_ui/view/report/words.js";

const ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11";
const finding = (id, more) => ({ id, kind: "freeze", severity: "high", title: `Freezes ${id}`, seen: [5, 5], inputs: [], ...more });
const event = (seq, data, more) => ({ testId: ID, seq, type: "progress", message: "m", timestamp: seq, data, ...more });
const told = (...events) => {
  const all = new Told();
  all.update({ log: events, generation: 1 });
  return all;
};
const tells = (seq, id, more) => event(seq, { kind: "finding", finding: finding(id, more) });
const ids = (list) => list.map(({ id }) => id);

// What an agent may put in any place.
const ODD = [null, undefined, true, -1, NaN, Infinity, 1e308, "", "x".repeat(100_000), [], [[]], {}, { toString: 1, valueOf: 1 }, "<img src=x onerror=alert(1)>", "\u202e\x1b[31m"];

test("the worst findings come first, those of one severity in the agent's order", () => {
  const given = [finding("f1", { severity: "low" }), finding("f2"), finding("f3", { severity: "medium" }), finding("f4")];
  assert.deepEqual(ids(reportOf({ findings: given }, told()).findings), ["f2", "f4", "f3", "f1"]);
});

test("what the verdict lists is completed by its event: the stack, and where its picture is", () => {
  const events = told(tells(7, "f1", { stack: "at a.js:1" }));
  const { findings } = reportOf({ findings: [finding("f1"), finding("f2")] }, events);
  assert.deepEqual(findings.map(({ id, seq, stack }) => [id, seq, stack]), [["f1", 7, "at a.js:1"], ["f2", 0, ""]]);
});

test("before the verdict, events tell; what did not show each time stands apart", () => {
  const once3 = event(5, { kind: "seenonce", finding: finding("f3") });
  const own = (seq, id, seen) => event(seq, { kind: "own", finding: finding(id, { seen }) });
  const events = told(tells(3, "f1", { seen: [1, 1] }), own(4, "f2", [1, 5]), once3, own(6, "f4", [5, 5]));
  const { findings, once, known } = reportOf(undefined, events);
  assert.deepEqual([ids(findings), ids(once), known], [["f1", "f4"], ["f2", "f3"], false]);
  const after = reportOf({ findings: [], seenOnce: [finding("f2")] }, events);
  assert.deepEqual([ids(after.findings), ids(after.once), after.known], [["f1", "f4"], ["f2", "f3"], true], "the verdict may have no room for all");
});

test("a new attempt begins again, and so does another life of the stream", () => {
  const again = event(5, { attempt: 2, worker: "w" }, { type: "status", status: "running" });
  assert.deepEqual(ids(reportOf(undefined, told(tells(3, "f1"), again, tells(6, "f2"))).findings), ["f2"]);
  for (const odd of ODD) told(event(1, { attempt: odd, control: odd, seen: odd }, { type: "status", status: "running" }));
  const events = told(tells(3, "f1"));
  const { version } = events;
  events.update({ log: [tells(3, "f9")], generation: 2 });
  assert.deepEqual([[...events.findings.keys()], events.version > version], [["f9"], true]);
});

test("a finding of any agent is read, or is none", () => {
  for (const odd of ODD) {
    assert.equal(findingOf(odd), null);
    for (const key of ["id", "kind", "severity", "detail", "stack", "frame", "atMs", "seen", "inputs", "until", "real"]) {
      const read = findingOf({ title: "t", [key]: odd });
      assert.ok(["high", "medium", "low"].includes(read.severity), key);
      assert.ok(read.title === "t" && read.detail.length < 500 && read.stack.length < 2100 && read.id.length < 100, key);
      assert.ok(read.atMs === undefined || read.atMs >= 0, key);
    }
    for (const key of ["at", "hold", "kind", "keys", "x", "y", "name"]) {
      const { inputs } = findingOf({ title: "t", inputs: [{ at: 1, kind: "keys", keys: ["a"], [key]: odd }, odd] });
      for (const each of inputs) assert.ok(each.at >= 0 && each.keys.every((cap) => typeof cap === "string"), key);
    }
  }
  assert.equal(findingOf({ title: "\u202e\x1b[31m" }), null, "nothing is left of it");
  const long = findingOf({ title: "t", inputs: Array.from({ length: MAX_INPUTS + 5 }, (_, at) => ({ at, kind: "click" })) });
  assert.deepEqual([long.inputs.length, long.more], [MAX_INPUTS, 5]);
});

test("metrics of any agent give a report", () => {
  for (const odd of ODD)
    for (const key of ["findings", "seenOnce", "controls", "lost", "time", "determinism", "uncontrolled", "speed", "gameSeconds", "coverage"]) {
      const metrics = { [key]: odd, [`${key}2`]: odd };
      const report = reportOf(metrics, told());
      howRows(report.how);
      assert.ok(shownIn(report, metrics).size <= 1, key);
      reportOf(odd, told());
    }
  const many = Array.from({ length: 3 * MAX_LISTED }, (_, i) => finding(`f${i}`));
  assert.equal(reportOf({ findings: many }, told()).findings.length, MAX_LISTED);
});

test("a metric stands in the report or in the table, and in one of them", () => {
  const metrics = { findings: [], seenOnce: [], lost: [], time: "owned", speed: "fast", coverage: { used: 5, total: 3 }, fps: 60 };
  const shown = shownIn(reportOf(metrics, told()), metrics);
  assert.deepEqual([...shown].sort(), ["findings", "lost", "seenOnce", "time"]);
  assert.deepEqual(metricRows({ metrics }, shown).rows.map(({ name }) => name), ["speed", "coverage.used", "coverage.total", "fps"]);
  const unmeasured = { time: "owned", fps: null, unknown: ["whether it is fun"], determinism: { moments: 0, agreed: 0 } };
  assert.deepEqual(metricRows({ metrics: unmeasured }, shownIn(reportOf(unmeasured, told()), unmeasured)).rows, []);
  assert.deepEqual(howRows(reportOf(unmeasured, told()).how).map(({ name, text }) => [name, text]).slice(1), [["Repeated without input", "no moment"], ["Not found out", "whether it is fun"]]);
  const old = { controls: [{ control: "Space", change: 0.1 }], fps: 60 };
  assert.deepEqual([...shownIn(reportOf(old, told()), old)], [], "an agent of before reports as before");
});

test("a control needs its evidence", () => {
  assert.equal(controlOf({ control: "Space", change: 0.1 }), null);
  assert.equal(controlOf({ control: "Space", seen: [5, 4] }), null);
  const { controls } = reportOf({ controls: [{ control: "A", seen: [4, 4] }] }, told(event(9, { control: "A", seen: [4, 4] })));
  assert.deepEqual(controls.map(({ name, seq }) => [name, seq]), [["A", 9]]);
  const none = (metrics) => reportOf(metrics, told()).controls;
  assert.deepEqual([none({}), none({ controls: [] }), none({ controls: [], findings: [] }), none({ controls: ["A"], findings: [] })], [null, null, [], null]);
});

test("lost points: most first, without those that have no reason", () => {
  const { lost } = reportOf({ lost: [{ points: 2, why: "b" }, { points: 9, why: "a", finding: "f1" }, { points: 4 }, { points: -1, why: "c" }, 5] }, told());
  assert.deepEqual(lost.map(({ points, finding: id }) => [points, id]), [[9, "f1"], [2, ""]]);
  const parts = ["stability", "playability"].map((part) => ({ points: 20, why: "It freezes", finding: "f1", part }));
  assert.deepEqual(reportOf({ lost: parts }, told()).lost, [{ points: 40, why: "It freezes", finding: "f1", parts: ["stability", "playability"] }]);
});

test("words", () => {
  assert.deepEqual([0, 233, 9990, 12_440, 65_000].map(gameTime), ["0.00 s", "0.23 s", "9.99 s", "12.4 s", "1:05 min"]);
  assert.deepEqual([0, 0.0004, 0.0123, 0.2, 1].map(share), ["0 %", "less than 0.1 %", "1.2 %", "20 %", "100 %"]);
  assert.deepEqual(["ArrowLeft", "KeyW", "w", "Escape", "F1"].map(capOf), ["←", "W", "W", "Esc", "F1"]);
  assert.deepEqual([keysOf("ArrowUp+Space"), keysOf("W"), keysOf("+"), keysOf("click left"), keysOf("drag up")], [["ArrowUp", "Space"], ["W"], ["+"], null, null]);
  assert.deepEqual([seenWords([5, 5]), seenWords([1, 1]), seenWords(null)], ["5 of 5 times", "once", ""]);
  assert.deepEqual([heldOf({ hold: 4 }), heldOf({ hold: 30 })], ["", "held 0.50 s"]);
  const drag = { kind: "drag", name: "", place: { x: 0.5, y: 0.4 }, to: { x: 0.2, y: 0.4 } };
  assert.equal(pointerWords(drag), "drag from 50 %, 40 % to 20 %, 40 %");
  assert.equal(bytesWords({ used: 34_100, total: 50_200 }), "34 of 50 KB");
  assert.equal(bytesWords({ used: 1_340_000, total: 2_500_000 }), "1.3 of 2.5 MB");
});

test("the command that shows a finding again is one that a shell takes as it is, or none", () => {
  assert.equal(commandOf(ID, "f1", "http://127.0.0.1:8000/"), `testcast reproduce ${ID} f1`);
  assert.equal(commandOf(ID, "f1", ""), `testcast reproduce ${ID} f1`);
  assert.equal(commandOf(ID, "f1", "https://tests.example/under/"), `testcast reproduce ${ID} f1 --edge https://tests.example/under`);
  for (const odd of ["", "-rf", "a b", "$(x)", "a;b", "a\nb"]) assert.equal(commandOf(ID, odd, ""), "");
});

test("a finding is one line of the feed with what was seen, and a control one among the actions", () => {
  const line = linesOf(tells(4, "f1", { detail: "No frame differs." }), "").at(-1);
  assert.deepEqual([line.kind, line.text, line.detail], ["problem", "m", "No frame differs."]);
  assert.equal(kindOf(event(5, { control: "Space", seen: [4, 4] })), "action");
  assert.equal(kindOf(event(5, { kind: "seenonce", finding: finding("s1") })), "progress", "no problem of the game");
  for (const step of ["play", "stress"]) assert.equal(kindOf(event(5, { step })), "progress", step);
  for (const odd of ODD) linesOf(event(6, { kind: "finding", finding: odd, control: odd }), "");
});

test("problems: a finding is named by its kind and title, and says that the report has it", () => {
  const all = problems();
  note(all, event(1, { kind: "console", detail: "x" }));
  assert.equal(all.reports, false);
  for (const seq of [2, 3]) note(all, tells(seq, "f1"));
  assert.deepEqual([...all.found.values()].map(({ name, text, count, finding: is }) => [name, text, count, is]), [["Console error", "x", 1, false], ["Freeze", "Freezes f1", 2, true]]);
  assert.equal(all.reports, true);
});

test("the history matches findings by kind and title, beside the problems", () => {
  const before = problemsOf({ metrics: { findings: [finding("f1", { title: "Stops at 3.2 s" })], problems: [{ kind: "console", detail: "x" }] } });
  const after = problemsOf({ metrics: { findings: [finding("f7", { title: "Stops at 8.1 s" }), finding("f2", { kind: "heap", title: "Grows" })] } });
  const { added, gone, same } = difference(before, after);
  assert.deepEqual([added, gone, same].map((list) => list.map(({ name }) => name)), [["Growing heap"], ["Console error"], ["Freeze"]]);
  for (const odd of ODD) problemsOf({ metrics: { findings: odd, problems: [odd] } });
});
