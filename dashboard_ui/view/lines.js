/** The lines of a feed: an event becomes one line, after a heading if it starts a phase. Pure. */

import { phasesOf } from "../client/fold.js";
import { fields } from "./coerce.js";
import { day } from "./dates.js";
import { clock, count, phaseName, phaseNumber, titleOf } from "./format.js";
import { MAX_CHARS, clean, oneLine, shorten } from "./text.js";

/** The longest text of a line, in characters. An event may carry 64 KiB. */
export const MAX_LINE_CHARS = MAX_CHARS;
/** Lines of output that one event shows. A program's have at most 500; an event has room for 30,000. */
const MAX_OUTPUT_LINES = 1000;
/** As much of a line with its colours as a recorder makes of it. */
const MAX_ANSI_CHARS = 20 * 1024;

/**
 * @param {RunEvent} event
 * @param {string} phase of the previous line
 * @param {string} [lastDay] of the previous line, as `day` has it; undefined: the days are not told apart
 * @returns {Line[]}
 */
export function linesOf(event, phase, lastDay) {
  /** @type {Line[]} */
  const lines = [];
  const today = day(event.timestamp);
  if (lastDay !== undefined && today && today !== lastDay) lines.push({ kind: "day", text: today, seq: event.seq });
  const number = phaseNumber(event.phase);
  if (number && event.phase !== phase) {
    const titles = phasesOf(fields(event.data).phases);
    const name = phaseName(titles?.map((each) => oneLine(each)), number);
    lines.push({ kind: "phase", text: `Phase ${number}${titles ? "" : "/4"} · ${name}`, seq: event.seq });
  }
  if (typeof fields(event.data).stream === "string") return lines.concat(outputOf(event));
  const detail = detailOf(event);
  lines.push({
    kind: kindOf(event),
    text: shorten(clean(event.message)),
    time: event.timestamp,
    seq: event.seq,
    ...(detail && { detail }),
  });
  return lines;
}

/** The lines of a program's output, of which an event has many. @param {RunEvent} event @returns {Line[]} */
function outputOf({ message, timestamp: time, seq, data }) {
  const { stream, stderr, ansi } = fields(data);
  const coloured = typeof ansi === "string" ? ansi.split("\n", MAX_OUTPUT_LINES) : [];
  const errors = new Set(Array.isArray(stderr) ? stderr : []);
  const all = message.split("\n");
  const lines = all.slice(0, MAX_OUTPUT_LINES).map((line, part) => {
    const text = shorten(clean(line));
    const output = stream === "stderr" || errors.has(part) ? "stderr" : "stdout";
    const colours = coloured[part]?.includes("\x1b") && coloured[part].length <= MAX_ANSI_CHARS ? { ansi: coloured[part] } : {};
    return /** @type {Line} */ ({ kind: "progress", text, time, seq, part, output, ...colours });
  });
  const more = all.length - lines.length;
  const rest = { kind: "system", text: `${more.toLocaleString("en")} more lines in this event`, time, seq, part: lines.length };
  return more > 0 ? [...lines, /** @type {Line} */ (rest)] : lines;
}

/** `data.kind` of what an agent has seen and could not show again. */
export const SEEN_ONCE = "seenonce";

/** @param {RunEvent} event @returns {Line["kind"]} */
export function kindOf({ type, status, data }) {
  if (type === "error" && status === "failed" && fields(data).code === "cancelled") return "cancelled";
  if (type === "error" || status === "failed") return "error";
  if (type === "complete" || status === "completed") return "complete";
  const { attempt, handover, kind, action, control } = fields(data);
  if (type === "status") return (typeof attempt === "number" && attempt > 1) || handover ? "system" : "status";
  if (kind && kind !== SEEN_ONCE) return "problem"; // a finding, a console error, a script error, a failed request
  return action || typeof control === "string" ? "action" : "progress";
}

/** The game's own message, or what was seen of a finding, unless the event's message contains it. @param {RunEvent} event */
function detailOf({ message, data }) {
  const { kind, finding, detail = fields(finding).detail } = fields(data);
  return kind && typeof detail === "string" && !message.includes(detail) ? shorten(clean(detail)) : undefined;
}

/** @param {string} text @returns {Line} */
export const systemLine = (text) => ({ kind: "system", text });

/** @param {number} n the number of events that a resume brought */
export const recoveredLine = (n) => systemLine(`recovered ${count(n, "event")}`);

/** An event that its line could not be made of. @param {RunEvent} event @returns {Line} */
export const unshownLine = ({ seq, timestamp: time }) => ({ kind: "system", text: "could not be shown", seq, time });

/** What could not be read, for the reader; "" if there is nothing. @param {Unread} unread */
export function unreadText({ count: n, reasons }) {
  if (!n) return "";
  const most = [...reasons].sort(([, a], [, b]) => b - a).slice(0, 5);
  const often = (/** @type {number} */ times) => (times > 1 && most.length > 1 ? ` (${times.toLocaleString("en")})` : "");
  const why = most.map(([reason, times]) => `${reason}${often(times)}`);
  return `${count(n, "event")} of this agent could not be read${why.length ? `: ${why.join("; ")}` : ""}`;
}

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

/** Whether a line is a heading, which stands above the lines of a phase or day. @param {{kind: Line["kind"]}} line */
export const isHeading = ({ kind }) => kind === "phase" || kind === "day";

/** The filters of a feed. Headings are always shown. @type {Array<[Group, string]>} */
export const GROUPS = [
  ["all", "All"],
  ["steps", "Steps"],
  ["actions", "Actions"],
  ["problems", "Problems"],
];

/** @type {Record<Line["kind"], Group|null>} */
const GROUP_OF = {
  phase: null,
  day: null,
  status: "steps",
  complete: "steps",
  system: "steps",
  progress: null, // only shown with "All"
  action: "actions",
  problem: "problems",
  error: "problems",
  cancelled: "steps",
};

/** @param {Line} line */
export const groupOf = (line) => GROUP_OF[line.kind];

/** @param {Line} line @param {Group} group @param {string} sought in lower case; "" matches every line */
export function matches(line, group, sought) {
  if (isHeading(line)) return true;
  if (group !== "all" && groupOf(line) !== group) return false;
  return !sought || `${line.text}\n${line.detail ?? ""}`.toLowerCase().includes(sought);
}

/** `12:03:07  text`; further lines of the text and the detail follow, indented. @param {Line} line */
export function plainText({ kind, text, detail, time }) {
  if (isHeading({ kind })) return `── ${text}`;
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
