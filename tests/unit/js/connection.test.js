// The table of states × events: a test per cell, then the stories that cross several.

import assert from "node:assert/strict";
import { test } from "node:test";

import * as connection from "../../../dashboard_ui/client/connection.js";

const { FALLBACK, IDLE, OFF, TABLE, polls, backoffMs } = connection;
const NOW = 1_000_000;
const EVENTS = ["watch", "rest", "frame", "delivered", "closed", "deadline", "wake", "retry", "leave", "denied"];

/** The cells that the tests below went through, as they went. @type {Set<string>} */
const visited = new Set();
const step = (c, event, chance) => {
  visited.add(`${c.state} × ${event.type}`);
  return connection.step(c, event, chance);
};

/** A wanted connection in this state, in the middle of its third attempt. */
const at = (state, more = {}) => ({ ...IDLE, state, wanted: true, attempt: 3, failures: 2, deadlineAt: NOW + 20_000, ...more });
const run = (c, event, random = 1) => step(c, event, { now: NOW, random });

// What each cell leads to: the next state and the effects. Written out, so that a cell changed by accident shows.
const CELLS = {
  idle: { watch: "connecting open", rest: "idle", frame: "idle", delivered: "idle", closed: "idle", deadline: "idle", wake: "idle", retry: "connecting open", leave: "idle", denied: "idle" },
  connecting: { watch: "connecting", rest: "connecting", frame: "connecting", delivered: "live", closed: "waiting", deadline: "waiting detach", wake: "connecting look", retry: "connecting detach open look", leave: "waiting detach", denied: "refused detach" },
  live: { watch: "live", rest: "live", frame: "live", delivered: "live", closed: "waiting", deadline: "waiting detach", wake: "live probe look", retry: "live probe", leave: "waiting detach", denied: "live" },
  waiting: { watch: "waiting", rest: "finished", frame: "waiting", delivered: "waiting", closed: "waiting", deadline: "connecting open", wake: "connecting open look", retry: "connecting open look", leave: "waiting", denied: "refused" },
  finished: { watch: "connecting open", rest: "finished", frame: "finished", delivered: "finished", closed: "finished", deadline: "finished", wake: "finished", retry: "connecting open", leave: "finished", denied: "refused" },
  refused: { watch: "refused", rest: "refused", frame: "refused", delivered: "refused", closed: "refused", deadline: "refused", wake: "refused", retry: "connecting open", leave: "refused", denied: "refused" },
};

test("the table has every state and every event, and no other", () => {
  assert.deepEqual(Object.keys(TABLE).sort(), Object.keys(CELLS).sort());
  for (const row of Object.values(TABLE)) assert.deepEqual(Object.keys(row), EVENTS);
});

for (const [state, row] of Object.entries(CELLS)) {
  for (const [type, expected] of Object.entries(row)) {
    test(`${state} × ${type} → ${expected}`, () => {
      const before = Object.freeze(at(state));
      const [after, effects] = run(before, { type, code: 1006 });
      assert.equal([after.state, ...effects].join(" "), expected);
      // Whoever waits for something has a deadline, and nobody else.
      const timed = ["connecting", "live", "waiting"].includes(after.state) && type !== "leave";
      assert.equal(timed ? Number.isFinite(after.deadlineAt) : true, true);
      if (!timed && after.state !== state) assert.equal(after.deadlineAt, Infinity);
    });
  }
}

test("only a delivery resets the backoff: a socket that opens and is cut goes on counting", () => {
  let c = run(IDLE, { type: "watch" })[0];
  const attempts = [];
  for (let i = 0; i < 4; i++) {
    c = run(c, { type: "frame" })[0]; // an error or a farewell is a frame, but no delivery
    c = run(c, { type: "closed", code: 1006 })[0];
    attempts.push([c.attempt, c.failures]);
    c = run(c, { type: "deadline" })[0];
  }
  assert.deepEqual(attempts, [[1, 1], [2, 2], [3, 3], [4, 4]]);
  c = run(c, { type: "delivered" })[0];
  assert.deepEqual([c.state, c.attempt, c.failures], ["live", 0, 0]);
});

test("backoff 1, 2, 4, 8, 16, 30, 30 … s, each times 0.8 to 1.0", () => {
  const attempts = [1, 2, 3, 4, 5, 6, 7, 10, 11, 99];
  const bases = [1, 2, 4, 8, 16, 30, 30, 30, 30, 30];
  assert.deepEqual(attempts.map((n) => backoffMs(n, 1) / 1000), bases);
  assert.deepEqual(attempts.map((n) => Math.round(backoffMs(n, 0)) / 1000), bases.map((s) => s * 0.8));
});

test("attempts go on for ever: after the tenth every 30 s", () => {
  let c = at("waiting", { attempt: 1, failures: 0 });
  const waits = [];
  for (let i = 0; i < 14; i++) {
    c = run(c, { type: "deadline" })[0];
    assert.equal(c.state, "connecting");
    c = run(c, { type: "closed", code: 1006 })[0];
    waits.push((c.deadlineAt - NOW) / 1000);
  }
  assert.equal(c.attempt, 15);
  assert.deepEqual(waits.slice(-5), [30, 30, 30, 30, 30]);
});

test("polling starts with the second failed attempt, goes on through the next ones, and ends with the first delivery", () => {
  let c = run(at("live", { attempt: 0, failures: 0 }), { type: "closed", code: 1006 })[0];
  const story = [polls(c)];
  for (let i = 0; i < 2; i++) {
    c = run(c, { type: "deadline" })[0];
    story.push(polls(c));
    c = run(c, { type: "closed", code: 1006 })[0];
    story.push(polls(c));
  }
  assert.deepEqual(story, [false, false, false, false, true]);
  c = run(c, { type: "deadline" })[0];
  assert.equal(polls(c), true, "while the third attempt runs");
  assert.equal(polls(run(c, { type: "frame" })[0]), true, "an open socket is not a delivery");
  assert.equal(polls(run(c, { type: "delivered" })[0]), false);
  assert.equal(polls(run(c, { type: "rest" })[0]), false, "and when every test has ended");
});

test("a first connection that fails counts as a failed attempt", () => {
  let c = run(IDLE, { type: "watch" })[0];
  c = run(c, { type: "closed", code: 1006 })[0];
  c = run(c, { type: "deadline" })[0];
  c = run(c, { type: "closed", code: 1006 })[0];
  assert.deepEqual([c.failures, polls(c)], [2, true]);
});

for (const code of [4400, 4401, 4404, 4429, 4499]) {
  test(`no attempt after a close with ${code}`, () => {
    for (const state of ["connecting", "live"]) {
      const [c] = run(at(state), { type: "closed", code, reason: "no such test" });
      assert.deepEqual([c.state, c.reason, c.deadlineAt], ["refused", "no such test", Infinity]);
      assert.equal(run(c, { type: "wake" })[0].state, "refused");
    }
  });
}

for (const code of [1000, 1001, 1006, 1012, 1013, 4399, 4500]) {
  test(`another attempt after a close with ${code}`, () => {
    assert.equal(run(at("live"), { type: "closed", code })[0].state, "waiting");
  });
}

test("no attempt after every watched test has ended: neither after a loss nor while waiting", () => {
  const [resting] = run(at("live"), { type: "rest" });
  assert.deepEqual(run(resting, { type: "closed", code: 1006 })[0].state, "finished");
  const [silent, effects] = run(resting, { type: "deadline", lateMs: 0 });
  assert.deepEqual([silent.state, effects], ["finished", ["detach"]]);
  for (const type of ["wake", "deadline", "closed", "rest"]) {
    assert.deepEqual(run(silent, { type })[1], [], `${type} opens nothing`);
  }
});

test("a new test connects again, with a fresh count", () => {
  const [c, effects] = run(at("finished", { wanted: false }), { type: "watch" });
  assert.deepEqual([c.wanted, c.attempt, c.failures, effects], [true, 0, 0, ["open"]]);
});

test("try now, when nothing is expected, is one attempt and no more", () => {
  const [c] = run(at("finished", { wanted: false }), { type: "retry" });
  assert.equal(run(c, { type: "closed", code: 1006 })[0].state, "finished");
});

test("35 s without a frame is half-open; every frame moves the deadline", () => {
  const [c] = run(at("connecting"), { type: "delivered" });
  assert.equal(c.deadlineAt, NOW + 35_000);
  const [later] = step(c, { type: "frame" }, { now: NOW + 20_000, random: 0 });
  assert.equal(later.deadlineAt, NOW + 55_000);
  const [lost, effects] = run(later, { type: "deadline", lateMs: 3 });
  assert.deepEqual([lost.state, lost.attempt, effects], ["waiting", 1, ["detach"]]);
});

test("a deadline that comes late means a frozen page: it asks before it gives up", () => {
  const [c, effects] = run(at("live"), { type: "deadline", lateMs: 20_000 });
  assert.deepEqual([c.state, effects, c.deadlineAt], ["live", ["probe"], NOW + 5000]);
  assert.deepEqual(run(c, { type: "frame" })[0].deadlineAt, NOW + 35_000);
  assert.deepEqual(run(c, { type: "deadline", lateMs: 1 })[0].state, "waiting");
});

test("a wake probes at once and never moves a deadline away", () => {
  assert.equal(run(at("live", { deadlineAt: NOW + 30_000 }), { type: "wake" })[0].deadlineAt, NOW + 5000);
  assert.equal(run(at("live", { deadlineAt: NOW + 100 }), { type: "wake" })[0].deadlineAt, NOW + 100);
});

test("a page from the back/forward cache does not trust its old socket", () => {
  for (const state of ["live", "connecting"]) {
    const [c, effects] = run(at(state), { type: "wake", restored: true });
    assert.deepEqual([c.state, effects], ["connecting", ["detach", "open", "look"]]);
  }
});

test("a page on its way into that cache lets its socket go, and waits for nothing until it comes back", () => {
  const [c, effects] = run(at("live", { attempt: 0 }), { type: "leave" });
  assert.deepEqual([c.state, c.deadlineAt, effects], ["waiting", Infinity, ["detach"]]);
  const [back, opened] = run(c, { type: "wake", restored: true });
  assert.deepEqual([back.state, back.attempt, opened], ["connecting", 0, ["open", "look"]]);
  assert.equal(run(at("live", { wanted: false }), { type: "leave" })[0].state, "finished", "with nothing to come");
});

test("a connect attempt that hangs is not waited for when somebody looks; a young one is", () => {
  const asked = at("connecting", { deadlineAt: NOW + 20_000 });
  assert.deepEqual(run(asked, { type: "wake" })[1], ["look"]);
  const [later, effects] = step(asked, { type: "wake" }, { now: NOW + 2001, random: 0 });
  assert.deepEqual([later.state, later.attempt, effects], ["connecting", 3, ["detach", "open", "look"]]);
  assert.equal(later.deadlineAt, NOW + 22_001);
});

test("a connect attempt that was slept through is made again, and is no failure", () => {
  const [c, effects] = run(at("connecting"), { type: "deadline", lateMs: 60_000 });
  assert.deepEqual([c.state, c.attempt, c.failures, effects], ["connecting", 3, 2, ["detach", "open"]]);
});

test("whoever shows a list looks at it every 30 s while nothing is expected, and at once when awake", () => {
  let [c] = run(at("live", { wanted: false, looks: true }), { type: "closed", code: 1006 });
  assert.deepEqual([c.state, c.deadlineAt], ["finished", NOW + 30_000]);
  for (const type of ["deadline", "wake"]) {
    const [next, effects] = step(c, { type }, { now: NOW + 30_000, random: 0 });
    assert.deepEqual([next.state, next.deadlineAt, effects], ["finished", NOW + 60_000, ["look"]], type);
  }
  [c] = run(c, { type: "watch" });
  assert.equal(c.state, "connecting", "a run that has not ended connects");
});

test("a draining edge says when to come back, within reason", () => {
  const wait = (retryAfterMs) => run(at("live"), { type: "closed", code: 1012, retryAfterMs })[0].deadlineAt - NOW;
  assert.equal(wait(250), 250);
  assert.equal(wait(0), 0);
  assert.equal(wait(9e9), 60_000);
  for (const bad of [undefined, -1, NaN, "soon", null]) assert.equal(wait(bad), backoffMs(4, 1), String(bad));
});

test("any walk through the table keeps its promises", () => {
  // A small generator of our own: the same walks every time.
  let seed = 42;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  for (let walk = 0; walk < 300; walk++) {
    let c = { ...IDLE, renews: walk % 2 === 1 };
    let sockets = 0;
    for (let i = 0; i < 60; i++) {
      const type = EVENTS[Math.floor(random() * EVENTS.length)];
      const code = [1006, 1012, 4404, 4401][Math.floor(random() * 4)];
      const before = c;
      const [after, effects] = step(c, { type, code, lateMs: random() * 4000, restored: random() < 0.2 }, { now: NOW + i, random: random() });
      c = after;
      // A closed socket is gone by itself, in the states that have one.
      if (type === "closed" && ["connecting", "live"].includes(before.state)) sockets--;
      for (const effect of effects) sockets += { open: 1, detach: -1, probe: 0, look: 0, renew: 0 }[effect];
      assert.equal(sockets, ["connecting", "live"].includes(c.state) ? 1 : 0, `${before.state} × ${type} → ${c.state}`);
      if (polls(c)) assert.ok(c.state === "waiting" || c.state === "connecting");
    }
  }
});

test("every cell of the table was gone through", () => {
  const cells = Object.entries(TABLE).flatMap(([state, row]) => Object.keys(row).map((type) => `${state} × ${type}`));
  assert.equal(cells.length, 6 * EVENTS.length);
  assert.deepEqual(cells.filter((cell) => !visited.has(cell)), []);
});

// ── what carries events while sockets fail ──

const FALLBACK_EVENTS = ["start", "stop", "frame", "delivered", "closed", "deadline", "wake", "leave"];
/** @type {Set<string>} */
const fallen = new Set();
const fall = (f, event, random = 1, now = NOW) => {
  fallen.add(`${f.state} × ${event.type}`);
  return FALLBACK[f.state][event.type](f, event, { now, random });
};
const during = (state, more = {}) => (state === "off" ? OFF : { state, deadlineAt: NOW + 100, tries: 0, askedAt: NOW - 50, ...more });

const FALLBACK_CELLS = {
  off: { start: "asked stream", stop: "off", frame: "off", delivered: "off", closed: "off", deadline: "off", wake: "off", leave: "off" },
  asked: { start: "asked", stop: "off close rest", frame: "asked", delivered: "streaming pictures", closed: "polling close poll", deadline: "both poll", wake: "asked stream", leave: "polling close poll" },
  both: { start: "both", stop: "off close rest", frame: "both", delivered: "streaming pictures", closed: "polling close poll", deadline: "polling close poll", wake: "both stream", leave: "polling close poll" },
  streaming: { start: "streaming", stop: "off close rest", frame: "streaming", delivered: "streaming", closed: "polling close poll", deadline: "polling close poll", wake: "streaming stream", leave: "polling close poll" },
  polling: { start: "polling", stop: "off close rest", frame: "polling", delivered: "polling", closed: "polling", deadline: "both stream", wake: "both stream", leave: "polling" },
};

test("the fallback's table has every state and every event, and no other", () => {
  assert.deepEqual(Object.keys(FALLBACK), Object.keys(FALLBACK_CELLS));
  for (const row of Object.values(FALLBACK)) assert.deepEqual(Object.keys(row), FALLBACK_EVENTS);
});

for (const [state, row] of Object.entries(FALLBACK_CELLS)) {
  for (const [type, expected] of Object.entries(row)) {
    test(`fallback: ${state} × ${type} → ${expected}`, () => {
      const [after, effects] = fall(Object.freeze(during(state)), { type });
      assert.equal([after.state, ...effects].join(" "), expected);
      assert.equal(Number.isFinite(after.deadlineAt), after.state !== "off", "whoever waits has a deadline");
      assert.equal(after.state === "off", after === OFF);
    });
  }
}

test("a stream that delivers nothing is not waited for: polling starts after 3 s, and ends with its first delivery", () => {
  const [asked] = fall(OFF, { type: "start" });
  assert.equal(asked.deadlineAt, NOW + 3000);
  const [both, polling] = fall(asked, { type: "deadline" });
  assert.deepEqual([both.deadlineAt, polling], [NOW + 35_000, ["poll"]]);
  assert.deepEqual(fall(both, { type: "frame" })[0], both, "an open stream is not a delivery");
  assert.deepEqual(fall(both, { type: "delivered" })[1], ["pictures"]);
});

test("35 s of silence end a stream; anything that arrives moves the deadline", () => {
  const [f] = fall(during("streaming"), { type: "frame" });
  assert.equal(f.deadlineAt, NOW + 35_000);
  assert.equal(fall(f, { type: "deadline" })[0].state, "polling");
});

test("streams that fail are asked for at growing intervals, until one lasts; an edge may say when", () => {
  let f = fall(OFF, { type: "start" })[0];
  const waits = [];
  for (let i = 0; i < 7; i++) {
    f = fall(f, { type: "delivered" })[0]; // a proxy that cuts each stream after its first bytes
    f = fall(f, { type: "closed" })[0];
    waits.push((f.deadlineAt - NOW) / 1000);
    f = fall(f, { type: "deadline" })[0];
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30]);
  f = fall(f, { type: "delivered" })[0];
  f = fall(f, { type: "frame" }, 1, NOW + 10_000)[0];
  assert.equal(fall(f, { type: "closed" })[0].deadlineAt, NOW + 1000, "it has lasted");
  assert.equal(fall(f, { type: "closed", retryAfterMs: 250 })[0].deadlineAt, NOW + 250);
});

test("a page that is in use again asks for a new stream, and gives it 5 s", () => {
  const [f, effects] = fall(during("streaming", { deadlineAt: NOW + 30_000 }), { type: "wake" });
  assert.deepEqual([f.state, f.deadlineAt, effects], ["streaming", NOW + 5000, ["stream"]]);
});

test("any walk through the fallback keeps its promises: no stream unknown to it, and one way to get what is new", () => {
  let seed = 11;
  const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
  for (let walk = 0; walk < 200; walk++) {
    let f = OFF;
    let stream = false;
    let polled = "rest";
    for (let i = 0; i < 60; i++) {
      const type = FALLBACK_EVENTS[Math.floor(random() * FALLBACK_EVENTS.length)];
      if (["frame", "delivered", "closed"].includes(type) && !stream) continue; // it comes from a stream
      if (type === "closed") stream = false;
      const [after, effects] = fall(f, { type }, random(), NOW + i * 1000);
      f = after;
      for (const effect of effects) {
        if (effect === "stream" || effect === "close") stream = effect === "stream";
        else polled = effect;
      }
      assert.equal(stream, ["asked", "both", "streaming"].includes(f.state), `${type} → ${f.state}`);
      if (f.state === "off") assert.equal(polled, "rest");
      if (f.state === "streaming") assert.equal(polled, "pictures", "events come by the stream alone");
      if (f.state === "polling" || f.state === "both") assert.equal(polled, "poll");
    }
  }
});

test("every cell of the fallback's table was gone through", () => {
  assert.equal(fallen.size, 5 * FALLBACK_EVENTS.length);
});
