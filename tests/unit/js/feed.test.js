// What a feed stands on: where its lines are, which are shown, when the phases were, what went wrong.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fileName, groupOf, linesOf, matches, plainText } from "../../../dashboard_ui/view/lines.js";
import { MAX_PROBLEMS, note, problems } from "../../../dashboard_ui/view/problems.js";
import { runs } from "../../../dashboard_ui/view/sgr.js";
import { advance, phaseTimes, timeline } from "../../../dashboard_ui/view/timeline.js";
import { Heights } from "../../../dashboard_ui/view/virtual.js";

/** The same numbers every time, mulberry32. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const sumTo = (heights, n) => heights.slice(0, n).reduce((sum, height) => sum + height, 0);

test("no rows", () => {
  const none = new Heights();
  assert.deepEqual([none.length, none.total, none.top(0), none.at(5)], [0, 0, 0, 0]);
  assert.deepEqual(none.between(0, 100, 50), [0, 0]);
});

for (let seed = 1; seed <= 40; seed++) {
  test(`rows grow and are measured in any order as an array would have it (${seed})`, () => {
    const rng = random(seed);
    const [heights, plain] = [new Heights(), []];
    for (let step = 0; step < 300; step++) {
      if (plain.length === 0 || rng() < 0.5) {
        const height = 1 + Math.floor(rng() * 200);
        heights.push(height);
        plain.push(height);
      } else {
        const row = Math.floor(rng() * plain.length);
        const height = 1 + Math.floor(rng() * 200);
        assert.equal(heights.set(row, height), height !== plain[row]);
        plain[row] = height;
      }
      assert.equal(heights.total, sumTo(plain, plain.length));
      const row = Math.floor(rng() * (plain.length + 1));
      assert.equal(heights.top(row), sumTo(plain, row));
      const y = (rng() * 1.2 - 0.1) * heights.total;
      const expected = plain.findIndex((_, i) => sumTo(plain, i + 1) > y);
      assert.equal(heights.at(y), y < 0 ? 0 : expected < 0 ? plain.length - 1 : expected, `at ${y}`);
      const [first, last] = heights.between(y, y + 500, 100);
      assert.ok(first >= 0 && first < last && last <= plain.length);
      assert.ok(first === 0 || heights.top(first) <= y - 100, "covers the upper edge");
      assert.ok(last === plain.length || heights.top(last) > y + 600 - 1e-9, "covers the lower edge");
    }
  });
}

test("20,000 rows are measured one by one in no time", () => {
  const heights = new Heights();
  for (let row = 0; row < 20_000; row++) heights.push(22);
  for (let row = 0; row < 20_000; row++) heights.set(row, 40);
  assert.deepEqual([heights.total, heights.top(10_000), heights.at(400_000)], [800_000, 400_000, 10_000]);
});

const line = (kind, text = "hello", more = {}) => ({ kind, text, ...more });

test("a group takes its kinds, and headings stay", () => {
  assert.deepEqual(["status", "system", "complete", "action", "problem", "error", "progress"].map((kind) => groupOf(line(kind))), ["steps", "steps", "steps", "actions", "problems", "problems", null]);
  assert.ok(matches(line("progress"), "all", ""));
  assert.ok(!matches(line("progress"), "steps", ""));
  assert.ok(!matches(line("action"), "problems", ""));
  assert.ok(matches(line("phase"), "problems", "zzz"));
});

test("the search looks at the game's own words too, whatever the case", () => {
  assert.ok(matches(line("action", "Pressing Enter"), "all", "enter"));
  assert.ok(matches(line("problem", "x", { detail: "Boom" }), "problems", "boom"));
  assert.ok(!matches(line("problem", "x", { detail: "Boom" }), "problems", "bang"));
});

test("output is a line for each of its lines", () => {
  const data = { stream: "mixed", stderr: [1], ansi: "one\n\x1b[31mtwo\x1b[m\n" };
  const lines = linesOf({ seq: 7, timestamp: 1, type: "progress", message: "one\ntwo\n", data }, "");
  assert.deepEqual(
    lines.map(({ text, part, output, ansi, seq }) => [text, part, output, ansi, seq]),
    [
      ["one", 0, "stdout", undefined, 7],
      ["two", 1, "stderr", "\x1b[31mtwo\x1b[m", 7],
      ["", 2, "stdout", undefined, 7],
    ],
  );
  for (const wrong of [{ stream: "stdout", ansi: 5 }, { stream: "mixed", stderr: "1" }]) {
    assert.equal(linesOf({ seq: 1, timestamp: 1, type: "progress", message: "one\ntwo", data: wrong }, "").length, 2);
  }
});

test("one event is a bounded number of lines, and of their parts", () => {
  const data = { stream: "mixed", stderr: [...Array(10_000).keys()], ansi: "\x1b[1ma".repeat(10_000) };
  const lines = linesOf({ seq: 7, timestamp: 1, type: "progress", message: "\n".repeat(20_000), data }, "");
  assert.equal(lines.length, 1001);
  assert.deepEqual([lines[0].output, lines[0].ansi], ["stderr", undefined]);
  assert.deepEqual([lines[1000].kind, lines[1000].text], ["system", "19,001 more lines in this event"]);
});

test("a heading has the title that the run gives its phase", () => {
  const event = { seq: 1, timestamp: 1, type: "status", status: "running", phase: "phase2", message: "Test" };
  assert.equal(linesOf({ ...event, data: { phases: ["Install", "Test"] } }, "")[0].text, "Phase 2 · Test");
  assert.equal(linesOf({ ...event, data: { phases: [5] } }, "")[0].text, "Phase 2/4 · Discover controls");
});

test("each part of a coloured line has the classes of its style", () => {
  assert.deepEqual(runs("plain \x1b[1;31mred\x1b[m end"), [["", "plain "], ["sgr-1 sgr-31", "red"], ["", " end"]]);
  assert.deepEqual(runs("\x1b[30;42mbadge"), [["", ""], ["sgr-32", "badge"]]);
  assert.deepEqual(runs("\x1b[97mwhite\x1b[91mbright"), [["", ""], ["", "white"], ["sgr-31", "bright"]]);
  assert.deepEqual(runs("a\x1b[2Jb\u202ec"), [["", "abc"]]);
  assert.equal(runs(`\x1b[${"9".repeat(400)};;m text`).map(([, text]) => text).join(""), " text");
});

test("a line as text", () => {
  const time = new Date(2026, 0, 2, 12, 3, 7).getTime();
  assert.equal(plainText(line("action", "Pressing W", { time })), "12:03:07  Pressing W");
  assert.equal(plainText(line("problem", "a\nb", { time, detail: "c" })), "12:03:07  a\n          b\n          c");
  assert.equal(plainText(line("system", "recovered 3 events")), "          recovered 3 events");
  assert.equal(plainText(line("phase", "Phase 1/4")), "── Phase 1/4");
});

test("a file name that any file system takes", () => {
  const name = (title) => fileName({ testId: "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11", title });
  assert.equal(name("Star Hopper, build 42"), "Star-Hopper-build-42-4f9c2d3e.jsonl");
  assert.equal(name("../../etc/passwd"), "etc-passwd-4f9c2d3e.jsonl");
  assert.equal(name("星 跳"), "星-跳-4f9c2d3e.jsonl");
  assert.equal(name("\"<>|\n"), "test-4f9c2d3e.jsonl");
  assert.ok(name("x".repeat(500)).length < 90);
});

let seq = 0;
const event = (type, timestamp, more = {}) => ({ testId: "x", seq: ++seq, type, message: "m", timestamp, ...more });
const spansOf = (...events) => {
  const state = timeline();
  for (const one of events) advance(state, one);
  return [state, state.spans.map(({ phase, attempt, from, to }) => [phase, attempt, from, to])];
};
const phase = (n, at, more) => event("status", at, { status: "running", phase: `phase${n}`, ...more });

test("phases from their first event to the next one's", () => {
  const [state, spans] = spansOf(event("status", 0, { status: "queued" }), phase(1, 10), phase(2, 30), event("progress", 50, { phase: "phase2" }));
  assert.deepEqual(spans, [[1, 1, 10, 30], [2, 1, 30, 50]]);
  assert.deepEqual(phaseTimes(state, 75), [20, 45, null, null], "the current one grows");
  assert.deepEqual(phaseTimes(state, 0), [20, 20, null, null], "by no clock before the last event");
});

test("the end stands still", () => {
  const [state, spans] = spansOf(phase(1, 10), phase(4, 20), event("complete", 90, { phase: "phase4" }), phase(2, 99));
  assert.deepEqual(spans, [[1, 1, 10, 20], [4, 1, 20, 90]]);
  assert.deepEqual(phaseTimes(state, 999), [10, null, null, 70]);
});

test("an error that does not end the run ends no phase", () => {
  const [state] = spansOf(phase(1, 10), event("error", 20));
  assert.deepEqual(phaseTimes(state, 30), [20, null, null, null]);
});

test("a second attempt begins again, and the wait before it counts for nothing", () => {
  const [state, spans] = spansOf(phase(1, 0), phase(2, 10), event("status", 20, { status: "queued", data: { handover: true } }), event("status", 90, { status: "running", data: { attempt: 2 } }), phase(1, 100), phase(2, 130));
  assert.deepEqual(spans, [[1, 1, 0, 10], [2, 1, 10, 20], [1, 2, 100, 130], [2, 2, 130, 130]]);
  assert.deepEqual(phaseTimes(state, 140), [40, 20, null, null]);
});

test("neither phases nor time go back", () => {
  const [, spans] = spansOf(phase(2, 100), phase(1, 90), event("progress", 80, { phase: "phase1" }), phase(3, 95));
  assert.deepEqual(spans, [[2, 1, 100, 100], [3, 1, 100, 100]]);
});

test("a thousand attempts leave a line that can be drawn", () => {
  const events = Array.from({ length: 1000 }, (_, n) => phase(1, n, { data: { attempt: n + 2 } }));
  assert.ok(spansOf(...events)[1].length <= 24);
});

for (const data of [null, 7, "text", [], { attempt: "2" }, { attempt: 1.5 }, { kind: 5 }, { kind: "constructor", detail: {} }]) {
  test(`any data will do: ${JSON.stringify(data)}`, () => {
    assert.deepEqual(spansOf(phase(1, 1, { data }))[1], [[1, 1, 1, 1]]);
    const all = problems();
    note(all, event("progress", 1, { data }));
    assert.ok([...all.found.values()].every(({ name }) => name === "Problem"));
  });
}

test("a problem stands once, with its count and first time", () => {
  const all = problems();
  const said = (at, data) => note(all, event("progress", at, { message: "Console error: boom", data }));
  said(5, { kind: "console", detail: "boom" });
  said(9, { kind: "console", detail: "boom" });
  said(11, { kind: "pageerror", detail: "boom" });
  said(12, { action: "keys" });
  note(all, event("error", 13, { message: "The agent lost its browser" }));
  note(all, event("error", 14, { message: "It is over", status: "failed" }));
  assert.deepEqual([...all.found.values()].map(({ name, text, count, time }) => [name, text, count, time]), [
    ["Console error", "boom", 2, 5],
    ["Script error", "boom", 1, 11],
    ["Error", "The agent lost its browser", 1, 13],
  ]);
});

test("a game that numbers its errors does not fill the page", () => {
  const all = problems();
  for (let n = 0; n < MAX_PROBLEMS + 50; n++) note(all, event("progress", n, { data: { kind: "console", detail: `error ${n}` } }));
  assert.deepEqual([all.found.size, all.more], [MAX_PROBLEMS, 50]);
});
