// Dates, the address of a page, the latency, the places in the queue, and the days of a feed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { IDLE } from "../../../dashboard_ui/client/connection.js";
import { feedState, listState, seqOf, withFeedState, withListState } from "../../../dashboard_ui/view/address.js";
import { describe } from "../../../dashboard_ui/view/connection-status.js";
import { day, fullTime, machineTime, when } from "../../../dashboard_ui/view/dates.js";
import { FeedLog } from "../../../dashboard_ui/view/feed-log.js";
import { ordinal } from "../../../dashboard_ui/view/format.js";
import { latencyOf } from "../../../dashboard_ui/view/latency.js";
import { linesOf, matches, plainText } from "../../../dashboard_ui/view/lines.js";
import { phaseText } from "../../../dashboard_ui/view/parts.js";
import { advance, timeline } from "../../../dashboard_ui/view/timeline.js";

const at = (year, month, date, hours = 12, minutes = 3, seconds = 7) => new Date(year, month - 1, date, hours, minutes, seconds).getTime();
const NOW = at(2026, 11, 26, 0, 0, 2); // a Thursday

for (const [ms, expected] of [
  [NOW, "00:00:02"],
  [at(2026, 11, 26, 23, 59, 59), "23:59:59"],
  [at(2026, 11, 25, 23, 59, 58), "Wed 23:59"],
  [at(2026, 11, 20), "Fri 12:03"],
  [at(2026, 11, 19), "19 Nov 12:03"],
  [at(2026, 11, 27), "27 Nov 12:03"],
  [at(2026, 1, 1), "1 Jan 12:03"],
  [at(2025, 11, 26), "26 Nov 2025 12:03"],
  [at(2025, 12, 31, 23), "31 Dec 2025 23:03"],
  [0, `${new Date(0).getDate()} ${new Date(0).getMonth() ? "Dec" : "Jan"} ${new Date(0).getFullYear()} ${String(new Date(0).getHours()).padStart(2, "0")}:${String(new Date(0).getMinutes()).padStart(2, "0")}`],
  [undefined, "--:--:--"],
  [NaN, "--:--:--"],
  [2 ** 53 - 1, "--:--:--"],
]) test(`when: ${expected}`, () => assert.equal(when(ms, NOW), expected));

test("a year's first days know the year before", () => {
  const newYear = at(2026, 1, 1, 0, 0, 5);
  assert.equal(when(at(2025, 12, 31, 23, 59, 58), newYear), "Wed 23:59");
  assert.equal(when(at(2025, 12, 20), newYear), "20 Dec 2025 12:03");
});

test("the full time, and the one for machines", () => {
  assert.match(fullTime(at(2026, 11, 25, 23, 59, 58)), /^Wed 25 Nov 2026, 23:59:58 GMT[+-]\d{4}$/);
  assert.equal(machineTime(0), "1970-01-01T00:00:00.000Z");
  for (const none of [undefined, NaN, Infinity, 2 ** 53 - 1]) assert.deepEqual([fullTime(none), machineTime(none), day(none)], ["", null, ""]);
  assert.equal(machineTime(8.64e15), null, "a year that the attribute does not hold");
});

const event = (seq, timestamp, more) => ({ testId: "x", seq, type: "progress", message: `m${seq}`, timestamp, ...more });
const texts = (log) => log.lines.map(({ kind, text }) => (kind === "day" || kind === "phase" ? `-- ${text}` : text));

test("a feed has a heading for each day but the one on which the page learnt of it", () => {
  const log = new FeedLog({ now: () => NOW });
  for (const [n, time] of [at(2026, 11, 25, 23, 59, 58), NOW, NOW + 1, 2 ** 53 - 1, NOW + 2].entries()) log.take(event(n + 1, time));
  assert.deepEqual(texts(log), ["-- Wed 25 Nov 2026", "m1", "-- Thu 26 Nov 2026", "m2", "m3", "m4", "m5"]);
  log.take(event(9, at(2026, 11, 27, 0, 0, 1)));
  assert.deepEqual(texts(log).slice(-2), ["-- Fri 27 Nov 2026", "m9"]);
  const today = new FeedLog({ now: () => NOW });
  today.take(event(1, NOW));
  assert.deepEqual(texts(today), ["m1"]);
});

test("restored lines have the headings that they would have had", () => {
  const events = Array.from({ length: 300 }, (_, n) => event(n + 1, NOW - (300 - n) * 3_600_000, { phase: `phase${1 + Math.floor(n / 100)}` }));
  const [closed, whole] = [new FeedLog({ now: () => NOW }), new FeedLog({ now: () => NOW, whole: true })];
  for (const one of events) for (const log of [closed, whole]) log.take(one);
  assert.ok(closed.forgotten > 0);
  assert.ok(closed.restore(closed.forgotten, events));
  assert.deepEqual(texts(closed), texts(whole));
});

test("a day's heading stays whatever is searched, and is copied", () => {
  const [heading] = linesOf(event(1, NOW), "", "another day");
  assert.deepEqual([heading.kind, heading.seq, plainText(heading)], ["day", 1, "── Thu 26 Nov 2026"]);
  assert.ok(matches(heading, "problems", "zzz"));
});

const ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11";
const OTHER = "5f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b12";

for (const state of [
  { filter: "all", query: "", open: [] },
  { filter: "failed", query: "star & hopper=#1 é", open: [ID] },
  { filter: "cancelled", query: "+%?", open: [ID, OTHER] },
  { filter: "pinned", query: "", open: [] },
]) test(`the list's state comes back from the address: ${JSON.stringify(state)}`, () => assert.deepEqual(listState(withListState("", state)), state));

test("the address keeps what it does not know, and says nothing of what is not chosen", () => {
  assert.equal(withListState("?lang=en&status=failed&q=x", { filter: "all", query: "", open: [] }), "?lang=en");
  assert.equal(withListState("?q=x", { filter: "all", query: "", open: [] }), "");
  assert.equal(withFeedState("?a=1", { group: "problems", sought: "boom" }), "?a=1&show=problems&q=boom");
});

for (const search of ["?status=nonsense", "?status=constructor", "?open=x,,../..", "?show=__proto__", "?%", "?q", "", "?status=failed&status=all"]) {
  test(`any address will do: ${search}`, () => {
    const { filter, query, open } = listState(search);
    assert.ok(["all", "failed"].includes(filter) && query === "" && open.length === 0);
    assert.equal(feedState(search).group, "all");
  });
}

test("an address opens only so many feeds", () => {
  const ids = Array.from({ length: 30 }, (_, n) => ID.slice(0, -2) + String(n + 10));
  assert.equal(listState(`?open=${[...ids, ...ids]}`).open.length, 10);
});

test("the event that an address names", () => {
  assert.deepEqual(["#12", "#1", "", "#", "#0", "#-1", "#1e3", "#12x", "#99999999999999999999"].map(seqOf), [12, 1, 0, 0, 0, 0, 0, 0, 0]);
});

const latency = (ms, more = {}) => latencyOf({ timestamp: 100_000 - ms, now: 100_000, liveForMs: 1e9, errorMs: 5, ...more });

test("the latency is that of events that were published while the page was there", () => {
  assert.deepEqual([latency(42), latency(0), latency(-5), latency(1234.4)], [42, 1, 1, 1234]);
  assert.equal(latency(27_000, { liveForMs: 300 }), null, "published before the connection came back");
  assert.equal(latency(27_000, { liveForMs: 30_000 }), 27_000);
  assert.equal(latency(5, { liveForMs: -Infinity }), null, "there is no connection");
  assert.deepEqual([latency(-6), latency(60_000), latency(3_600_000)], [null, null, null], "clocks that disagree");
});

test("the time since when data is stale is said if it is known", () => {
  const status = (connection, more) => describe({ connection: { ...IDLE, wanted: true, ...connection }, now: NOW, freshAt: 0, stale: true, pollAnswered: true, latencyMs: null, runs: 2, ...more });
  for (const connection of [{ state: "live" }, { state: "waiting", failures: 2, attempt: 3, deadlineAt: NOW }]) {
    assert.equal(status(connection).label, "Stale");
    assert.equal(status(connection, { freshAt: at(2026, 11, 25, 23, 59, 58) }).label, "Stale since Wed 23:59");
    assert.equal(status(connection, { freshAt: NOW }).label, "Stale since 00:00:02");
    assert.doesNotMatch(status(connection).explanation, /that time/);
  }
});

test("a queued run has its place", () => {
  const queued = { status: "queued", phase: null };
  assert.equal(phaseText({ ...queued, queuePlace: 1 }), "Next in the queue");
  assert.equal(phaseText({ ...queued, queuePlace: 2 }), "2nd in the queue");
  assert.equal(phaseText({ ...queued, queuePlace: 2, noAgent: true }), "Waits for an agent");
  assert.equal(phaseText(queued), "Not started");
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111, 112].map(ordinal).join(), "1st,2nd,3rd,4th,11th,12th,13th,21st,22nd,101st,111th,112th");
});

test("the phase is the snapshot's, also where an agent goes back", () => {
  const line = timeline();
  for (const [n, phase] of ["phase1", "phase4", "phase1"].entries()) advance(line, event(n + 1, NOW + n, { type: "status", status: "running", phase }));
  assert.equal(phaseText({ status: "running", phase: "phase1" }), "Phase 1/4");
  assert.equal(line.running, true);
});
