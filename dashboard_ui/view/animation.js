/** Makes an animated WebP of a run's pictures, in the browser: each picture drawn on a canvas, and encoded there. */

import { h } from "./dom.js";
import { animated, durations } from "./webp.js";

/** The most pictures of an animation: all of them are in memory until it is whole. */
export const MAX_PICTURES = 600;
/** Pixels. Wider pictures are made smaller. */
const MAX_WIDTH = 960;
const QUALITY = 0.75;
const TYPE = "image/webp";

/**
 * @param {Array<{number: number, at: number}>} list
 * @param {{begin: number, end: number}} times as for `durations`
 * @param {object} how
 * @param {(number: number) => string} how.url the address of a picture
 * @param {(done: number) => void} how.onProgress
 * @returns {Promise<Blob>}
 * @throws {Error} in words for the reader
 */
export async function animation(list, times, { url, onProgress }) {
  if (!list.length) throw new Error("There are no pictures in this stretch.");
  if (list.length > MAX_PICTURES)
    throw new Error(`${list.length} pictures are more than the ${MAX_PICTURES} that a page puts together: choose a shorter stretch.`);
  const canvas = h("canvas");
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser cannot draw.");
  const shown = durations(list, times);
  /** @type {import("./webp.js").Still[]} */
  const stills = [];
  for (const [index, { number }] of list.entries()) {
    const picture = await loaded(url(number));
    if (!picture) {
      const before = stills.at(-1);
      if (before) before.ms += shown[index]; // the one before is shown for longer
      continue;
    }
    if (!stills.length) fit(canvas, picture);
    draw(context, picture);
    stills.push({ webp: await encoded(canvas), ms: shown[index] });
    onProgress(index + 1);
  }
  if (!stills.length) throw new Error("None of the pictures could be loaded.");
  return new Blob([/** @type {BlobPart} */ (animated(stills, canvas.width, canvas.height))], { type: TYPE });
}

/** @param {string} src @returns {Promise<HTMLImageElement|null>} null if there is no such picture any more */
async function loaded(src) {
  const picture = h("img", { src });
  try {
    await picture.decode();
  } catch {
    return null;
  }
  return picture.naturalWidth ? picture : null;
}

/** @param {HTMLCanvasElement} canvas @param {HTMLImageElement} picture */
function fit(canvas, { naturalWidth, naturalHeight }) {
  const share = Math.min(1, MAX_WIDTH / naturalWidth);
  canvas.width = Math.max(1, Math.round(naturalWidth * share));
  canvas.height = Math.max(1, Math.round(naturalHeight * share));
}

/** A picture of another form is centred on black. @param {CanvasRenderingContext2D} context @param {HTMLImageElement} picture */
function draw(context, picture) {
  const { width, height } = context.canvas;
  const share = Math.min(width / picture.naturalWidth, height / picture.naturalHeight);
  const [wide, high] = [picture.naturalWidth * share, picture.naturalHeight * share];
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, (width - wide) / 2, (height - high) / 2, wide, high);
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Uint8Array>} */
async function encoded(canvas) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, TYPE, QUALITY));
  if (blob?.type !== TYPE) throw new Error("This browser makes no WebP. `testcast export --webp` does.");
  return new Uint8Array(await blob.arrayBuffer());
}
