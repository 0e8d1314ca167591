/** What an event looks like in a feed: one line, or a phase's heading and a line. Pure. */

import { PHASES, clock, count, phaseNumber, titleOf } from "./format.js";

/** Longest text of one line, in characters; an event may carry 64 KiB, and nobody reads that in a feed. */
export const MAX_LINE_CHARS = 4000;

/** @param {RunEvent} event @param {string} phase that of the line before @returns {Line[]} */
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
  if (data?.kind) return "problem"; // the game's console, a script error, a request that failed
  return data?.action ? "action" : "progress";
}

/** The game's own words, where the message does not hold them already. @param {RunEvent} event */
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

/** @param {number} n how many events a resume brought */
export const recoveredLine = (n) => systemLine(`recovered ${count(n, "event")}`);

/** In place of what was let go of, until it is here again. */
export const earlierLine = () => systemLine("loading the earlier lines…");

/** @param {string|undefined} reason why the edge could not resume from our position */
export function resetLine(reason) {
  return systemLine(
    reason === "expired"
      ? "feed starts again: events between the last line and here are no longer kept"
      : "feed starts again: the broker's history was replaced",
  );
}

/** What a feed can be narrowed to; a phase's heading stays whatever is chosen. @type {Array<[Group, string]>} */
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
  progress: null, // what the agent says beside: shown with all
  action: "actions",
  problem: "problems",
  error: "problems",
};

/** @param {Line} line */
export const groupOf = (line) => GROUP_OF[line.kind];

/** @param {Line} line @param {Group} group @param {string} sought in lower case; "" is in everything */
export function matches(line, group, sought) {
  if (line.kind === "phase") return true;
  if (group !== "all" && groupOf(line) !== group) return false;
  return !sought || `${line.text}\n${line.detail ?? ""}`.toLowerCase().includes(sought);
}

/** `12:03:07  text`; what else there is stands below, indented. @param {Line} line */
export function plainText({ kind, text, detail, time }) {
  if (kind === "phase") return `── ${text}`;
  const words = detail ? `${text}\n${detail}` : text;
  return `${time === undefined ? "        " : clock(time)}  ${words.replaceAll("\n", "\n          ")}`;
}

/** A name for the file with a run's events, which any file system takes. @param {Snapshot} run */
export function fileName(run) {
  const title = titleOf(run)
    .replace(/[^\p{L}\p{N}._-]+/gu, "-")
    .replace(/^[.-]+|-+$/g, "")
    .slice(0, 60);
  return `${title || "test"}-${run.testId.slice(0, 8)}.jsonl`;
}
