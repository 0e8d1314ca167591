/** The controls under a time line, and the keys that do the same. */

import { h, icon, setAttr, setText } from "../dom.js";
import { toClipboard } from "../feed-tools.js";
import { count } from "../format.js";
import { SPEEDS } from "./playhead.js";

/** How long a button shows its result, ms. */
const SAID_MS = 2500;
/** What the space bar and Enter press themselves. */
const PRESSED_BY_KEYS = "button, a, summary, select, [role=button]";
/** Moments that a page key goes. */
const PAGE = 10;

export class Controls {
  /** For the list of all keys. @type {Array<[string, string]>} */
  keys = [
    ["←  →", "The moment before; the next"],
    ["⇧ ←  ⇧ →", "The problem before; the next"],
    ["Space", "Play, pause"],
    ["1  2  4  8", "How fast it plays"],
    ["L", "Live: to now, and stay there"],
  ];

  /** @param {import("./recorder.js").Recorder} recorder @param {(text: string) => void} say */
  constructor(recorder, say) {
    this.recorder = recorder;
    const { head } = recorder;
    const now = () => performance.now();
    const act = (/** @type {() => void} */ command) => () => recorder.act(command);
    this.back = iconButton("stepBack", "The moment before", "ArrowLeft", act(() => head.step(-1, now())));
    this.playIcon = h("span.recorder-play-icon");
    this.play = h("button.quiet.recorder-play", { "aria-keyshortcuts": "Space", onclick: act(() => head.toggle(now())) }, this.playIcon);
    this.next = iconButton("stepOn", "The next moment", "ArrowRight", act(() => head.step(1, now())));
    this.speed = h("button.quiet.recorder-speed", { onclick: () => this.faster() });
    this.time = h("span.recorder-time");
    const { marks } = recorder;
    this.overs = this.jump("flag", "over", () => marks.seqs.overs);
    this.problems = this.jump("problem", "problem", () => marks.seqs.problems);
    this.copy = h("button.quiet", { title: "Copy the address of this moment", onclick: () => this.copyLink(say) }, icon("link"), h("span", "Copy link"));
    this.fresh = h("span.recorder-fresh");
    this.liveWords = h("span");
    this.live = h("button.recorder-live", { "aria-keyshortcuts": "L", onclick: act(() => head.goLive()) }, this.liveWords, this.fresh);
    this.root = h(
      "div.recorder-controls",
      h("div.recorder-transport", { role: "group", "aria-label": "Play" }, this.back, this.play, this.next, this.speed),
      this.time,
      h("div.recorder-jumps", this.overs, this.problems),
      h("div.recorder-end", this.copy, this.live),
    );
    this.timer = 0;
    this.drawnPlaying = "";
  }

  /** @param {"flag"|"problem"} name @param {string} kind @param {() => number[]} seqs */
  jump(name, kind, seqs) {
    const { recorder } = this;
    const go = () => recorder.act(() => goRound(recorder.head, seqs()));
    return h("button.quiet.recorder-jump", { hidden: true, "data-kind": kind, onclick: go }, icon(name), h("span"));
  }

  /** @param {import("./playhead.js").ShownMoment} shown */
  draw({ live, fresh, playing, index }) {
    const { recorder } = this;
    if (this.drawnPlaying !== String(playing)) {
      this.drawnPlaying = String(playing);
      this.playIcon.replaceChildren(icon(playing ? "pause" : "play"));
      setAttr(this.play, "aria-label", playing ? "Pause" : "Play");
      setAttr(this.play, "title", playing ? "Pause" : "Play");
    }
    setText(this.speed, `${recorder.head.speed}×`);
    setAttr(this.speed, "aria-label", `${recorder.head.speed}×, speed`);
    this.back.disabled = index <= 0;
    this.next.disabled = live;
    setText(this.liveWords, recorder.ended ? "End" : "Live");
    setAttr(this.live, "aria-pressed", String(live));
    setText(this.fresh, fresh ? `${fresh.toLocaleString("en")} new` : "");
    const { overs, problems } = recorder.marks.seqs;
    for (const [button, seqs, noun] of /** @type {const} */ ([[this.overs, overs, "game over"], [this.problems, problems, "problem"]])) {
      button.hidden = seqs.length === 0;
      setText(button.lastElementChild ?? button, count(seqs.length, noun));
      setAttr(button, "title", `Show the next ${noun}`);
    }
  }

  /** @param {string} at @param {string} total */
  drawTime(at, total) {
    setText(this.time, `${at} / ${total}`);
  }

  faster() {
    const { head } = this.recorder;
    const next = SPEEDS[(SPEEDS.indexOf(head.speed) + 1) % SPEEDS.length];
    this.recorder.act(() => head.setSpeed(next, performance.now()));
  }

  /** @param {(text: string) => void} say */
  async copyLink(say) {
    const label = this.copy.lastElementChild ?? this.copy;
    const copied = await toClipboard(this.recorder.link);
    const words = copied ? "Copied" : "The browser refused";
    setText(label, words);
    say(copied ? "Copied the link" : words);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => setText(label, "Copy link"), SAID_MS);
  }

  /** A key was pressed while nobody types. @param {KeyboardEvent} event @returns {boolean} whether it does something here */
  pressed(event) {
    const { recorder } = this;
    const { head } = recorder;
    const { key, shiftKey, target } = event;
    const now = performance.now();
    if (recorder.root.hidden || document.querySelector("dialog[open]")) return false;
    const on = target instanceof Element ? target : document.body;
    const onTrack = recorder.track.root.contains(on);
    const command = onTrack ? this.ofSlider(key, now) : null;
    const way = key === "ArrowLeft" ? -1 : key === "ArrowRight" ? 1 : 0;
    if (command) recorder.act(command);
    else if (way && shiftKey) recorder.act(() => head.stepTo(recorder.marks.seqs.problems, way, now));
    else if (way) recorder.act(() => head.step(way, now));
    else if (key === " " && !on.closest(PRESSED_BY_KEYS)) recorder.act(() => head.toggle(now));
    else if (key === "l" || key === "L") recorder.act(() => head.goLive());
    else if (SPEEDS.includes(Number(key)) && key !== " ") recorder.act(() => head.setSpeed(Number(key), now));
    else return false;
    return true;
  }

  /** What a key does while the slider has the focus. @param {string} key @param {number} now @returns {(() => void)|null} */
  ofSlider(key, now) {
    const { head } = this.recorder;
    /** @type {Record<string, () => void>} */
    const commands = {
      Home: () => head.goTo(0, now),
      End: () => head.goLive(),
      PageUp: () => head.step(PAGE, now),
      PageDown: () => head.step(-PAGE, now),
      ArrowUp: () => head.step(1, now),
      ArrowDown: () => head.step(-1, now),
    };
    return commands[key] ?? null;
  }
}

/** To the next of some events; after the last, to the first. @param {import("./playhead.js").Playhead} head @param {number[]} seqs */
function goRound(head, seqs) {
  const { address } = head;
  const now = performance.now();
  if (!head.live) head.stepTo(seqs, 1, now);
  if (head.address === address) head.seek({ seq: seqs[0], number: 0 }, now);
}

/** @param {"stepBack"|"stepOn"} name @param {string} words @param {string} key @param {() => void} onclick */
const iconButton = (name, words, key, onclick) =>
  h("button.quiet", { "aria-label": words, title: words, "aria-keyshortcuts": key, onclick }, icon(name));
