/** The report's words: gestures, times and shares, as a person reads them. Pure. */

import { FRAMES_PER_S } from "./read.js";

/** What stands on a key. @type {Map<string, string>} */
const CAPS = new Map([
  ["ArrowLeft", "←"],
  ["ArrowRight", "→"],
  ["ArrowUp", "↑"],
  ["ArrowDown", "↓"],
  ["Space", "Space"],
  [" ", "Space"],
  ["Escape", "Esc"],
  ["Control", "Ctrl"],
]);
/** A key that is held for longer, frames, is told to be held. */
const TAP_FRAMES = 12;

/** @param {string} key as Playwright names it */
export const capOf = (key) => CAPS.get(key) ?? (/^Key[A-Z]$/.test(key) ? key.slice(3) : key.length === 1 ? key.toUpperCase() : key);

/** A control's name as keys, or null where it is a gesture of the pointer. @param {string} name such as "ArrowUp+Space" */
export function keysOf(name) {
  const keys = name === "+" ? [name] : name.split("+");
  return keys.every((key) => /^[A-Z][A-Za-z]*\d*$|^\S$/.test(key)) ? keys : null;
}

/** `0.20 s`, `12.4 s`, `1:05 min`. @param {number} ms */
export function gameTime(ms) {
  const s = ms / 1000;
  if (s >= 60) return `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")} min`;
  return `${s < 10 ? s.toFixed(2) : s.toFixed(1)} s`;
}

/** @param {number} frames */
export const frameTime = (frames) => gameTime((frames * 1000) / FRAMES_PER_S);

/** @param {Gesture} gesture */
export const heldOf = ({ hold }) => (hold > TAP_FRAMES ? `held ${frameTime(hold)}` : "");

/** `12 %`, `1.2 %`, `less than 0.1 %`. @param {number} share */
export function share(share) {
  const percent = 100 * share;
  if (percent > 0 && percent < 0.1) return "less than 0.1 %";
  return `${percent >= 10 || percent === 0 ? Math.round(percent) : Number(percent.toPrecision(2))} %`;
}

/** The gesture of the pointer in words: `click at 50 %, 40 %`. @param {Gesture} gesture */
export function pointerWords({ kind, name, place, to }) {
  const at = (/** @type {Point} */ { x, y }) => `${share(x)}, ${share(y)}`;
  if (to && place) return `${kind} from ${at(place)} to ${at(to)}`;
  return place ? `${kind} at ${at(place)}` : name || kind;
}

/** How often it was seen: `5 of 5 times`. @param {[number, number]|null} seen */
export const seenWords = (seen) => (seen ? (seen[1] === 1 ? "once" : `${seen[0]} of ${seen[1]} times`) : "");

/**
 * The command that shows a finding again; "" where its name is none that a shell takes as it is.
 *
 * @param {string} testId
 * @param {string} finding
 * @param {string} base the edge's address; "" of a file
 */
export function commandOf(testId, finding, base) {
  if (!/^[A-Za-z0-9][\w.-]*$/.test(finding)) return "";
  const here = /^(?!https?:)|^https?:\/\/(localhost|127\.|\[::1\])/.test(base);
  return `testcast reproduce ${testId} ${finding}${here ? "" : ` --edge ${base.replace(/\/$/, "")}`}`;
}

/** Of the code that came, what ran: `34 of 50 KB`. @param {{used: number, total: number}} coverage */
export function bytesWords({ used, total }) {
  const unit = total >= 1e6 ? /** @type {const} */ ([1e6, "MB"]) : /** @type {const} */ ([1e3, "KB"]);
  const said = (/** @type {number} */ bytes) => Number((bytes / unit[0]).toPrecision(bytes >= 100 * unit[0] ? 3 : 2)).toLocaleString("en");
  return `${said(used)} of ${said(total)} ${unit[1]}`;
}
