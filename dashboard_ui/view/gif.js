/**
 * Animated GIF from drawn pictures: at most 256 colours, chosen for each picture, and LZW. Pure.
 *
 * The format is that of CompuServe's "Graphics Interchange Format, Version 89a".
 */

/** @typedef {{gif: Uint8Array, ms: number}} Still a picture of `still`, and how long it is shown */

const COLOURS = 256;
/** Colours that have these bits in common are one: 32 steps a channel. */
const BINS = 1 << 15;
const CHANNELS = [10, 5, 0];
/** The largest code of LZW, and the two that are no colours. */
const CODES = 4096;
const CLEAR = COLOURS;
const END = COLOURS + 1;
const BLOCK = 255;
const UNIT_MS = 10;
/** Browsers show a picture ten times as long where a shorter time is asked for. */
const SHORTEST = 2;
const LONGEST = 2 ** 16 - 1;
/** The next picture is drawn over this one. */
const KEEP = 1 << 2;

/**
 * One picture of an animation.
 *
 * @param {Uint8ClampedArray} rgba as a canvas has it
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array} its descriptor, colours and pixels
 */
export function still(rgba, width, height) {
  const bins = binned(rgba);
  const { table, indexOf } = palette(rgba, bins);
  const head = [0x2c, 0, 0, 0, 0, ...u16(width), ...u16(height), 0x80 | 7, ...table, 8];
  const codes = compressed(bins, indexOf);
  const blocks = Math.ceil(codes.length / BLOCK);
  const made = new Uint8Array(head.length + codes.length + blocks + 1);
  made.set(head);
  let to = head.length;
  for (let at = 0; at < codes.length; at += BLOCK) {
    const block = codes.subarray(at, at + BLOCK);
    made[to] = block.length;
    made.set(block, to + 1);
    to += 1 + block.length;
  }
  return made;
}

/**
 * @param {Still[]} stills all of this width and height
 * @param {number} width
 * @param {number} height
 * @returns {Uint8Array[]} the parts of an animation that repeats for ever
 * @throws {Error} there is no picture
 */
export function animatedGif(stills, width, height) {
  if (!stills.length) throw new Error("An animation needs at least one picture.");
  const screen = [...ascii("GIF89a"), ...u16(width), ...u16(height), 0x70, 0, 0];
  const repeats = [0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0];
  /** @type {Uint8Array[]} */
  const parts = [Uint8Array.from([...screen, ...repeats])];
  let rest = 0; // what is rounded off one time is added to the next
  for (const { gif, ms } of stills) {
    const time = Math.min(Math.max(SHORTEST, Math.round((ms + rest) / UNIT_MS)), LONGEST);
    rest = time < LONGEST ? ms + rest - time * UNIT_MS : 0;
    parts.push(Uint8Array.from([0x21, 0xf9, 4, KEEP, ...u16(time), 0, 0]), gif);
  }
  return [...parts, Uint8Array.of(0x3b)];
}

/** The bin of each pixel's colour. @param {Uint8ClampedArray} rgba */
function binned(rgba) {
  const bins = new Uint16Array(rgba.length / 4);
  for (let pixel = 0, at = 0; pixel < bins.length; pixel++, at += 4)
    bins[pixel] = ((rgba[at] >> 3) << 10) | ((rgba[at + 1] >> 3) << 5) | (rgba[at + 2] >> 3);
  return bins;
}

/**
 * The colours of a picture by median cut, and which of them each bin has.
 *
 * @param {Uint8ClampedArray} rgba
 * @param {Uint16Array} bins
 */
function palette(rgba, bins) {
  const counts = new Uint32Array(BINS);
  const sums = [0, 1, 2].map(() => new Float64Array(BINS));
  for (let pixel = 0, at = 0; pixel < bins.length; pixel++, at += 4) {
    const bin = bins[pixel];
    counts[bin]++;
    for (let channel = 0; channel < 3; channel++) sums[channel][bin] += rgba[at + channel];
  }
  const table = new Uint8Array(3 * COLOURS);
  const indexOf = new Uint8Array(BINS);
  for (const [index, { colours, weight }] of boxes(counts).entries()) {
    for (let channel = 0; channel < 3; channel++) {
      let sum = 0;
      for (const bin of colours) sum += sums[channel][bin];
      table[3 * index + channel] = weight ? Math.round(sum / weight) : 0;
    }
    for (const bin of colours) indexOf[bin] = index;
  }
  return { table, indexOf };
}

/** Bins, divided until there are as many boxes as colours, or until each has one bin. @param {Uint32Array} counts */
function boxes(counts) {
  const used = new Uint16Array(BINS).map((_, bin) => bin).filter((bin) => counts[bin] > 0);
  const found = [boxOf(used, counts)];
  while (found.length < COLOURS) {
    const widest = found.reduce((best, box) => (box.cost > best.cost ? box : best));
    if (!widest.cost) break;
    const { colours, shift, weight } = widest;
    colours.sort((a, b) => ((a >> shift) & 31) - ((b >> shift) & 31));
    let cut = 0;
    for (let sum = 0; cut < colours.length - 1 && sum < weight / 2; cut++) sum += counts[colours[cut]];
    found.splice(found.indexOf(widest), 1, boxOf(colours.subarray(0, cut), counts), boxOf(colours.subarray(cut), counts));
  }
  return found;
}

/** @param {Uint16Array} colours bins @param {Uint32Array} counts */
function boxOf(colours, counts) {
  let [weight, range, shift] = [0, 0, 0];
  for (const bin of colours) weight += counts[bin];
  for (const each of CHANNELS) {
    let [low, high] = [31, 0];
    for (const bin of colours) {
      const value = (bin >> each) & 31;
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (high - low > range) [range, shift] = [high - low, each];
  }
  return { colours, weight, shift, cost: weight * range };
}

/** The codes of LZW, from 9 to 12 bits each. @param {Uint16Array} bins @param {Uint8Array} indexOf */
function compressed(bins, indexOf) {
  const codes = new Codes(Math.ceil(bins.length * 1.6) + 16);
  const known = new Uint16Array(CODES * COLOURS); // by the code of what comes before, and the colour
  let [next, prefix] = [END + 1, indexOf[bins[0]]];
  codes.put(CLEAR);
  for (let pixel = 1; pixel < bins.length; pixel++) {
    const colour = indexOf[bins[pixel]];
    const key = (prefix << 8) | colour;
    if (known[key]) prefix = known[key];
    else {
      codes.put(prefix);
      if (next === CODES) {
        codes.put(CLEAR);
        codes.bits = 9;
        known.fill(0);
        next = END + 1;
      } else {
        if (next >= 1 << codes.bits) codes.bits++;
        known[key] = next++;
      }
      prefix = colour;
    }
  }
  codes.put(prefix);
  codes.put(END);
  return codes.end();
}

class Codes {
  /** @param {number} most bytes */
  constructor(most) {
    this.bytes = new Uint8Array(most);
    this.length = 0;
    this.bits = 9;
    this.held = 0;
    this.holds = 0;
  }

  /** @param {number} code */
  put(code) {
    this.held |= code << this.holds;
    this.holds += this.bits;
    for (; this.holds >= 8; this.holds -= 8, this.held >>>= 8) this.bytes[this.length++] = this.held & 255;
  }

  end() {
    if (this.holds > 0) this.bytes[this.length++] = this.held & 255;
    return this.bytes.subarray(0, this.length);
  }
}

/** @param {number} value */
const u16 = (value) => [value & 255, value >> 8];

/** @param {string} text */
const ascii = (text) => Array.from(text, (char) => char.charCodeAt(0));
