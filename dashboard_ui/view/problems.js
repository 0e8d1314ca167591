/** The problems of a game, each with its count and its first occurrence, folded from a run's events. Pure. */

import { fields } from "./coerce.js";
import { kindOf } from "./lines.js";
import { kindName } from "./same.js";
import { words } from "./text.js";

/** The most different problems that are kept: a game may put a number into each of its errors. */
export const MAX_PROBLEMS = 100;

/** @returns {Problems} */
export const problems = () => ({ found: new Map(), more: 0, reports: false });

/** Adds the problem of an event, if it reports one. @param {Problems} all changed in place @param {RunEvent} event */
export function note(all, event) {
  const kind = kindOf(event);
  const about = fields(event.data);
  if (about.seen || about.finding) all.reports = true; // a control, a finding
  // The page shows the event that ended the run elsewhere.
  if ((kind !== "problem" && kind !== "error") || event.status === "failed") return;
  const finding = fields(about.finding);
  const title = words(finding.title);
  const text = title || (about.kind !== "test" && typeof about.detail === "string" && words(about.detail)) || words(event.message);
  const name = kind === "error" ? "Error" : kindName(title ? finding.kind : about.kind);
  const key = `${name}\n${text}`;
  const known = all.found.get(key);
  if (known) known.count++;
  else if (all.found.size === MAX_PROBLEMS) all.more++;
  else all.found.set(key, { name, text, count: 1, time: event.timestamp, seq: event.seq, finding: title !== "" });
}
