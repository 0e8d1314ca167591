/**
 * Animated WebP from still WebP pictures: the RIFF container alone, no picture is decoded. Pure.
 *
 * `broker/export/webp.py` does the same for the command.
 */

/** @typedef {{webp: Uint8Array, ms: number}} Still a picture, and how long it is shown */

const MAX_MS = 2 ** 24 - 1;
const ANIMATION = 0x02;
const ALPHA = 0x10;
/** Each picture replaces the one before. */
const NO_BLEND = 0x02;
const PICTURES = new Set(["ALPH", "VP8 ", "VP8L"]);
/** The last picture is shown at least so long. */
const LAST_MS = 1000;
const SHORTEST_MS = 20;

/**
 * @param {Still[]} stills all of this width and height
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} an animation that repeats for ever
 * @throws {Error} there is no picture, or one is no still WebP
 */
export function animated(stills, width, height) {
  if (!stills.length) throw new Error("An animation needs at least one picture.");
  let alpha = false;
  const frames = stills.map(({ webp, ms }) => {
    const parts = chunks(webp).filter(([name]) => PICTURES.has(name));
    if (!parts.length) throw new Error("A picture is no still WebP.");
    alpha ||= parts[0][0] !== "VP8 ";
    const time = Math.min(Math.max(Math.round(ms), 0), MAX_MS);
    const head = [...u24(0), ...u24(0), ...u24(width - 1), ...u24(height - 1), ...u24(time), NO_BLEND];
    return chunk("ANMF", Uint8Array.from(head), ...parts.map(([name, content]) => chunk(name, content)));
  });
  const flags = [ANIMATION | (alpha ? ALPHA : 0), 0, 0, 0];
  const size = chunk("VP8X", Uint8Array.from([...flags, ...u24(width - 1), ...u24(height - 1)]));
  return chunk("RIFF", ascii("WEBP"), size, chunk("ANIM", new Uint8Array(6)), ...frames);
}

/**
 * The chunks of a WebP file.
 *
 * @param {Uint8Array} webp
 * @returns {Array<[string, Uint8Array]>} name and content
 */
export function chunks(webp) {
  const view = new DataView(webp.buffer, webp.byteOffset, webp.byteLength);
  const name = (/** @type {number} */ at) => String.fromCharCode(...webp.subarray(at, at + 4));
  if (name(0) !== "RIFF" || name(8) !== "WEBP") throw new Error("A picture is no WebP.");
  /** @type {Array<[string, Uint8Array]>} */
  const found = [];
  for (let at = 12; at + 8 <= webp.length; ) {
    const size = view.getUint32(at + 4, true);
    if (at + 8 + size > webp.length) throw new Error("A WebP picture is not whole.");
    found.push([name(at), webp.subarray(at + 8, at + 8 + size)]);
    at += 8 + size + (size % 2);
  }
  return found;
}

/**
 * How long each picture was shown: until the next one, the last until the stretch ends.
 *
 * @param {Array<{at: number}>} list
 * @param {{begin: number, end: number}} times of the stretch's first and last event, ms; 0: not known. The first picture may be older
 */
export function durations(list, { begin, end }) {
  const at = list.map((info) => Math.max(info.at, begin));
  at.push(Math.max((at.at(-1) ?? 0) + LAST_MS, end));
  return list.map((_, index) => Math.max(SHORTEST_MS, at[index + 1] - at[index]));
}

/** @param {number} value */
const u24 = (value) => [value & 255, (value >> 8) & 255, (value >> 16) & 255];

/** @param {string} text */
const ascii = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** @param {string} name @param {...Uint8Array} parts */
function chunk(name, ...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const made = new Uint8Array(8 + size + (size % 2));
  made.set(ascii(name));
  new DataView(made.buffer).setUint32(4, size, true);
  let at = 8;
  for (const part of parts) {
    made.set(part, at);
    at += part.length;
  }
  return made;
}
