/** The colours of a program's output. Each sequence names the whole style of the text after it. Pure. */

import { clean } from "./text.js";

/**
 * @param {string} ansi text with sequences of colours
 * @returns {Array<[string, string]>} the classes and the text of each part
 */
export const runs = (ansi) =>
  ansi.split(/\x1b\[([\d;]*)m/).flatMap((part, i, all) => (i % 2 ? [] : [[look(all[i - 1]), clean(part)]]));

/** A colour behind the text becomes that of the text, which stands out on every page. @param {string} [codes] */
function look(codes = "") {
  const all = codes.split(";").map(Number);
  const colour = all.findLast((code) => code >= 30 && code % 10 > 0 && code % 10 < 7);
  return [...all.filter((code) => code > 0 && code < 30), ...(colour ? [30 + (colour % 10)] : [])].map((code) => `sgr-${code}`).join(" ");
}
