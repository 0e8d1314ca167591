/** The colours of a program's output. Each sequence names the whole style of the text after it. Pure. */

import { clean, shorten } from "./text.js";

/**
 * @param {string} ansi text with sequences of colours
 * @returns {Array<[string, string]>} the classes and the text of each part
 */
export function runs(ansi) {
  const parts = ansi.split(/\x1b\[([\d;]*)m/);
  return parts.flatMap((codes, i) => (i % 2 || !clean(codes) ? [] : [[i ? classes(parts[i - 1]) : "", shorten(clean(codes))]]));
}

/** A colour behind the text becomes that of the text, which stands out on every page. @param {string} codes */
function classes(codes) {
  const [flags, colours] = [/** @type {string[]} */ ([]), [0]];
  for (const code of codes.split(";").map(Number)) {
    if (code >= 30) colours.unshift(code % 10);
    else if (code) flags.push(`sgr-${code}`);
  }
  const colour = colours.find((each) => each > 0 && each < 7);
  return [...flags, ...(colour ? [`sgr-3${colour}`] : [])].join(" ");
}
