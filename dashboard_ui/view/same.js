/** Which problems and controls of two runs are the same. Pure: what a run has found comes from its `metrics` or events. */

import { fields } from "./coerce.js";
import { oneLine } from "./text.js";

/** @typedef {{key: string, name: string, text: string}} Found a problem or a control; `key` is the same in every run */
/** @typedef {{added: Found[], gone: Found[], same: Found[]}} Difference */

const MAX_FOUND = 100;
const MAX_KEY_CHARS = 300;

/** The words for the kinds of `data.kind`; view/problems.js counts with the same. @type {Map<unknown, string>} */
export const KINDS = new Map([
  ["console", "Console error"],
  ["pageerror", "Script error"],
  ["request", "Failed request"],
  ["refused", "Refused request"],
  ["freeze", "Freeze"],
  ["crash", "Crash"],
  ["blank", "Blank picture"],
  ["test", "Failed test"],
  ["error", "Script error"],
  ["softlock", "Soft lock"],
  ["deadkey", "Dead control"],
  ["once", "Works only once"],
  ["asset", "Missing file"],
  ["slowload", "Slow load"],
  ["frames", "Dropped frames"],
  ["heap", "Growing heap"],
  ["left", "Leaves the page"],
  ["noscripts", "Never starts"],
]);

/** @param {unknown} kind */
export const kindName = (kind) => KINDS.get(kind) ?? "Problem";

/**
 * What identifies a problem: its kind, and its text without what differs from run to run or from build to build, which
 * are hosts and queries of addresses, hashes, line numbers and all other numbers.
 *
 * @param {string} name
 * @param {string} text
 */
export function problemKey(name, text) {
  const stable = text
    .replace(/\b(?:https?|wss?|blob):\/\/[^/\s"'()]*/gi, "")
    .replace(/[?#][^\s"'()]*/g, "")
    .replace(/\b0x[0-9a-f]+\b/gi, "#")
    .replace(/\b(?=[0-9a-f-]*\d)[0-9a-f]+(?:-[0-9a-f]+)*\b/gi, (hex) => (hex.length >= 6 ? "#" : hex))
    .replace(/\d+(?:[.,:]\d+)*/g, "#")
    .replace(/#(?::#)+/g, "#")
    .replace(/\s+/g, " ")
    .trim();
  return `${name}\n${stable.slice(0, MAX_KEY_CHARS)}`;
}

/** @param {string} name @param {string} text @returns {Found} */
export const problem = (name, text) => ({ key: problemKey(name, text), name, text });

/**
 * The problems that a run's metrics list, its findings included, each once; null where they do not say: what it had is not
 * known.
 *
 * @param {{metrics?: any}} run
 * @returns {Found[]|null}
 */
export function problemsOf(run) {
  const { problems, findings } = fields(run.metrics);
  const found = [findings, problems].map((values) => listed(values, problemOf)).filter((each) => each !== null);
  return found.length ? once(found.flat()) : null;
}

/** @param {any} given a problem, a finding, or a text @returns {Found|null} */
function problemOf(given) {
  const { kind, detail, title } = typeof given === "string" ? { kind: undefined, detail: given, title: "" } : fields(given);
  const text = oneLine(title, MAX_KEY_CHARS) || oneLine(detail, MAX_KEY_CHARS);
  return text ? problem(kindName(kind), text) : null;
}

/** The controls that a run's metrics list; null where they do not say. @param {{metrics?: any}} run @returns {Found[]|null} */
export function controlsOf(run) {
  return listed(fields(run.metrics).controls, (each) => {
    const text = oneLine(typeof each === "string" ? each : fields(each).control, 80);
    return text ? { key: text.toLowerCase(), name: text, text } : null;
  });
}

/** @param {any} values @param {(value: any) => Found|null} read @returns {Found[]|null} */
function listed(values, read) {
  if (!Array.isArray(values)) return null;
  return once(values.slice(0, MAX_FOUND).flatMap((each) => read(each) ?? []));
}

/** @param {Iterable<Found>} found @returns {Found[]} the first of each key */
export function once(found) {
  /** @type {Map<string, Found>} */
  const byKey = new Map();
  for (const each of found) if (!byKey.has(each.key)) byKey.set(each.key, each);
  return [...byKey.values()];
}

/**
 * What is in the later run and not in the earlier, the other way round, and in both. Null where one is not known.
 *
 * @param {Found[]|null} before
 * @param {Found[]|null} after
 * @returns {Difference|null}
 */
export function difference(before, after) {
  if (!before || !after) return null;
  const [had, has] = [new Set(before.map(({ key }) => key)), new Set(after.map(({ key }) => key))];
  return {
    added: after.filter(({ key }) => !had.has(key)),
    gone: before.filter(({ key }) => !has.has(key)),
    same: after.filter(({ key }) => had.has(key)),
  };
}
