/**
 * Reads an exported run out of its file. `broker/export/page.py` writes it: elements of data, which no browser runs.
 *
 * Pictures stay text until they are shown: a file may hold thousands.
 */

import { Frames } from "../client/frames.js";

const JPEG = "data:image/jpeg;base64,";
const NOTHING = "data:,";

/**
 * @param {Document} document
 */
export function read(document) {
  const about = JSON.parse(textOf(document.getElementById("testcast-run")));
  const { testId } = about.snapshot;
  const events = [...document.querySelectorAll("script.testcast-events")].flatMap((each) => JSON.parse(textOf(each)));
  const unreadable = { ...JSON.parse(textOf(document.getElementById("testcast-unreadable"))), seq: about.head };
  /** @type {Map<number, Element>} */
  const pictures = new Map();
  /** @type {number[][]} */
  const rows = [];
  for (const each of document.querySelectorAll("script.testcast-frame")) {
    const [number, seq, at] = ["number", "seq", "at"].map((name) => Number(each.getAttribute(`data-${name}`)));
    pictures.set(number, each);
    rows.push([number, seq, at]);
  }
  const frames = new Frames({
    ask: async () => ({ frames: rows, newest: rows.at(-1)?.[0] ?? 0, more: false, gone: about.framesGone }),
    url: (id, number) => {
      const found = id === testId ? pictures.get(number) : undefined;
      return found ? JPEG + textOf(found) : NOTHING;
    },
  });
  return { about, events, unreadable, frames };
}

/** @param {Element|null} element */
const textOf = (element) => element?.textContent ?? "null";
