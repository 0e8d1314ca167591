/**
 * The page of an exported run: the run's own page, over what the file holds. It has no edge, and asks nobody for
 * anything. `broker/export/page.py` writes the file.
 */

import { compareClocks, now } from "../client/now.js";
import { Store } from "../client/store.js";
import { day } from "./dates.js";
import { h, setTime } from "./dom.js";
import { read } from "./exported-file.js";
import { FeedLog } from "./feed-log.js";
import { Foot } from "./foot.js";
import { clock } from "./format.js";
import { Keys } from "./keys.js";
import { RunPage } from "./run.js";

const file = read(document);
const { testId } = file.about.snapshot;
const announcer = h("div.visually-hidden", { role: "status", id: "announcer" });

// A run that had not ended stands still at the moment when it was exported, a part of a run at the last of its events.
const last = file.events.at(-1);
const isCut = last !== undefined && last.seq < file.about.head;
const still = isCut ? last.timestamp : file.about.exportedAt;
if (isCut || !file.about.ended) await compareClocks(() => Promise.resolve({ now: still }));

const store = new Store({ only: testId, newFeed: () => new FeedLog({ whole: true, now }), now });
store.pin(testId, file.about.snapshot);
store.setOpened(testId, true);
store.page(testId, null, { ...file.about, events: file.events, unreadable: file.unreadable });

const absent = () => Promise.reject(new Error("A file has no edge."));
const actions = {
  frames: file.frames,
  offline: true,
  may: () => false,
  share: () => null,
  whyNoSubmit: () => "",
  say: (/** @type {string} */ text) => announcer.replaceChildren(text),
  open() {},
  cancel: absent,
  keep: absent,
  expect() {},
  submit: absent,
  watch: absent,
  firstEvent: () => Promise.resolve(file.events[0]),
  config: () => Promise.resolve({}),
  list: absent,
};
const page = new RunPage(testId, actions);
// Nothing is read of the pictures while nobody sees the page, as in a tab that was opened behind another.
document.addEventListener("visibilitychange", () => file.frames.resume());

const { exportedAt, ended, eventsGone, framesGone, from, to } = file.about;

/** When the file was made, for the bar. */
function saved() {
  const at = h("time");
  setTime(at, exportedAt, `${day(exportedAt)} ${clock(exportedAt).slice(0, 5)}`);
  return h("p.exported-when.meta", ended ? "Saved " : "As of ", at);
}

/** What else the reader has to know of the file. */
function notes() {
  const said = [];
  if (!ended) said.push("The run had not ended when this file was made.");
  if (to !== undefined) said.push(`This file holds a part of the run only: ${from ? `events ${from} to ${to}` : `up to event ${to}`}.`);
  if (eventsGone) said.push("The run's first events were no longer kept.");
  if (framesGone && document.querySelector("script.testcast-frame")) said.push("No earlier pictures of the run were kept.");
  return said.length ? h("p.degraded", said.join(" ")) : "";
}

const keys = new Keys(page.feed.tools.search, false, page.recorder.controls);
const foot = new Foot(keys.button);
foot.update({ version: file.about.madeBy.replace(/^testcast /, "") });
document.querySelector("#connection-status")?.replaceWith(saved());
page.root.prepend(notes());
document.querySelector("#main")?.replaceWith(page.root);
document.body.append(foot.root, keys.dialog, announcer);

const run = store.runs.get(testId);
if (run) page.update(run);
