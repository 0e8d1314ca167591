// The moments of a run, which of them is shown, the marks, the thumbnails, and the order in which pictures are loaded.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { fold, blank } from "../../../dashboard_ui/client/fold.js";
import { Marks, markOf } from "../../../dashboard_ui/view/recorder/marks.js";
import { MAX_GAP_MS, Moments, firstOf, lengthOf } from "../../../dashboard_ui/view/recorder/moments.js";
import { Past } from "../../../dashboard_ui/view/recorder/past.js";
import { Playhead } from "../../../dashboard_ui/view/recorder/playhead.js";
import { slotsOf } from "../../../dashboard_ui/view/recorder/thumbnails.js";
import { Wishes } from "../../../dashboard_ui/view/recorder/wishes.js";

const T0 = 1_800_000_000_000;
const event = (seq, at, more) => ({ testId: "x", seq, type: "progress", message: `m${seq}`, timestamp: T0 + at, ...more });
const frame = (number, seq, at) => ({ number, seq, at: at === null ? 0 : T0 + at });
const random = (seed) => () => ((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31);
const brief = ({ list }) => list.map(({ seq, number, frame: seen }) => [seq, number, seen?.number ?? 0]);

function momentsOf(events, frames) {
  const moments = new Moments();
  moments.update(events, frames, 0);
  return moments;
}

describe("moments", () => {
  test("each event and each picture is one, and the first picture of an event is the event's", () => {
    const events = [event(10, 0), event(12, 2000), event(15, 3000)];
    const frames = [frame(100, 10, 100), frame(101, 10, 600), frame(102, 12, 2400), frame(103, 12, 2900)];
    const moments = momentsOf(events, frames);
    assert.deepEqual(brief(moments), [[10, 0, 100], [10, 101, 101], [12, 0, 102], [12, 103, 103], [15, 0, 103]]);
    assert.deepEqual(moments.list.map(({ at }) => at), [0, 600, 2000, 2900, 3000]);
    assert.deepEqual(moments.list.map((each) => each.event), [0, 0, 1, 1, 2]);
    assert.equal(moments.total, 3000);
  });

  test("a picture long after its event is a moment of its own", () => {
    assert.deepEqual(brief(momentsOf([event(1, 0)], [frame(7, 1, 5000)])), [[1, 0, 0], [1, 7, 7]]);
  });

  test("a picture without an event is placed by its time, one without a time goes with the picture before it", () => {
    const events = [event(1, 0), event(2, 1000), event(3, 2000)];
    assert.deepEqual(brief(momentsOf(events, [frame(5, 0, 1500), frame(6, 0, 9000)])), [[1, 0, 0], [2, 0, 0], [2, 5, 5], [3, 0, 5], [3, 6, 6]]);
    assert.deepEqual(brief(momentsOf(events, [frame(8, 2, 1100), frame(9, 0, null)])), [[1, 0, 0], [2, 0, 8], [2, 9, 9], [3, 0, 9]]);
    assert.deepEqual(brief(momentsOf(events, [frame(9, 0, null)])), [[1, 0, 0], [1, 9, 9], [2, 0, 9], [3, 0, 9]]);
    assert.deepEqual(brief(momentsOf(events, [frame(9, 0, -500)]))[1], [1, 9, 9], "before the first event: with it");
    assert.deepEqual(brief(momentsOf([], [frame(9, 0, 0), frame(10, 4, 0)])), [[0, 9, 9], [4, 10, 10]]);
  });

  for (const [name, at] of [["far in the future", 9e12], ["far in the past", -T0 + 1]])
    test(`a picture whose time is ${name} goes with the one before it, and hides no other`, () => {
      const events = [event(1, 0), event(2, 1000), event(3, 2000), event(4, 3000)];
      const frames = [frame(5, 0, 200), frame(6, 0, 1200), frame(7, 0, at), frame(8, 0, 2200), frame(9, 0, at)];
      const moments = momentsOf(events, frames);
      assert.deepEqual(brief(moments), [[1, 0, 0], [1, 5, 5], [2, 0, 5], [2, 6, 6], [2, 7, 7], [3, 0, 7], [3, 8, 8], [3, 9, 9], [4, 0, 9]]);
      assert.deepEqual(moments.list.map((each) => each.at), [0, 200, 1000, 1200, 1200, 2000, 2200, 2200, 3000]);
      frames.push(frame(10, 0, 3100));
      moments.update(events, frames, 0);
      assert.equal(moments.list.at(-1).frame.number, 10);
    });

  test("while pictures have wrong times, an event costs no more than others", () => {
    for (const at of [() => 9e12, () => -T0 + 1, () => null, (n) => n * 100 + 50_000]) {
      const [events, frames] = [[event(1, 0)], [frame(1, 0, 10)]];
      const moments = momentsOf(events, frames);
      let taken = 0;
      for (const name of ["takeEvent", "takeFrame"]) {
        const take = moments[name].bind(moments);
        moments[name] = (each) => (taken++, take(each));
      }
      for (let n = 1; n <= 1000; n++) {
        events.push(event(n + 1, n * 100));
        if (n % 10 === 0) frames.push(frame(n + 1, 0, n % 100 ? n * 100 + 5 : at(n)));
        moments.update(events, frames, 0);
      }
      assert.ok(taken < 20_000, `${taken} moments were made for 1,100`);
      assert.deepEqual(moments.list, momentsOf(events, frames).list);
    }
  });

  test("a picture that comes after later events costs no pass over the run", () => {
    const events = Array.from({ length: 5000 }, (_, n) => event(n + 1, n * 100));
    const frames = [frame(1, 4000, 400_000)];
    const moments = momentsOf(events, frames);
    let taken = 0;
    const take = moments.takeEvent.bind(moments);
    moments.takeEvent = (each) => (taken++, take(each));
    frames.push(frame(2, 4997, 499_700));
    moments.update(events, frames, 0);
    assert.equal(taken, 3);
    assert.deepEqual(moments.list, momentsOf(events, frames).list);
  });

  test("a picture whose event is not here yet waits at the end, and the event takes its place before it", () => {
    const moments = new Moments();
    const events = [event(1, 0)];
    moments.update(events, [frame(4, 2, 900)], 0);
    assert.deepEqual(brief(moments), [[1, 0, 0], [2, 4, 4]]);
    events.push(event(2, 800));
    moments.update(events, [frame(4, 2, 900)], 0);
    assert.deepEqual(brief(moments), [[1, 0, 0], [2, 0, 4]]);
    assert.equal(moments.find({ seq: 2, number: 4 }), 1, "its address still leads there");
  });

  test("a claimed event that does not exist, and numbers out of order", () => {
    const events = [event(1, 0), event(2, 500)];
    assert.deepEqual(brief(momentsOf(events, [frame(3, 2 ** 53 - 1, 100), frame(4, 1, 200), frame(5, 2, 700)])), [[1, 0, 4], [2, 0, 5], [2 ** 53 - 1, 3, 3]]);
  });

  test("a run whose early events have gone begins with its pictures", () => {
    const moments = momentsOf([event(50, 9000)], [frame(1, 20, 1000), frame(2, 50, 9100)]);
    assert.deepEqual(brief(moments), [[20, 1, 1], [50, 0, 2]]);
    assert.equal(moments.list[0].event, -1);
  });

  for (const [name, times, expected] of [
    ["a long gap is shortened", [0, 1000, 3_600_000, 3_601_000], [0, 1000, 1000 + MAX_GAP_MS, 2000 + MAX_GAP_MS]],
    ["a clock that is set back", [0, 5000, 2000, 3000], [0, 5000, 5000, 6000]],
    ["one time of the year 9999", [0, 1000, 2 ** 52, 2000, 3000], [0, 1000, 1000 + MAX_GAP_MS, 1000 + MAX_GAP_MS, 2000 + MAX_GAP_MS]],
    ["one time of 1970", [0, 1000, -T0, 2000], [0, 1000, 1000, 1000 + MAX_GAP_MS]],
  ]) test(name, () => assert.deepEqual(momentsOf(times.map((at, i) => event(i + 1, at)), []).list.map(({ at }) => at), expected));

  test("the wait in the queue takes a second at most", () => {
    const queued = event(1, 0, { type: "status", status: "queued" });
    const moments = momentsOf([queued, event(2, 8000, { type: "status", status: "running" }), event(3, 9000)], []);
    assert.deepEqual(moments.list.map(({ at }) => at), [0, 1000, 2000]);
    assert.deepEqual(moments.list.map((each) => moments.elapsed(each, 60_000)), [0, 0, 1000]);
    assert.equal(moments.elapsed(moments.list[2], 700), 700, "never more than the run took");
  });

  test("found by address, by position", () => {
    const moments = momentsOf([event(10, 0), event(12, 2000), event(15, 3000)], [frame(100, 10, 600), frame(101, 10, 1100)]);
    assert.deepEqual(brief(moments), [[10, 0, 100], [10, 101, 101], [12, 0, 101], [15, 0, 101]]);
    for (const [seq, number, index] of [[10, 0, 0], [10, 100, 0], [10, 101, 1], [11, 0, 1], [12, 0, 2], [9, 0, 0], [99, 0, 3], [99, 101, 1]])
      assert.equal(moments.find({ seq, number }), index, `${seq}@${number}`);
    for (const [at, before, nearest] of [[-5, 0, 0], [0, 0, 0], [500, 0, 0], [600, 0, 1], [1100, 1, 1], [1600, 1, 2], [2999, 2, 3], [1e9, 3, 3]]) {
      assert.equal(moments.before(at), before, `before ${at}`);
      assert.equal(moments.nearest(at), nearest, `nearest to ${at}`);
    }
    assert.deepEqual([9, 10, 12, 15].map((seq) => moments.newerThan(seq)), [3, 2, 1, 0]);
  });

  test("in whatever parts a run arrives, its moments are the same", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const rand = random(seed);
      const events = [];
      const frames = [];
      let [seq, number, at] = [0, 0, 0];
      for (let n = 0; n < 30; n++) {
        at += Math.floor(rand() * 900) - 100;
        if (rand() < 0.02) at += 61_000; // a long pause
        if (rand() < 0.5) events.push(event((seq += 1 + Math.floor(rand() * 3)), at));
        else frames.push(frame((number += 1 + Math.floor(rand() * 3)), rand() < 0.3 ? 0 : Math.max(0, seq - Math.floor(rand() * 2)), rand() < 0.1 ? null : rand() < 0.1 ? [9e12, -T0 + 1, at + 61_000, at - 61_000][Math.floor(rand() * 4)] : at));
      }
      const whole = momentsOf(events, frames);
      const parts = new Moments();
      const [someEvents, someFrames] = [[], []];
      const hidden = frames.splice(0, Math.floor(rand() * 4)); // earlier pictures come last
      const [restEvents, restFrames] = [[...events], [...frames]];
      while (restEvents.length || restFrames.length) {
        someEvents.push(...restEvents.splice(0, Math.floor(rand() * 4)));
        someFrames.push(...restFrames.splice(0, Math.floor(rand() * 3)));
        parts.update(someEvents, someFrames, 0);
      }
      parts.update(someEvents, [...hidden, ...someFrames], 0);
      assert.deepEqual(brief(parts), brief(whole), `seed ${seed}`);
      assert.deepEqual(parts.list, whole.list, `seed ${seed}`);
      for (const [i, moment] of whole.list.entries()) assert.equal(parts.find(moment), i, `seed ${seed}`);
      for (const info of [...hidden, ...frames]) assert.equal(whole.list[whole.ofFrame.get(info.number)].frame, info, `seed ${seed}`);
      for (let i = 1; i < whole.length; i++) assert.ok(whole.list[i].at >= whole.list[i - 1].at);
    }
  });

  test("20,000 events and 1,500 pictures are taken in a moment, and one more at once", () => {
    const events = Array.from({ length: 20_000 }, (_, n) => event(n + 1, n * 40));
    const frames = Array.from({ length: 1500 }, (_, n) => frame(n + 1, 0, n * 530));
    const moments = momentsOf(events, frames);
    assert.equal(moments.length, 21_500);
    events.push(event(30_000, 900_000));
    assert.equal(moments.update(events, frames, 0), true);
    assert.equal(moments.update(events, frames, 0), false);
    assert.equal(moments.length, 21_501);
  });

  test("first of", () => {
    for (let length = 0; length < 9; length++)
      for (let first = 0; first <= length; first++)
        assert.equal(firstOf(Array.from({ length }, (_, i) => i), (i) => i >= first), first);
  });

  test("the length of a run", () => {
    const run = { ...blank("x", 5), startedAt: 1000 };
    assert.equal(lengthOf(blank("x", 5), 9000), 0);
    assert.equal(lengthOf(run, 9000), 8000);
    assert.equal(lengthOf({ ...run, finishedAt: 4000 }, 9000), 3000);
    assert.equal(lengthOf({ ...run, status: "failed", updatedAt: 2000 }, 9000), 1000);
    const told = momentsOf([event(1, 0, { type: "status", status: "queued" }), event(2, 5000), event(3, 9000)], []);
    assert.equal(told.duration({ ...run, finishedAt: 1001 }, 9000), 4000, "told at once, after it has ended");
    assert.equal(told.duration({ ...run, finishedAt: 8000 }, 9000), 7000);
    assert.equal(momentsOf([], []).duration(null, 9000), 0);
  });
});

test("the snapshot at any event is the fold up to it, in whatever order one looks", () => {
  const rand = random(5);
  const events = Array.from({ length: 1234 }, (_, n) => event(n + 1, n, n % 100 ? {} : { type: "status", status: "running", phase: `phase${1 + (n % 4)}` }));
  const all = [];
  let snapshot = blank("x", 0);
  for (const each of events) all.push((snapshot = fold(snapshot, each)));
  const past = new Past("x");
  assert.deepEqual(past.at(events, -1), blank("x", 0));
  for (let n = 0; n < 500; n++) {
    const index = Math.floor(rand() * events.length);
    assert.deepEqual(past.at(events, index), all[index], String(index));
    assert.equal(past.at(events, index), past.at(events, index));
    if (rand() < 0.5 && index + 1 < events.length) assert.deepEqual(past.at(events, index + 1), all[index + 1]);
  }
});

function headOf(events, frames = [], more = {}) {
  const head = new Playhead("x");
  const run = { epoch: "e", snapshot: { ...blank("x", T0), status: "running", message: "newest" }, feed: { log: events, generation: 0 }, ...more };
  head.update(run, frames);
  return { head, run };
}

describe("the shown moment", () => {
  const events = () => [event(1, 0, { type: "status", status: "running", phase: "phase1" }), event(2, 1000), event(3, 2000, { data: { kind: "console" } }), event(4, 3000)];
  const at = (head) => (head.live ? "live" : `${head.shown.moment.seq}@${head.shown.moment.number}`);

  test("is now, and stays there", () => {
    const { head, run } = headOf(events(), [frame(9, 4, 3100)]);
    assert.equal(at(head), "live");
    assert.deepEqual([head.shown.snapshot.message, head.shown.moment.frame.number, head.shown.fresh], ["newest", 9, 0]);
    run.feed.log.push(event(5, 4000));
    head.update(run, [frame(9, 4, 3100), frame(10, 5, 4100)]);
    assert.deepEqual([at(head), head.shown.moment.seq, head.shown.moment.frame.number], ["live", 5, 10]);
    head.step(1, 0);
    assert.equal(at(head), "live");
  });

  test("now is that of the newest event here: an edge's list is ahead of the progress that it holds back", () => {
    const { head, run } = headOf(events());
    run.snapshot = { ...run.snapshot, seq: 9, message: "newest", phase: "phase3", title: "Star", stalled: true };
    head.update(run, []);
    const { message, phase, title, seq } = head.shown.snapshot;
    assert.deepEqual([message, phase, title, seq], ["m4", "phase1", "Star", 9]);
    run.feed.log.push(event(9, 4000, { phase: "phase3", message: "newest" }));
    head.update(run, []);
    assert.deepEqual([head.shown.snapshot.message, head.shown.snapshot.phase], ["newest", "phase3"]);
    run.snapshot = { ...run.snapshot, seq: 12, status: "completed", message: "done", score: 78 };
    head.update(run, []);
    assert.deepEqual([head.shown.snapshot.message, head.shown.snapshot.score], ["done", 78], "an end is not held back");
    assert.equal(headOf([event(50, 0)], [], { snapshot: { ...blank("x", T0), seq: 60, phase: "phase2", message: "b" } }).head.shown.snapshot.phase, "phase2", "its early events have gone");
  });

  test("steps by moments, and past the last is live", () => {
    const { head } = headOf(events(), [frame(9, 2, 1200), frame(10, 2, 1700)]);
    const steps = [];
    for (const by of [-1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1]) {
      head.step(by, 0);
      steps.push(at(head));
    }
    assert.deepEqual(steps, ["3@0", "2@10", "2@0", "1@0", "1@0", "1@0", "2@0", "2@10", "3@0", "4@0", "live", "live"]);
  });

  test("is the run as it was: phase, message and score", () => {
    const { head } = headOf([...events(), event(5, 4000, { type: "complete", phase: "phase4", data: { score: 78 } })]);
    head.seek({ seq: 5, number: 0 }, 0);
    assert.deepEqual([head.shown.snapshot.score, head.shown.snapshot.phase], [78, "phase4"]);
    head.step(-1, 0);
    assert.deepEqual([head.shown.snapshot.score, head.shown.snapshot.phase, head.shown.snapshot.message], [undefined, "phase1", "m4"]);
  });

  test("counts what comes while it is away, events and not pictures", () => {
    const { head, run } = headOf(events());
    head.goTo(1, 0);
    assert.equal(head.shown.fresh, 0);
    for (let seq = 5; seq < 17; seq++) run.feed.log.push(event(seq, seq * 1000));
    head.update(run, [frame(3, 16, 16_500)]);
    assert.deepEqual([at(head), head.shown.fresh], ["2@0", 12]);
    head.step(1, 0);
    assert.equal(head.shown.fresh, 12);
    head.goLive();
    assert.equal(head.shown.fresh, 0);
    head.step(-1, 0);
    assert.equal(head.shown.fresh, 0);
  });

  test("stays the same when earlier pictures and held events come", () => {
    const { head, run } = headOf(events(), [frame(20, 3, 2600)]);
    head.goTo(2, 0);
    assert.equal(at(head), "3@0");
    head.update(run, [frame(1, 1, 200), frame(2, 1, 700), frame(20, 3, 2600)]);
    assert.deepEqual([at(head), head.shown.index], ["3@0", 3]);
  });

  test("goes by problems", () => {
    const log = [1, 2, 3, 4, 5].map((seq) => event(seq, seq * 1000, seq % 2 ? {} : { data: { kind: "console" } }));
    const { head } = headOf(log, [frame(9, 4, 4700), frame(10, 4, 4900)]);
    const problems = [2, 4];
    const seen = [];
    for (const way of [1, -1, -1, -1, 1, 1]) {
      head.stepTo(problems, way, 0);
      seen.push(at(head));
    }
    assert.deepEqual(seen, ["live", "4@0", "2@0", "2@0", "4@0", "4@0"]);
    head.seek({ seq: 4, number: 10 }, 0);
    head.stepTo(problems, -1, 0);
    assert.equal(at(head), "4@0", "of a later picture of the problem: to the problem");
    head.stepTo([], 1, 0);
    assert.equal(at(head), "4@0");
  });

  test("plays at its speed, from the start if it was live, until it has caught up", () => {
    const { head } = headOf(events());
    head.play(10_000);
    assert.deepEqual([at(head), head.shown.playing], ["1@0", true]);
    assert.equal(head.tick(10_900), false);
    assert.equal(head.tick(11_000), true);
    assert.equal(at(head), "2@0");
    head.setSpeed(4, 11_000);
    assert.equal(head.tick(11_100), false);
    assert.equal(head.tick(11_260), true);
    assert.equal(at(head), "3@0");
    head.goTo(0, 11_300);
    assert.deepEqual([at(head), head.tick(11_310), head.shown.playing], ["1@0", false, true], "it plays on from there");
    head.toggle(11_320);
    assert.equal(head.tick(60_000), false);
    assert.deepEqual([at(head), head.shown.playing], ["1@0", false]);
    head.toggle(60_000);
    assert.equal(head.tick(60_750), true);
    assert.deepEqual([at(head), head.shown.playing], ["live", false]);
    assert.equal(head.tick(70_000), false);
  });

  test("plays past moments of one time together, and never backwards", () => {
    const { head } = headOf([event(1, 0), event(2, 1000), event(3, 1000), event(4, 1000), event(5, 5000)]);
    head.goTo(2, 0);
    head.play(0);
    assert.equal(head.tick(1), true);
    assert.equal(at(head), "4@0");
    assert.equal(head.tick(2), false);
  });

  test("does nothing without moments", () => {
    const { head } = headOf([]);
    for (const act of [() => head.step(-1, 0), () => head.goTo(3, 0), () => head.play(0), () => head.stepTo([1], -1, 0)]) act();
    assert.deepEqual([head.shown.index, head.shown.moment, at(head), head.tick(9)], [-1, null, "live", false]);
    head.seek({ seq: 7, number: 0 }, 0); // an address that the page was opened with
    assert.deepEqual([head.shown.index, head.shown.live], [-1, false]);
  });

  test("a feed that starts again keeps the moment, and another epoch is live", () => {
    const { head, run } = headOf(events());
    head.goTo(2, 0);
    run.feed = { log: [], generation: 1 };
    head.update(run, []);
    assert.equal(head.shown.moment, null);
    run.feed.log.push(...events().slice(1));
    head.update(run, []);
    assert.equal(at(head), "3@0");
    run.feed = { log: [event(1, 0)], generation: 2 };
    run.epoch = "f";
    head.update(run, []);
    assert.equal(at(head), "live");
  });

  test("whatever is done, there is one moment, in its range, with the picture and the event of that place", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const rand = random(seed);
      const log = [];
      const frames = [];
      const { head, run } = headOf(log, frames);
      let now = 0;
      for (let n = 1; n <= 60; n++) {
        now += Math.floor(rand() * 700);
        const act = Math.floor(rand() * 9);
        if (act === 0) head.step(Math.floor(rand() * 7) - 3, now);
        else if (act === 1) head.goTo(Math.floor(rand() * 40) - 5, now);
        else if (act === 2) head.toggle(now);
        else if (act === 3) head.setSpeed([1, 2, 4, 8][n % 4], now);
        else if (act === 4 && rand() < 0.4) head.goLive();
        else if (act === 5) frames.push(frame(n, log.at(-1)?.seq ?? 0, n * 300));
        else log.push(event(n, n * 300, rand() < 0.2 ? { data: { kind: "console" } } : {}));
        head.update(run, [...frames]);
        const before = head.shown;
        const changed = head.tick(now);
        const { index, moment, live, fresh, snapshot } = head.shown;
        assert.equal(changed, before.index !== index || before.live !== live);
        assert.ok(index >= before.index || live, "playing goes forward");
        assert.equal(index < 0, head.moments.length === 0);
        if (live) assert.deepEqual([index, fresh, snapshot], [head.moments.length - 1, 0, run.snapshot]);
        else if (moment) {
          assert.equal(snapshot.seq, moment.event < 0 ? 0 : log[moment.event].seq);
          assert.ok(moment.frame === null || moment.number === 0 || moment.frame.number === moment.number);
          assert.ok(fresh >= 0 && fresh <= log.length);
        }
      }
    }
  });
});

describe("marks", () => {
  for (const [name, more, kind] of [
    ["a console error", { data: { kind: "console" } }, "problem"],
    ["an error", { type: "error" }, "error"],
    ["the end of a failed run", { type: "error", status: "failed" }, "error"],
    ["the agent's words", { message: "Game over after 28 s; trying to start again" }, "over"],
    ["a field", { data: { gameOver: true } }, "over"],
    ["a cancelled run", { type: "error", status: "failed", data: { code: "cancelled" } }, null],
    ["the words elsewhere", { message: "No game over yet" }, null],
    ["a step", {}, null],
    ["odd data", { data: "gameOver" }, null],
  ]) test(name, () => assert.equal(markOf(event(1, 0, more)), kind));

  test("one for each place, the gravest; and phases", () => {
    const marks = new Marks();
    const log = [event(1, 0, { phase: "phase1" }), event(2, 10, { data: { kind: "console" } }), event(3, 11, { type: "error" }), event(4, 12, { data: { gameOver: true } }), event(5, 900, { data: { gameOver: true }, phase: "phase2" })];
    marks.update({ log, generation: 0 });
    assert.deepEqual(marks.drawn((seq) => (seq === 5 ? 0.9 : 0.1), 10), [{ kind: "error", place: 0.1, seq: 3 }, { kind: "over", place: 0.9, seq: 5 }]);
    assert.deepEqual(marks.seqs, { problems: [2, 3], overs: [4, 5] });
    assert.deepEqual(marks.line.spans.map(({ phase, seq }) => [phase, seq]), [[1, 1], [2, 5]]);
    marks.update({ log: [], generation: 1 });
    assert.deepEqual(marks.list, []);
  });
});

describe("thumbnails", () => {
  test("as many as fit, each with the picture at its start", () => {
    const events = [event(1, 0)];
    const frames = Array.from({ length: 40 }, (_, n) => frame(n + 1, 0, 500 * (n + 1)));
    const slots = slotsOf(momentsOf(events, frames), 8);
    assert.deepEqual(slots.map(({ from }) => from), [0, 3000, 6000, 9000, 12_000, 15_000, 18_000]);
    assert.deepEqual(slots.map(({ number }) => number), [1, 6, 12, 18, 24, 30, 36]);
    assert.equal(slots.at(-1).to, 20_000);
    assert.deepEqual(slotsOf(momentsOf(events, frames), 0), []);
    assert.deepEqual(slotsOf(momentsOf([], []), 8), []);
    assert.deepEqual(slotsOf(momentsOf(events, []), 8), [{ from: 0, to: 0, number: 0 }]);
  });

  test("a part keeps its picture while the run goes on, and few pictures are asked for", () => {
    const frames = [];
    const asked = new Set();
    let before = [];
    for (let n = 1; n <= 400; n++) {
      frames.push(frame(n, 0, n * 500));
      const slots = slotsOf(momentsOf([event(1, 0)], frames), 12);
      assert.ok(slots.length <= 12 && slots.length >= Math.min(n, n < 30 ? 6 : 8));
      for (const { from, number } of before) {
        const same = slots.find((slot) => slot.from === from);
        if (same && from > 0) assert.equal(same.number, number);
      }
      for (const { number } of slots) asked.add(number);
      before = slots;
    }
    assert.ok(asked.size < 80, `${asked.size} pictures of 400`);
  });

  test("a part before the first picture has none", () => {
    const slots = slotsOf(momentsOf([event(1, 0), event(2, 3000), event(3, 4000)], [frame(5, 2, 3100)]), 4);
    assert.deepEqual(slots.map(({ number }) => number), [0, 0, 5, 5].slice(0, slots.length));
  });
});

describe("which picture is loaded and shown", () => {
  const made = () => {
    const here = new Set();
    const wishes = new Wishes((number) => here.has(number));
    const arrive = (number) => (here.add(number), wishes.arrived(number));
    return { wishes, here, arrive };
  };

  test("the newest wish is next, two at a time, and a late one is not shown", () => {
    const { wishes, arrive } = made();
    wishes.wish(1);
    assert.equal(wishes.next(), 1);
    assert.equal(wishes.next(), 0);
    wishes.wish(2);
    assert.equal(wishes.next(), 2);
    wishes.wish(3);
    assert.equal(wishes.next(), 0, "two are on their way");
    wishes.wish(4);
    assert.equal(arrive(2), false, "late");
    assert.equal(wishes.next(), 4, "3 is not wanted any more");
    assert.equal(arrive(1), false);
    assert.equal(wishes.shown, 0);
    assert.equal(arrive(4), true);
    assert.equal(wishes.shown, 4);
    wishes.wish(2);
    assert.equal(wishes.shown, 2, "it is here");
  });

  test("forward, a picture on the way is shown, and never one behind", () => {
    const { wishes, arrive } = made();
    for (const number of [5, 6]) {
      wishes.wish(number, { forward: true });
      wishes.next();
    }
    wishes.wish(7, { forward: true });
    assert.equal(arrive(6), true);
    assert.equal(arrive(5), false);
    assert.equal(wishes.next(), 7);
    assert.equal(arrive(7), true);
  });

  test("neighbours come after the wish, and a failure is not repeated by itself", () => {
    const { wishes, arrive } = made();
    wishes.wish(5, { neighbours: [6, 4, 7] });
    assert.deepEqual([wishes.next(), wishes.next()], [5, 0]);
    arrive(5);
    assert.deepEqual([wishes.next(), wishes.next(), wishes.next()], [6, 4, 0]);
    wishes.missed(6);
    assert.equal(wishes.next(), 7);
    wishes.missed(4);
    wishes.missed(7);
    assert.equal(wishes.next(), 0);
    wishes.wish(6);
    assert.equal(wishes.next(), 6, "a wish tries again");
    wishes.missed(6);
    wishes.wish(6);
    assert.equal(wishes.next(), 0);
    wishes.retry();
    assert.equal(wishes.next(), 6);
    wishes.wish(0);
    assert.equal(wishes.shown, 0);
  });

  test("in whatever order pictures arrive, the one of the last wish is on the screen, and while one looks back no other", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const rand = random(seed);
      const { wishes, here, arrive } = made();
      const away = [];
      const load = () => {
        for (let next = wishes.next(); next; next = wishes.next()) away.push(next);
        assert.ok(away.length <= 2);
      };
      for (let n = 0; n < 40; n++) {
        const before = wishes.shown;
        if (rand() < 0.5) wishes.wish(1 + Math.floor(rand() * 9), { neighbours: [3, 4] });
        else if (away.length) {
          const [number] = away.splice(Math.floor(rand() * away.length), 1);
          if (rand() < 0.2) wishes.missed(number);
          else assert.equal(arrive(number), number === wishes.wanted);
        }
        assert.ok([0, before, wishes.wanted].includes(wishes.shown));
        load();
      }
      wishes.retry();
      for (load(); away.length; load()) arrive(away.shift());
      assert.equal(wishes.shown, wishes.wanted);
      assert.ok(wishes.wanted === 0 || here.has(wishes.wanted));
    }
  });
});
