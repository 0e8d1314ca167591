/** The lines of a feed: an event becomes one line, after a heading if it starts a phase. Pure. */

import { PHASES, clock, count, phaseNumber, titleOf } from "./format.js";

/** The longest text of a line, in characters. An event may carry 64 KiB. */
export const MAX_LINE_CHARS = 4000;

/** @param {RunEvent} event @param {string} phase of the previous line @returns {Line[]} */
export function linesOf(event, phase) {
  /** @type {Line[]} */
  const lines = [];
  const number = phaseNumber(event.phase);
  if (number && event.phase !== phase) {
    lines.push({ kind: "phase", text: `Phase ${number}/4 · ${PHASES[number - 1]}`, seq: event.seq });
  }
  const detail = detailOf(event);
  lines.push({
    kind: kindOf(event),
    text: shorten(String(event.message)),
    time: event.timestamp,
    seq: event.seq,
    ...(detail && { detail }),
  });
  return lines;
}

/** @param {RunEvent} event @returns {Line["kind"]} */
export function kindOf({ type, status, data }) {
  if (type === "error" || status === "failed") return "error";
  if (type === "complete" || status === "completed") return "complete";
  if (type === "status") return data?.attempt > 1 || data?.handover ? "system" : "status";
  if (data?.kind) return "problem"; // a console error, a script error, a failed request
  return data?.action ? "action" : "progress";
}

/** The game's own message, unless the event's message contains it. @param {RunEvent} event */
function detailOf({ message, data }) {
  const detail = data?.kind ? data.detail : undefined;
  return typeof detail === "string" && !String(message).includes(detail) ? shorten(detail) : undefined;
}

/** @param {string} text */
function shorten(text) {
  if (text.length <= MAX_LINE_CHARS) return text;
  return `${text.slice(0, MAX_LINE_CHARS)} … (${count(text.length, "character")})`;
}

/** @param {string} text @returns {Line} */
export const systemLine = (text) => ({ kind: "system", text });

/** @param {number} n the number of events that a resume brought */
export const recoveredLine = (n) => systemLine(`recovered ${count(n, "event")}`);

/** Takes the place of dropped lines until they are restored. */
export const earlierLine = () => systemLine("loading the earlier lines…");

/** @param {string|undefined} reason why the edge could not resume from the position */
export function resetLine(reason) {
  return systemLine(
    reason === "expired"
      ? "feed starts again: events between the last line and here are no longer kept"
      : "feed starts again: the broker's history was replaced",
  );
}

/** The filters of a feed. The headings of phases are always shown. @type {Array<[Group, string]>} */
export const GROUPS = [
  ["all", "All"],
  ["steps", "Steps"],
  ["actions", "Actions"],
  ["problems", "Problems"],
];

/** @type {Record<Line["kind"], Group|null>} */
const GROUP_OF = {
  phase: null,
  status: "steps",
  complete: "steps",
  system: "steps",
  progress: null, // only shown with "All"
  action: "actions",
  problem: "problems",
  error: "problems",
};

/** @param {Line} line */
export const groupOf = (line) => GROUP_OF[line.kind];

/** @param {Line} line @param {Group} group @param {string} sought in lower case; "" matches every line */
export function matches(line, group, sought) {
  if (line.kind === "phase") return true;
  if (group !== "all" && groupOf(line) !== group) return false;
  return !sought || `${line.text}\n${line.detail ?? ""}`.toLowerCase().includes(sought);
}

/** `12:03:07  text`; further lines of the text and the detail follow, indented. @param {Line} line */
export function plainText({ kind, text, detail, time }) {
  if (kind === "phase") return `── ${text}`;
  const words = detail ? `${text}\n${detail}` : text;
  return `${time === undefined ? "        " : clock(time)}  ${words.replaceAll("\n", "\n          ")}`;
}

/** The name of the file with a run's events. Valid on every file system. @param {Snapshot} run */
export function fileName(run) {
  const title = titleOf(run)
    .replace(/[^\p{L}\p{N}._-]+/gu, "-")
    .replace(/^[.-]+|-+$/g, "")
    .slice(0, 60);
  return `${title || "test"}-${run.testId.slice(0, 8)}.jsonl`;
}
