/**
 * Folds the events of a run into its snapshot. Pure.
 *
 * The rules are the projector's (broker/PROTOCOL.md), so a card changes with the event and does not wait for the list.
 * The times of a snapshot are the broker's, which an event does not carry: they change with the next snapshot.
 */

/** The types that this version knows. Events of other types change no state. */
const EVENT_TYPES = new Set(["status", "progress", "complete", "error"]);

const MAX_TITLE_CHARS = 200;
const MAX_MESSAGE_CHARS = 2000;
const MAX_WORKER_CHARS = 200;
const MAX_URL_CHARS = 2048;
const MAX_CODE_CHARS = 64;
const MAX_METRICS_BYTES = 32 * 1024;
const MAX_PHASE_CHARS = 60;
const MAX_ATTEMPT = 2 ** 31 - 1;
const MAX_LABELS = 16;
const LABEL = /^[a-z0-9][a-z0-9_./-]{0,62}$/;
/** At most 100 printable characters without spaces around them. */
const LABEL_VALUE = /^(?! )(?:[^\p{C}\p{Z}]| ){1,100}(?<! )$/u;
const PROJECT = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** @param {RunEvent} event */
export const isKnown = (event) => EVENT_TYPES.has(event.type);

/** @param {Snapshot} run */
export const ended = (run) => run.status === "completed" || run.status === "failed";

/** Whether a person has ended the run. Its status is "failed". @param {Snapshot} run */
export const cancelled = (run) => run.status === "failed" && run.errorCode === "cancelled";

/** A snapshot before the first event. @param {string} testId @param {number} createdAt @returns {Snapshot} */
export const blank = (testId, createdAt) => ({ testId, status: "queued", seq: 0, createdAt });

/**
 * Applies an event.
 *
 * @param {Snapshot} run
 * @param {RunEvent} event
 * @returns {Snapshot} a new snapshot; `run` itself if it already contains the event
 */
export function fold(run, event) {
  if (event.seq <= run.seq) return run;
  // After a terminal event, and at an event of a newer version's type, only the position changes.
  if (ended(run)) return { ...run, seq: event.seq };
  if (!isKnown(event)) {
    const { stalled: _, ...rest } = run; // any event is a sign of life
    return { ...rest, seq: event.seq };
  }
  const data = event.data !== null && typeof event.data === "object" ? event.data : {};
  /** @type {Snapshot} */
  const next = { ...run, seq: event.seq, message: cut(said(event.message, data), MAX_MESSAGE_CHARS) };
  delete next.stalled; // an event is a sign of life
  if (run.message === undefined) Object.assign(next, projectOf(data), labelsOf(data.labels)); // the run's first event
  if (event.phase) next.phase = event.phase;

  if (event.type === "status") {
    if (event.status) next.status = event.status;
    if (typeof data.title === "string") next.title = cut(data.title, MAX_TITLE_CHARS);
    if (typeof data.gameUrl === "string" && fits(data.gameUrl, MAX_URL_CHARS)) next.gameUrl = data.gameUrl;
    if (typeof data.worker === "string") next.worker = cut(data.worker, MAX_WORKER_CHARS);
    const phases = phasesOf(data.phases);
    if (phases) next.phases = phases;
    if (Number.isInteger(data.attempt) && data.attempt >= 0 && data.attempt <= MAX_ATTEMPT) next.attempt = data.attempt;
  } else if (event.type === "progress") {
    next.status = "running";
  } else if (event.type === "complete") {
    next.status = "completed";
    if (typeof data.score === "number" && data.score >= 0 && data.score <= 100) next.score = data.score;
    if (data.metrics !== null && data.metrics !== undefined && bytesOf(data.metrics) <= MAX_METRICS_BYTES) {
      next.metrics = data.metrics;
    }
  } else if (event.type === "error") {
    next.error = cut(event.message, MAX_MESSAGE_CHARS);
    delete next.errorCode;
    if (typeof data.code === "string" && fits(data.code, MAX_CODE_CHARS)) next.errorCode = data.code;
    if (event.status === "failed") next.status = "failed";
  }
  if (next.status !== "queued") {
    delete next.queuePlace;
    delete next.noAgent;
  }
  return next;
}

/** Titles of phases; undefined where it is no list of them. @param {any} given @returns {string[]|undefined} */
export function phasesOf(given) {
  const good = Array.isArray(given) && given.length > 0 && given.length <= 4 && given.every((each) => typeof each === "string");
  return good ? given.map((each) => cut(each, MAX_PHASE_CHARS)) : undefined;
}

/** The last line with a text of a program's output, which may be many; of another event all. @param {string} message @param {any} data */
const said = (message, data) => (typeof data.stream === "string" ? message.replace(/\n+$/, "").split("\n").at(-1) ?? "" : message);

/** What a run's first event says about its project; nothing for the default one. @param {any} data */
function projectOf(data) {
  const project = data.project ?? "default";
  if (project === "default") return {};
  return { project: typeof project === "string" && PROJECT.test(project) ? project : "" };
}

/** What a run's first event says of labels; what is not allowed is left out. @param {any} given @returns {{labels?: Record<string, string>}} */
export function labelsOf(given) {
  if (given === null || typeof given !== "object" || Array.isArray(given)) return {};
  const good = Object.entries(given).filter(([name, value]) => LABEL.test(name) && isValue(value));
  const labels = Object.fromEntries(good.sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, MAX_LABELS));
  return good.length ? { labels } : {};
}

/** @param {unknown} value */
const isValue = (value) => typeof value === "string" && LABEL_VALUE.test(value);

/** Whether a text has at most `limit` characters (code points). @param {string} text @param {number} limit */
const fits = (text, limit) => text.length <= limit || (text.length <= 2 * limit && [...text].length <= limit);

/** At most `limit` characters of a text; one that was cut ends with an ellipsis. @param {string} text @param {number} limit */
const cut = (text, limit) => (fits(text, limit) ? text : [...text.slice(0, 2 * limit)].slice(0, limit - 1).join("") + "…");

/** @param {any} value */
const bytesOf = (value) => new TextEncoder().encode(JSON.stringify(value)).length;
