/**
 * The report of a run: findings, controls, how it was tested, lost points. Read from the metrics of its verdict, and before
 * that from its events, whatever an agent has published in their places. Pure.
 *
 * `broker/export/findings.py` reads the same.
 */

import { fields } from "../coerce.js";
import { SEEN_ONCE } from "../lines.js";
import { kindName } from "../same.js";
import { oneLine, words } from "../text.js";

/** What a reader can use of a list. */
export const MAX_LISTED = 50;
/** Gestures of a finding: a minimised list has a few. */
export const MAX_INPUTS = 100;
const MAX_ID_CHARS = 40;
const MAX_TITLE_CHARS = 160;
const MAX_DETAIL_CHARS = 400;
const MAX_STACK_CHARS = 2000;
const MAX_NAME_CHARS = 80;
const MAX_KEYS = 8;

/** From the worst. @type {Severity[]} */
export const SEVERITIES = ["high", "medium", "low"];

/** What is larger is neither a time in ms nor a number of bytes. */
const MAX_NUMBER = 1e12;

/** A number from 0 up. @param {unknown} value @param {number} [least] @returns {number|undefined} */
const number = (value, least = 0) => (typeof value === "number" && value >= least && value <= MAX_NUMBER ? value : undefined);

/** @param {unknown} value @returns {any[]} */
const list = (value) => (Array.isArray(value) ? value.slice(0, MAX_LISTED) : []);

/** @param {unknown} value @param {number} [most] @returns {string[]} */
const texts = (value, most = MAX_NAME_CHARS) => list(value).map((each) => oneLine(each, most)).filter(Boolean);

/** Times shown and times tried. @param {unknown} value @returns {[number, number]|null} */
function seenOf(value) {
  const [shown, tried] = Array.isArray(value) ? value.map((each) => number(each)) : [];
  return shown === undefined || tried === undefined || shown > tried ? null : [shown, tried];
}

/** A finding of an agent; null: it has none of the words that a reader needs. @param {unknown} value @returns {Finding|null} */
export function findingOf(value) {
  const given = fields(value);
  const [id, title] = [oneLine(given.id, MAX_ID_CHARS), oneLine(given.title, MAX_TITLE_CHARS)];
  if (!title) return null;
  const severity = /** @type {Severity} */ (given.severity);
  const frame = number(given.frame);
  return {
    id,
    name: kindName(given.kind),
    severity: SEVERITIES.includes(severity) ? severity : "medium",
    title,
    detail: words(given.detail, MAX_DETAIL_CHARS).trim(),
    stack: words(given.stack, MAX_STACK_CHARS).trim(),
    atMs: number(given.atMs) ?? (frame === undefined ? undefined : (frame * 1000) / FRAMES_PER_S),
    seen: seenOf(given.seen),
    inputs: inputsOf(given.inputs),
    more: Math.max(0, (Array.isArray(given.inputs) ? given.inputs.length : 0) - MAX_INPUTS),
    until: number(given.until),
    real: given.real === true,
    once: false,
    seq: 0,
  };
}

/** Frames in a second of a game's own time. */
export const FRAMES_PER_S = 60;

/** @param {unknown} value @returns {Gesture[]} in the order of their begin */
function inputsOf(value) {
  if (!Array.isArray(value)) return [];
  const read = value.slice(0, MAX_INPUTS).flatMap((each) => {
    const { at, hold, kind, name, keys, x, y, to_x: toX, to_y: toY } = fields(each);
    const [begin, held] = [number(at), number(hold) ?? 0];
    if (begin === undefined || typeof kind !== "string") return [];
    const place = pointOf(x, y);
    const to = kind === "drag" ? pointOf(toX, toY) : null;
    return [{ at: begin, hold: held, kind: oneLine(kind, MAX_NAME_CHARS), name: oneLine(name, MAX_NAME_CHARS), keys: texts(keys).slice(0, MAX_KEYS), place, to }];
  });
  return read.sort((a, b) => a.at - b.at);
}

/** A place in parts of the picture. @param {unknown} x @param {unknown} y @returns {Point|null} */
function pointOf(x, y) {
  const [left, top] = [number(x), number(y)];
  if (left === undefined || top === undefined) return null;
  return { x: Math.min(1, Math.max(0, left)), y: Math.min(1, Math.max(0, top)) };
}

/** A control with its evidence. @param {unknown} value @returns {ReportedControl|null} */
export function controlOf(value) {
  const { control, change, seen, situations, promised } = fields(value);
  const name = oneLine(control, MAX_NAME_CHARS);
  const evidence = seenOf(seen);
  if (!name || !evidence) return null;
  return { name, change: number(change), seen: evidence, situations: texts(situations), promised: promised === true, seq: 0 };
}

/** Names a finding within its run. @param {Finding} finding */
const keyOf = ({ id, name, title }) => id || `${name}\n${title}`;

/** What a run's events tell of its report, before its verdict does. A new attempt begins again. */
export class Told {
  constructor() {
    this.generation = -1;
    this.taken = 0;
    /** Grows with each change. */
    this.version = 0;
    /** @type {Map<string, Finding>} */
    this.findings = new Map();
    /** @type {Map<string, ReportedControl>} */
    this.controls = new Map();
  }

  clear() {
    this.findings.clear();
    this.controls.clear();
    this.version++;
  }

  /** @param {{log: RunEvent[], generation: number}} feed */
  update({ log, generation }) {
    if (generation !== this.generation) {
      Object.assign(this, { generation, taken: 0 });
      this.clear();
    }
    for (; this.taken < log.length; this.taken++) this.note(log[this.taken]);
  }

  /** @param {RunEvent} event */
  note({ type, data, seq }) {
    const about = fields(data);
    if (type === "status" && (number(about.attempt) ?? 0) > 1) this.clear();
    if (type !== "progress") return;
    const finding = about.finding === undefined ? null : findingOf(about.finding);
    const control = finding ? null : controlOf(about);
    if (finding && this.findings.size < 2 * MAX_LISTED)
      this.findings.set(keyOf(finding), { ...finding, seq, once: about.kind === SEEN_ONCE || (about.kind !== "finding" && isOnce(finding)) });
    if (control && this.controls.size < 2 * MAX_LISTED) this.controls.set(control.name, { ...control, seq });
    if (finding || control) this.version++;
  }
}

/** What did not show each time, or was tried once: it is told apart, unless the agent says which it is. @param {Finding} finding */
const isOnce = ({ seen }) => seen !== null && seen[0] < Math.max(2, seen[1]);

/**
 * The report of a run.
 *
 * @param {any} metrics of its verdict; undefined before it
 * @param {Told} told by its events
 * @returns {RunReport}
 */
export function reportOf(metrics, told) {
  const given = fields(metrics);
  const listed = list(given.findings).map(findingOf).filter((each) => each !== null);
  const once = list(given.seenOnce).map(findingOf).filter((each) => each !== null);
  const known = new Set([...listed, ...once].map(keyOf));
  for (const [key, finding] of told.findings) if (!known.has(key)) (finding.once ? once : listed).push(finding);
  return {
    findings: inOrder(listed, told),
    once: inOrder(once, told),
    known: Array.isArray(given.findings),
    controls: controlsOf(given.controls, told, Array.isArray(given.findings)),
    tried: Array.isArray(given.tried) ? given.tried.length : null,
    lost: lostOf(given.lost),
    how: howOf(given),
  };
}

/** The worst first, each with what only its event tells. @param {Finding[]} all @param {Told} told */
function inOrder(all, told) {
  const whole = all.map((each) => {
    const event = told.findings.get(keyOf(each));
    return event ? { ...each, stack: each.stack || event.stack, seq: event.seq } : each;
  });
  const rank = (/** @type {Finding} */ { severity }) => SEVERITIES.indexOf(severity);
  return whole.slice(0, MAX_LISTED).sort((a, b) => rank(a) - rank(b));
}

/**
 * @param {unknown} value
 * @param {Told} told
 * @param {boolean} known whether the verdict says what was found
 * @returns {ReportedControl[]|null} null: nothing is told of their evidence, as by an agent of before
 */
function controlsOf(value, told, known) {
  if (!Array.isArray(value)) return told.controls.size ? [...told.controls.values()].slice(0, MAX_LISTED) : null;
  const listed = list(value).map(controlOf).filter((each) => each !== null);
  if (!listed.length) return known && !value.length ? [] : null;
  return listed.map((each) => ({ ...each, seq: told.controls.get(each.name)?.seq ?? 0 }));
}

/**
 * The lost points, most first. What one thing has cost in several parts of the score is one line.
 *
 * @param {unknown} value
 * @returns {Lost[]}
 */
function lostOf(value) {
  /** @type {Map<string, Lost>} */
  const found = new Map();
  for (const each of list(value)) {
    const given = fields(each);
    const [points, why, finding] = [number(given.points), oneLine(given.why, MAX_DETAIL_CHARS), oneLine(given.finding, MAX_ID_CHARS)];
    if (!points || !why) continue;
    const key = `${finding}\n${why}`;
    const known = found.get(key) ?? { points: 0, why, finding, parts: [] };
    const part = oneLine(given.part, MAX_NAME_CHARS);
    found.set(key, { ...known, points: known.points + points, parts: part && !known.parts.includes(part) ? [...known.parts, part] : known.parts });
  }
  return [...found.values()].sort((a, b) => b.points - a.points);
}

const TIMES = ["owned", "real", "mixed"];

/** How the run was tested. @param {Record<string, any>} given @returns {How} */
function howOf(given) {
  const { moments, agreed } = fields(given.determinism);
  const { used, total } = fields(given.coverage);
  const [all, same] = [number(moments), number(agreed)];
  const [ran, code] = [number(used), number(total, 1)];
  return {
    time: TIMES.includes(given.time) ? given.time : "",
    determinism: all !== undefined && same !== undefined && same <= all ? { moments: all, agreed: same } : null,
    uncontrolled: Array.isArray(given.uncontrolled) ? texts(given.uncontrolled, 40) : null,
    unknown: Array.isArray(given.unknown) && TIMES.includes(given.time) ? texts(given.unknown, MAX_DETAIL_CHARS) : null,
    speed: number(given.speed),
    gameSeconds: number(given.gameSeconds),
    coverage: ran !== undefined && code !== undefined && ran <= code ? { used: ran, total: code } : null,
  };
}

/**
 * The metrics that the report shows: they need no row of the table. Nor does what was not measured.
 *
 * @param {RunReport} report
 * @param {any} metrics
 * @returns {Set<string>}
 */
export function shownIn({ controls, how }, metrics) {
  const given = fields(metrics);
  const lists = ["findings", "seenOnce", "lost"].filter((name) => Array.isArray(given[name]));
  const single = Object.entries({ ...how, controls, time: how.time || null });
  const shown = single.filter(([, value]) => (value ?? null) !== null).map(([name]) => name);
  const unmeasured = how.time ? Object.keys(given).filter((name) => given[name] === null) : [];
  return new Set([...lists, ...shown, ...unmeasured]);
}
