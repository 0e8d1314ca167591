/**
 * Text from outside, made safe to show. An agent may publish anything, in any field. Pure.
 *
 * Terminal sequences are dropped whole, since half of one is noise. Direction marks are dropped: one of them would
 * reverse the text after it. Letters of languages that are written from right to left keep their order.
 */

/** The longest text of a field, in characters. An event may carry 64 KiB. */
export const MAX_CHARS = 4000;
/** How deep a nested value is followed, and how many of its entries are named. */
const MAX_DEPTH = 3;
const MAX_ENTRIES = 20;

/** Colours and movements of the cursor. */
const CONTROL = /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?/;
/** Texts for the terminal itself, such as its title or a link. One that does not end is dropped to the end of its line. */
const STRING = /(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?/;
/** Any other escape, and an escape alone. */
const ESCAPE = /\x1b[ -/]*[0-~]?/;
const SEQUENCES = new RegExp([CONTROL, STRING, ESCAPE].map(({ source }) => source).join("|"), "g");
const LINE_BREAKS = /\r\n|[\r\v\f\x85\u2028\u2029]/g;
const INVISIBLE = /[\0-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\ufeff]/g;
const SUSPICIOUS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff]/;

/** Without terminal sequences, control characters and direction marks. @param {string} text */
export function clean(text) {
  if (!SUSPICIOUS.test(text)) return text;
  return text.replace(SEQUENCES, "").replace(LINE_BREAKS, "\n").replace(INVISIBLE, "");
}

/**
 * A text, number or truth value as clean text of at most `max` characters; "" for anything else. Never throws, unlike
 * `String(value)`.
 *
 * @param {unknown} value
 * @param {number} [max]
 */
export function words(value, max = MAX_CHARS) {
  if (typeof value === "string") return shorten(clean(value), max);
  return typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/** On one line, for titles and names. @param {unknown} value @param {number} [max] */
export const oneLine = (value, max = MAX_CHARS) => words(value, max).replace(/\s+/g, " ").trim();

/** Any value as text, as deep and as long as a reader can use. @param {unknown} value @returns {string} */
export function inspect(value, depth = 0) {
  if (value === null || value === undefined) return "none";
  if (typeof value !== "object") return words(value, 300);
  if (depth === MAX_DEPTH) return "…";
  const list = Array.isArray(value);
  const entries = Object.entries(value).slice(0, MAX_ENTRIES);
  const parts = entries.map(([key, each]) => `${list ? "" : `${oneLine(key, 60)}: `}${inspect(each, depth + 1)}`);
  if (Object.keys(value).length > MAX_ENTRIES) parts.push("…");
  if (depth === 0 && list) return parts.join(", ") || "none";
  return list ? `[${parts.join(", ")}]` : `{${parts.join(", ")}}`;
}

/** @param {string} text @param {number} [max] */
export function shorten(text, max = MAX_CHARS) {
  if (text.length <= max) return text;
  const end = /[\ud800-\udbff]/.test(text[max - 1]) ? max - 1 : max; // not in the middle of a character
  return `${text.slice(0, end)} … (${text.length.toLocaleString("en")} characters)`;
}
