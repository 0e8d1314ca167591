// What comes from outside: any text, any value, in any field. What a reader sees of it.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fold } from "../../../dashboard_ui/client/fold.js";
import { Store } from "../../../dashboard_ui/client/store.js";
import { jobOf, rubricOf, shown } from "../../../dashboard_ui/view/coerce.js";
import { FeedLog } from "../../../dashboard_ui/view/feed-log.js";
import { elapsed, host, titleOf } from "../../../dashboard_ui/view/format.js";
import { linesOf, plainText, unreadText } from "../../../dashboard_ui/view/lines.js";
import { MAX_ROWS, metricRows } from "../../../dashboard_ui/view/metrics.js";
import { note, problems } from "../../../dashboard_ui/view/problems.js";
import { clean, inspect, oneLine, shorten, words } from "../../../dashboard_ui/view/text.js";

const nest = (levels, inside = 1) => {
  let value = inside;
  for (let n = 0; n < levels; n++) value = n % 2 ? [value] : { a: value };
  return value;
};
/** Values as JSON can bring them, none of which is what is expected. */
const ODD = [
  null, true, -1, 1e308, 0.1, "", "text", "66", [], [1, [2]], {}, { toString: 1, valueOf: 1 }, [{ toString: 1, valueOf: 1 }],
  JSON.parse('{"__proto__": {"toString": 1}, "constructor": 5, "hasOwnProperty": 0, "length": -1}'), { toJSON: 1 },
  { then: 1 }, nest(500), "\u202e", "\ud800", "x".repeat(70_000), Array(5000).fill({ toString: null }),
];
const named = (value) => String(JSON.stringify(value)).slice(0, 50);

for (const [text, expected] of [
  ["plain, with ümlauts, 星 and 😀", "plain, with ümlauts, 星 and 😀"],
  ["\x1b[31mred\x1b[0m", "red"],
  ["\x1b[1;38;5;196mbold\x1b[m \x1b[2K\x1b[?25lx", "bold x"],
  ["\x9b31mred\x9b0m", "red"],
  ["\x1b]0;a title\x07after", "after"],
  ["\x1b]8;;https://a.example/\x1b\\link\x1b]8;;\x1b\\", "link"],
  ["\x1b]0;never ended\nnext line", "\nnext line"],
  ["\x1bP1$r0m\x1b\\\x1b_x\x1b\\\x1b^y\x9c\x1bXz\x1b\\after", "after"],
  ["\x1b(B\x1b=\x1bM\x1b7x\x1b", "x"],
  ["\x1b[", ""],
  ["\x1b[31", ""],
  ["a\x1b\x1b[31mb", "ab"],
  ["\u202egnp.exe\u202c", "gnp.exe"],
  ["\u200ea\u200fb\u061cc\u2066d\u2067e\u2068f\u2069g\u202ah\u202bi\u202dj", "abcdefghij"],
  ["שלום עולם", "שלום עולם"],
  ["a\r\nb\rc\u2028d\u2029e\x85f", "a\nb\nc\nd\ne\nf"],
  ["\0a\x07b\x08c\x7fd\tf", "abcd\tf"],
]) test(`clean text: ${JSON.stringify(text)}`, () => assert.equal(clean(text), expected));

test("a long text of escapes takes no long time", () => {
  for (const part of ["\x1b]", "\x1b[", "\x1b", "\x1b[1;", "\x9d"]) clean(part.repeat(30_000) + "x");
});

test("a text is cut between characters", () => {
  assert.equal(shorten("😀😀", 3), "😀 … (4 characters)");
  assert.match(words("x".repeat(70_000)), /… \(70,000 characters\)$/);
  assert.equal(oneLine("  a\n\t b "), "a b");
});

for (const odd of ODD) {
  test(`any value in any field of a snapshot: ${named(odd)}`, () => {
    const fields = ["title", "gameUrl", "status", "phase", "message", "score", "metrics", "createdAt", "startedAt", "finishedAt", "updatedAt", "attempt", "worker", "error", "errorCode", "stalled", "queuePlace", "noAgent"];
    for (const field of fields) {
      const run = shown({ testId: "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11", status: "running", seq: 3, createdAt: 5, [field]: odd });
      for (const text of [titleOf(run), host(run), elapsed(run, 9), run.message, run.status, run.look]) assert.equal(typeof text, "string");
      assert.ok(["number", "undefined"].includes(typeof run.score));
      for (const { part, score, max, reasons } of rubricOf(run)) assert.ok(part && Number.isFinite(score + max) && reasons.every((each) => typeof each === "string"));
      for (const { name, values } of metricRows(run).rows) for (const text of [name, ...values]) assert.ok(typeof text === "string" && text.length < 8000, named(text));
    }
  });

  test(`any value in an event's data: ${named(odd)}`, () => {
    const fields = ["title", "gameUrl", "attempt", "worker", "handover", "kind", "detail", "action", "score", "metrics", "code", "budgetSeconds", "seed"];
    for (const data of [odd, ...fields.map((field) => ({ kind: "console", [field]: odd }))]) {
      for (const type of ["status", "progress", "complete", "error"]) {
        const event = { testId: "x", seq: 4, type, message: "m", timestamp: 5, data };
        const run = shown(fold({ testId: "x", status: "running", seq: 3, createdAt: 5 }, event));
        assert.equal(typeof titleOf(run), "string");
        for (const line of linesOf(event, "", "")) assert.equal(typeof plainText(line), "string");
        const all = problems();
        note(all, event);
        for (const { name, text } of all.found.values()) assert.ok(typeof name === "string" && typeof text === "string");
        for (const value of Object.values(jobOf({}, event))) assert.ok(Number.isFinite(value));
      }
    }
  });

  test(`any value as a part of a score: ${named(odd)}`, () => {
    const good = { part: "load", score: 1, max: 2, reasons: ["because"] };
    for (const field of Object.keys(good)) {
      const parts = rubricOf({ metrics: { rubric: [{ ...good, [field]: odd }, odd, good] } });
      assert.deepEqual(parts.at(-1), good, "the good one is there");
      for (const { reasons } of parts) assert.ok(reasons.every((each) => typeof each === "string"));
    }
  });

  test(`a list with something else in it: ${named(odd)}`, () => {
    const store = new Store({ newFeed: () => new FeedLog() });
    const good = { testId: "good", status: "running", seq: 3, createdAt: 5 };
    store.receive({ type: "tests", upserts: [odd, good], counts: { running: 1, queued: odd }, full: true });
    store.receive([odd, { type: "unreadable", testId: "good", seq: odd, count: odd, reasons: odd }]);
    assert.ok(store.runs.has("good"));
  });
}

test("a score is a number from 0 to 100, as the list has it", () => {
  const score = (value) => shown({ testId: "x", score: value }).score;
  assert.deepEqual([66, 0, 100, "66", -1, 101, NaN, null, [66]].map(score), [66, 0, 100, undefined, undefined, undefined, undefined, undefined, undefined]);
});

test("a cancelled run has a look of its own, and other failures have not", () => {
  const look = (more) => shown({ testId: "x", status: "failed", ...more }).look;
  assert.equal(look({ errorCode: "cancelled" }), "cancelled");
  assert.equal(look({ errorCode: "lost" }), "failed");
  assert.equal(look({}), "failed");
  assert.equal(look({ status: "completed", errorCode: "cancelled" }), "completed");
});

test("only a run that has begun is stalled, and only a queued one has a place", () => {
  const of = (status) => shown({ testId: "x", status, stalled: true, queuePlace: 2, noAgent: true });
  assert.deepEqual([of("queued").stalled, of("queued").queuePlace, of("queued").noAgent], [false, 2, true]);
  assert.deepEqual([of("running").stalled, of("running").queuePlace, of("running").noAgent], [true, undefined, false]);
  assert.deepEqual([of("completed").stalled, of("completed").queuePlace], [false, undefined]);
});

const rows = (metrics) => metricRows({ metrics }).rows.map(({ name, values }) => [name, values.join(" | ")]);

test("metrics of any agent", () => {
  assert.deepEqual(rows({ fps: 60 }), [["fps", "60"]]);
  assert.deepEqual(rows({ memory: { heap: 12.5, peak: { mb: 3 } }, ok: true, none: null, laps: [1, 2], empty: {}, list: [] }), [
    ["memory.heap", "12.5"], ["memory.peak.mb", "3"], ["ok", "true"], ["none", "none"], ["laps", "1 | 2"], ["empty", "none"], ["list", "none"],
  ]);
  assert.deepEqual(rows({ a: { b: { c: { d: { e: 1 } } } } }), [["a.b.c", "{d: {e: 1}}"]]);
  assert.deepEqual(rows(60), [["metrics", "60"]]);
  assert.deepEqual(rows([1, { a: 2 }]), [["0", "1"], ["1.a", "2"]]);
  assert.deepEqual(rows({ frameMs: 16.7, loadMs: 90_000 }), [["Loaded after", "1:30"], ["frameMs", "16.7 ms"]]);
  assert.deepEqual(rows({ "\x1b[31mred": "\u202etxt" }), [["red", "txt"]]);
  assert.deepEqual(rows(undefined), []);
  assert.deepEqual(rows(null), []);
});

test("metrics of this project's agent", () => {
  const rubric = [{ part: "load", score: 1, max: 2, reasons: [] }];
  const controls = [{ control: "Space", change: 0.0213 }, { control: "Enter", change: 0.4 }];
  const found = rows({ rubric, controls, tried: ["Space"], untried: ["drag"], unknown: ["whether it is fun"], bestScore: 1250, actions: 42 });
  assert.deepEqual(found, [
    ["Best score", "1,250"], ["Actions", "42"], ["Controls, and the part of the picture that each changes", "Space 2.1 % | Enter 40 %"],
    ["Tried", "Space"], ["Untried", "drag"], ["Unknown", "whether it is fun"],
  ]);
  assert.deepEqual(rows({ rubric: "none", controls: [5] }).map(([name]) => name).sort(), ["Controls, and the part of the picture that each changes", "rubric"]);
});

test("many metrics are limited, and the rest is counted", () => {
  const many = Object.fromEntries(Array.from({ length: MAX_ROWS + 7 }, (_, n) => [`m${n}`, n]));
  const { rows: all, more } = metricRows({ metrics: many });
  assert.deepEqual([all.length, more], [MAX_ROWS, 7]);
  assert.equal(metricRows({ metrics: { list: Array(1000).fill(1) } }).rows[0].values.length, 51);
});

test("a nested value as text", () => {
  assert.equal(inspect({ a: [1, { b: 2 }] }), "{a: [1, {b: 2}]}");
  assert.equal(inspect(nest(100)).includes("…"), true);
  assert.equal(inspect([1, "two", null]), "1, two, none");
});

test("what a run was submitted with", () => {
  const first = { type: "status", status: "queued", data: { gameUrl: "x", budgetSeconds: 15, seed: 42 } };
  assert.deepEqual(jobOf({}, first), { budgetSeconds: 15, seed: 42 });
  assert.deepEqual(jobOf({ seed: 7 }, first), { budgetSeconds: 15, seed: 7 });
  assert.deepEqual(jobOf({}, { data: { budgetSeconds: "15", seed: 1.5 } }), {});
  assert.deepEqual(jobOf(null, undefined), {});
  assert.deepEqual(jobOf({ project: "team-a" }, { data: { project: "other" } }), { project: "team-a" });
  assert.deepEqual(jobOf({ project: "" }, { data: { project: "other" } }), { project: "" }, "refused, not guessed");
  assert.deepEqual(jobOf({}, { data: { project: "other" } }), {}, "the snapshot knows");
  assert.deepEqual(jobOf({}, { data: { seed: 0 } }), { seed: 0 });
});

test("events that could not be read are counted once, and said in one sentence", () => {
  const store = new Store({ newFeed: () => new FeedLog() });
  store.receive({ type: "tests", upserts: [{ testId: "a", status: "running", seq: 3, createdAt: 5 }], full: true });
  const { feed } = store.runs.get("a");
  const told = { type: "unreadable", testId: "a" };
  assert.equal(unreadText(feed.unread), "");
  store.receive({ ...told, seq: 9, count: 1, reasons: { "timestamp is no whole number": 1 } });
  assert.equal(unreadText(feed.unread), "1 event of this agent could not be read: timestamp is no whole number");
  store.receive({ ...told, seq: 9, count: 1, reasons: { "timestamp is no whole number": 1 } });
  store.receive({ ...told, seq: 7, count: 4, reasons: {} });
  assert.equal(feed.unread.count, 1, "the same again, after a resume");
  store.page("a", null, { outcome: "recovered", epoch: "e", head: 12, events: [], unreadable: { seq: 12, count: 2, reasons: { "no \x1b[31mJSON": 2 } } });
  assert.equal(unreadText(feed.unread), "3 events of this agent could not be read: no JSON (2); timestamp is no whole number");
  store.receive({ type: "sync", testId: "a", outcome: "reset", reason: "epoch", epoch: "f", head: 2, snapshot: { testId: "a", status: "running", seq: 2, createdAt: 5 } });
  assert.equal(feed.unread.count, 0, "another history");
  store.receive({ ...told, seq: 2, count: 1, reasons: {} });
  assert.equal(unreadText(feed.unread), "1 event of this agent could not be read");
});
