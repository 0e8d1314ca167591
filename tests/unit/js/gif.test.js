// Animated GIF: its pixels as a decoder reads them, its colours, and how long each picture is shown.

import assert from "node:assert/strict";
import { test } from "node:test";

import { animatedGif, still } from "../../../dashboard_ui/view/gif.js";

const HEAD = 10; // of a still: its place and size; 256 colours follow

/** The pixels of a still, as [red, green, blue]. */
function pixelsOf(gif) {
  const table = gif.subarray(HEAD, HEAD + 768);
  const data = [];
  let at = HEAD + 769;
  for (; gif[at]; at += 1 + gif[at]) data.push(...gif.subarray(at + 1, at + 1 + gif[at]));
  assert.equal(at, gif.length - 1, "the end of the blocks is the end");
  return unpacked(data).map((index) => [...table.subarray(3 * index, 3 * index + 3)]);
}

/** What LZW of 8 bits stands for. */
function unpacked(data) {
  const out = [];
  let [bits, table, before, at] = [9, [], null, 0];
  for (;;) {
    let code = 0;
    for (let bit = 0; bit < bits; bit++, at++) code |= ((data[at >> 3] >> (at & 7)) & 1) << bit;
    if (code === 257) return out;
    if (code === 256) {
      [bits, before] = [9, null];
      table = Array.from({ length: 258 }, (_, each) => [each]);
      continue;
    }
    const known = table[code];
    if (before) table.push([...before, (known ?? before)[0]]);
    assert.ok(table[code], `code ${code} is not known yet`);
    before = table[code];
    for (const each of before) out.push(each);
    if (table.length === 1 << bits && bits < 12) bits++;
  }
}

/** An image of a canvas. */
const drawn = (width, height, colour) =>
  Uint8ClampedArray.from(Array.from({ length: width * height }, (_, pixel) => [...colour(pixel % width, Math.floor(pixel / width)), 255]).flat());

const rgb = (rgba) => Array.from({ length: rgba.length / 4 }, (_, pixel) => [...rgba.subarray(4 * pixel, 4 * pixel + 3)]);

/** Equal pseudo-random numbers each time. */
function random(seed) {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

test("few colours are themselves", () => {
  const flag = drawn(20, 9, (x, y) => (x < 7 ? [200, 30, 30] : y < 4 ? [255, 255, 255] : [0, 0, 8]));
  assert.deepEqual(pixelsOf(still(flag, 20, 9)), rgb(flag));
  const dot = drawn(1, 1, () => [1, 2, 3]);
  assert.deepEqual(pixelsOf(still(dot, 1, 1)), rgb(dot));
});

test("a picture says how large it is", () => {
  assert.deepEqual([...still(drawn(300, 2, () => [0, 0, 0]), 300, 2).subarray(0, HEAD)], [0x2c, 0, 0, 0, 0, 44, 1, 2, 0, 0x87]);
});

for (const [what, size, side] of [
  ["noise fills the table of codes many times", 240, 4],
  ["what repeats makes long codes", 400, 1],
]) test(`${what}, and every pixel comes back`, () => {
  const next = random(7);
  const shades = Array.from({ length: 8 ** 2 }, () => [0, 0, 0].map(() => 8 * Math.floor(32 * next())));
  const noise = drawn(size, size, () => shades[Math.floor(side ** 3 * next())]);
  assert.deepEqual(pixelsOf(still(noise, size, size)), rgb(noise));
});

test("of many colours each is near its own", () => {
  const sky = drawn(256, 64, (x, y) => [x, 4 * y, 255 - x]);
  const found = pixelsOf(still(sky, 256, 64));
  const off = rgb(sky).flatMap((pixel, n) => pixel.map((value, channel) => Math.abs(value - found[n][channel])));
  assert.ok(Math.max(...off.slice(0, 3)) < 40 && off.reduce((sum, each) => sum + each, 0) / off.length < 8, `${Math.max(...off)}`);
});

const times = (...given) =>
  animatedGif(given.map((ms) => ({ gif: new Uint8Array(), ms })), 3, 2).flatMap((part) => (part[1] === 0xf9 ? [part[4] | (part[5] << 8)] : []));

test("what is rounded off a time is added to the next", () => {
  assert.deepEqual(times(500, 333, 333, 334), [50, 33, 34, 33]);
  assert.deepEqual(times(1, 1000), [2, 98]);
});

test("times beyond what the format holds are cut", () => {
  assert.deepEqual(times(1e9, 1000), [65535, 100]);
});

test("an animation repeats for ever, and without a picture there is none", () => {
  const gif = still(drawn(3, 2, () => [9, 9, 9]), 3, 2);
  const made = Buffer.concat(animatedGif([{ gif, ms: 500 }], 3, 2));
  assert.equal(made.subarray(0, 32).toString("latin1"), "GIF89a\x03\0\x02\0\x70\0\0!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0");
  assert.equal(made.at(-1), 0x3b);
  assert.throws(() => animatedGif([], 3, 2));
});
