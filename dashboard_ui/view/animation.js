/** Makes an animation of a run's pictures, in the browser: each picture drawn on a canvas, and encoded there. */

import { h } from "./dom.js";
import { animatedGif, still } from "./gif.js";
import { MAX_PICTURES, MAX_WIDTH } from "./stretch.js";
import { animated, durations } from "./webp.js";

const QUALITY = 0.75;
const WEBP = "image/webp";

/**
 * @param {import("./stretch.js").Form} form
 * @param {Array<{number: number, at: number}>} list
 * @param {{begin: number, end: number}} times as for `durations`
 * @param {object} how
 * @param {(number: number) => string} how.url the address of a picture
 * @param {(done: number) => void} how.onProgress
 * @returns {Promise<Blob>}
 * @throws {Error} in words for the reader
 */
export async function animation(form, list, times, { url, onProgress }) {
  if (!list.length) throw new Error("There are no pictures in this stretch.");
  if (list.length > MAX_PICTURES)
    throw new Error(`${list.length} pictures are more than the ${MAX_PICTURES} that a page puts together: choose a shorter stretch.`);
  const canvas = h("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: form === "gif" });
  if (!context) throw new Error("This browser cannot draw.");
  const shown = durations(list, times);
  /** @type {Array<{content: Uint8Array, ms: number}>} */
  const stills = [];
  for (const [index, { number }] of list.entries()) {
    const picture = await loaded(url(number));
    if (!picture) {
      const before = stills.at(-1);
      if (before) before.ms += shown[index]; // the one before is shown for longer
      continue;
    }
    if (!stills.length) fit(canvas, picture, MAX_WIDTH[form]);
    draw(context, picture);
    stills.push({ content: await ENCODED[form](context), ms: shown[index] });
    onProgress(index + 1);
  }
  if (!stills.length) throw new Error("None of the pictures could be loaded.");
  const { width, height } = canvas;
  const parts =
    form === "gif"
      ? animatedGif(stills.map(({ content, ms }) => ({ gif: content, ms })), width, height)
      : [animated(stills.map(({ content, ms }) => ({ webp: content, ms })), width, height)];
  return new Blob(/** @type {BlobPart[]} */ (parts), { type: `image/${form}` });
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

/** @param {HTMLCanvasElement} canvas @param {HTMLImageElement} picture @param {number} most */
function fit(canvas, { naturalWidth, naturalHeight }, most) {
  const share = Math.min(1, most / naturalWidth);
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

/** What is drawn, as a still. @type {Record<import("./stretch.js").Form, (context: CanvasRenderingContext2D) => Promise<Uint8Array>>} */
const ENCODED = {
  async webp({ canvas }) {
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, WEBP, QUALITY));
    if (blob?.type !== WEBP) throw new Error("This browser makes no WebP. Take the GIF, or `testcast export --webp`.");
    return new Uint8Array(await blob.arrayBuffer());
  },
  async gif(context) {
    const { width, height } = context.canvas;
    return still(context.getImageData(0, 0, width, height).data, width, height);
  },
};
