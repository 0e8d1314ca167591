// Animated WebP from still pictures, and which pictures belong to a stretch.

import assert from "node:assert/strict";
import { test } from "node:test";

import { picturesOf } from "../../../dashboard_ui/view/stretch.js";
import { animated, chunks, durations } from "../../../dashboard_ui/view/webp.js";

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const STILL = Uint8Array.from(Buffer.from("52494646110000005745425056503820050000006162636465" + "00", "hex"));
// As tests/unit/test_animation.py has it: the command writes the same bytes.
const ANIMATED =
  "524946464a00000057454250565038580a000000020000000f0000080000414e494d06000000000000000000414e4d461e000000000000000000" +
  "0f0000080000f40100025650382005000000616263646500";

test("the container is the one that the command writes", () => {
  assert.equal(hex(animated([{ webp: STILL, ms: 500 }], 16, 9)), ANIMATED);
});

test("an animation has a frame for each picture", () => {
  const made = animated([1, 2, 3].map((n) => ({ webp: STILL, ms: n * 100 })), 640, 360);
  const names = chunks(made).map(([name]) => name);
  assert.deepEqual(names, ["VP8X", "ANIM", "ANMF", "ANMF", "ANMF"]);
  const times = chunks(made).slice(2).map(([, frame]) => frame[12] | (frame[13] << 8) | (frame[14] << 16));
  assert.deepEqual(times, [100, 200, 300]);
});

test("a picture with alpha is said to have it", () => {
  const still = Uint8Array.from(STILL);
  still[15] = "L".charCodeAt(0);
  assert.equal(chunks(animated([{ webp: still, ms: 1 }], 1, 1))[0][1][0], 0x12);
});

test("what is no still WebP is refused", () => {
  assert.throws(() => animated([], 1, 1));
  for (const webp of [new Uint8Array(), STILL.subarray(0, 20), STILL.subarray(1), STILL.subarray(0, 12)])
    assert.throws(() => animated([{ webp, ms: 1 }], 1, 1));
});

test("times beyond what the format holds are cut", () => {
  const [, , [, frame]] = chunks(animated([{ webp: STILL, ms: 1e9 }], 1, 1));
  assert.deepEqual([...frame.subarray(12, 15)], [255, 255, 255]);
});

const LIST = [1, 2, 3, 4].map((n) => ({ number: n, seq: n * 10, at: n * 1000 }));

test("a stretch has its pictures and the one that was shown when it began", () => {
  const numbers = (from, to) => picturesOf(LIST, { from, to }, { begin: 0, end: 0 }).map(({ number }) => number);
  assert.deepEqual(numbers(20, 30), [1, 2, 3]);
  assert.deepEqual(numbers(25, 26), [2]);
  assert.deepEqual(numbers(0, 10), [1]);
  assert.deepEqual(numbers(35, Infinity), [3, 4]);
});

test("a picture without an event is placed by its time", () => {
  const list = [...LIST, { number: 5, seq: 0, at: 2500 }, { number: 6, seq: 0, at: 9000 }];
  const found = picturesOf(list, { from: 20, to: 30 }, { begin: 2000, end: 3000 });
  assert.deepEqual(found.map(({ number }) => number), [1, 2, 3, 5]);
});

test("each picture is shown as long as it was", () => {
  assert.deepEqual(durations(LIST, { begin: 1500, end: 9000 }), [500, 1000, 1000, 5000]);
  assert.deepEqual(durations([{ at: 5 }, { at: 5 }], { begin: 0, end: 0 }), [20, 1000]);
});
