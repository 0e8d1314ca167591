// What people read: lines of a feed, times, the connection status.

import assert from "node:assert/strict";
import { test } from "node:test";

import { IDLE } from "../../../dashboard_ui/client/connection.js";
import * as format from "../../../dashboard_ui/view/format.js";
import { MAX_LINE_CHARS, linesOf, resetLine } from "../../../dashboard_ui/view/lines.js";
import { describe } from "../../../dashboard_ui/view/connection-status.js";

const event = (more) => ({ testId: "x", seq: 1, type: "progress", message: "hello", timestamp: 5, ...more });
const kinds = (more, phase = "") => linesOf(event(more), phase).map((line) => line.kind);

test("a line's kind", () => {
  assert.deepEqual(kinds({}), ["progress"]);
  assert.deepEqual(kinds({ data: { action: "keys" } }), ["action"]);
  assert.deepEqual(kinds({ data: { kind: "console", detail: "boom" } }), ["problem"]);
  assert.deepEqual(kinds({ type: "status", status: "running", data: { attempt: 1 } }), ["status"]);
  assert.deepEqual(kinds({ type: "status", status: "running", data: { attempt: 2 } }), ["system"]);
  assert.deepEqual(kinds({ type: "status", status: "running", data: { handover: true } }), ["system"]);
  assert.deepEqual(kinds({ type: "status", status: "failed" }), ["error"]);
  assert.deepEqual(kinds({ type: "error" }), ["error"]);
  assert.deepEqual(kinds({ type: "complete" }), ["complete"]);
});

for (const data of [null, 7, "text", [], [1], true, { kind: 5 }, { detail: {} }]) {
  test(`any data will do: ${JSON.stringify(data)}`, () => assert.equal(linesOf(event({ data }), "").length, 1));
}

test("a phase's heading stands before its first line only", () => {
  const [heading, line] = linesOf(event({ phase: "phase2" }), "phase1");
  assert.deepEqual([heading.kind, heading.text, line.text], ["phase", "Phase 2/4 · Discover controls", "hello"]);
  assert.deepEqual(kinds({ phase: "phase2" }, "phase2"), ["progress"]);
  assert.deepEqual(kinds({ phase: "phase9" }, "phase2"), ["progress"]);
});

test("the game's own words stand below, unless the message has them", () => {
  const detail = (message) => linesOf(event({ message, data: { kind: "pageerror", detail: "x is not a function" } }), "")[0].detail;
  assert.equal(detail("The game reported an error"), "x is not a function");
  assert.equal(detail("Script error: x is not a function"), undefined);
});

test("a very long message is cut, and says how long it was", () => {
  const [{ text }] = linesOf(event({ message: "y".repeat(60_000) }), "");
  assert.ok(text.length < MAX_LINE_CHARS + 50);
  assert.match(text, /60,000 characters/);
});

test("a reset says which of the two it was", () => {
  assert.match(resetLine("expired").text, /no longer kept/);
  assert.match(resetLine("epoch").text, /replaced/);
});

test("times and lengths", () => {
  const noon = new Date(2026, 0, 2, 12, 3, 7).getTime();
  assert.equal(format.clock(noon), "12:03:07");
  assert.equal(format.clock(undefined), "--:--:--");
  assert.equal(format.clock(9e99), "--:--:--");
  assert.deepEqual([0, 41_000, 62_000, 3_723_000, -5].map(format.duration), ["0:00", "0:41", "1:02", "1:02:03", "0:00"]);
  assert.deepEqual([42.4, 999, 1234].map(format.latency), ["42 ms", "999 ms", "1.2 s"]);
  const run = { createdAt: 1000, startedAt: 3000, finishedAt: 9000 };
  assert.equal(format.elapsed(run, 99_000), "0:06");
  assert.equal(format.elapsed({ createdAt: 1000 }, 4000), "0:03");
});

test("only http and https become links", () => {
  for (const bad of ["javascript:alert(1)", "data:text/html,x", "ftp://x", "", undefined, "//", "http://"]) assert.equal(format.webUrl(bad), null, bad);
  assert.equal(format.webUrl("https://a.example/b").host, "a.example");
});

test("what was typed becomes an address", () => {
  const cases = {
    "": "",
    "  https://a.example/ ": "https://a.example/",
    "a.example": "https://a.example",
    "a.example:8080/x": "https://a.example:8080/x",
    "localhost:3000": "http://localhost:3000",
    "127.0.0.1:8000/game": "http://127.0.0.1:8000/game",
    "ftp://x": "ftp://x", // for the edge to refuse, in its own words
    "javascript:alert(1)": "javascript:alert(1)",
  };
  for (const [typed, expected] of Object.entries(cases)) assert.equal(format.completeUrl(typed), expected);
});

const NOW = new Date(2026, 0, 2, 12, 3, 7).getTime();
const label = (connection, more = {}) =>
  describe({ connection: { ...IDLE, wanted: true, ...connection }, now: NOW, freshAt: NOW, stale: false, pollAnswered: false, latencyMs: null, runs: 2, ...more }).label;

test("the connection status always says which it is", () => {
  assert.equal(label({ state: "connecting" }), "Connecting");
  assert.equal(label({ state: "live" }), "Live");
  assert.equal(label({ state: "live" }, { latencyMs: 42 }), "Live · 42 ms");
  assert.equal(label({ state: "live" }, { stale: true }), "Stale since 12:03:07");
  assert.equal(label({ state: "live", wanted: false }), "All tests ended");
  assert.equal(label({ state: "live", wanted: false }, { runs: 0 }), "Live");
  assert.equal(label({ state: "waiting", attempt: 3, failures: 2, deadlineAt: NOW + 3400 }), "Reconnecting 3/10 · 4 s");
  assert.equal(label({ state: "connecting", attempt: 3, failures: 2 }), "Reconnecting 3/10");
  assert.equal(label({ state: "waiting", attempt: 3, failures: 2 }, { pollAnswered: true }), "Polling every 3 s");
  assert.equal(label({ state: "connecting", attempt: 12, failures: 11 }, { pollAnswered: true }), "Polling every 3 s");
  assert.equal(label({ state: "waiting", attempt: 3, failures: 2 }, { pollAnswered: true, stale: true }), "Stale since 12:03:07");
  assert.equal(label({ state: "waiting", attempt: 3, failures: 2 }, { streams: true }), "Live over HTTP");
  assert.equal(label({ state: "connecting", attempt: 12, failures: 11 }, { streams: true, pollAnswered: true }), "Live over HTTP");
  assert.equal(label({ state: "waiting", attempt: 3, failures: 2 }, { streams: true, stale: true }), "Stale since 12:03:07");
  assert.equal(label({ state: "waiting", attempt: 1, failures: 0, deadlineAt: NOW + 900 }, { pollAnswered: true }), "Reconnecting 1/10 · 1 s", "an old poll is no polling");
  assert.equal(label({ state: "waiting", attempt: 11, failures: 10 }), "Stale since 12:03:07");
  assert.equal(label({ state: "waiting", attempt: 11, failures: 10 }, { freshAt: 0 }), "Edge not reachable");
  assert.equal(label({ state: "finished", wanted: false }), "All tests ended");
  assert.equal(label({ state: "refused", reason: "no" }), "Connection refused");
});
