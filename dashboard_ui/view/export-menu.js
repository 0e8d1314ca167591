/** Takes a run along: a button, and a dialog with the formats and the stretch of the run. */

import { BASE } from "../client/rpc.js";
import { h, setAttr, setText } from "./dom.js";
import { count, reasonOf } from "./format.js";
import { MAX_PICTURES, MAX_WIDTH, picturesOf } from "./stretch.js";

/** The formats of the edge: its word, the name, what it is. @type {Array<[string, string, string]>} */
const FORMATS = [
  ["html", "HTML", "This page with everything in it, to be opened without a network"],
  ["json", "JSON", "Snapshot, events and pictures, for programs"],
  ["junit", "JUnit", "The verdict and the problems, for CI systems"],
];

/** Those that the page makes: as the edge's. @type {Array<[import("./stretch.js").Form, string, string]>} */
const ANIMATIONS = [
  ["webp", "WebP", "The pictures as an animation, made in this browser"],
  ["gif", "GIF", `The same for programs that show no WebP: larger, and at most ${MAX_WIDTH.gif} pixels wide`],
];

/** What makes animations: most readers never want one. @returns {Promise<typeof import("./animation.js")>} */
const makers = () =>
  import("./animation.js").catch(() => {
    throw new Error("The edge did not answer. Is it running?");
  });

/** How often an open dialog counts the pictures. */
const DRAW_MS = 500;

export class ExportMenu {
  /**
   * @param {string} testId
   * @param {object} how
   * @param {import("../client/frames.js").Frames} how.frames
   * @param {() => number} how.moment the event that is shown; 0: the newest
   * @param {() => RunEvent[]} how.events those that are here
   * @param {boolean} [how.edge] whether an edge is behind the page
   */
  constructor(testId, { frames, moment, events, edge = true }) {
    this.testId = testId;
    this.frames = frames;
    this.moment = moment;
    this.events = events;
    this.busy = false;
    /** @type {ReturnType<typeof setInterval>|undefined} */
    this.timer = undefined;
    this.from = this.mark("export-from", "From event", "From here");
    this.to = this.mark("export-to", "To event", "To here");
    this.links = FORMATS.map(([format, name, about]) => ({
      format,
      link: h("a.secondary", { download: "", "aria-describedby": `export-${format}` }, name),
      about: h("p.hint", { id: `export-${format}` }, about),
    }));
    this.makers = ANIMATIONS.map(([form, name, about]) => ({
      button: h("button.secondary", { "aria-describedby": `export-${form} export-pictures`, onclick: () => this.makeAnimation(form) }, name),
      about: h("p.hint", { id: `export-${form}` }, about),
    }));
    this.pictures = h("p.hint", { id: "export-pictures" });
    this.problem = h("p.form-error", { role: "alert" });
    this.said = h("p.hint", { role: "status" });
    const rows = edge ? this.links.map(({ link, about }) => h("div.export-row", link, about)) : [];
    this.dialog = h(
      "dialog.keys.export",
      { "aria-labelledby": "export-title" },
      h("h2", { id: "export-title" }, "Export this test"),
      ...rows,
      ...this.makers.map(({ button, about }) => h("div.export-row", button, about)),
      this.pictures,
      h("h2", "Only a part of it"),
      h("div.export-marks", this.from.root, this.to.root),
      this.problem,
      this.said,
      h("button.secondary", { onclick: () => this.dialog.close() }, "Close"),
    );
    this.dialog.addEventListener("close", () => clearInterval(this.timer));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.root = h("span.share-box", h("button.secondary", { onclick: () => this.open() }, "Export"), this.dialog);
  }

  /** A field for an event, and the button that puts the moment into it. @param {string} id @param {string} words @param {string} button */
  mark(id, words, button) {
    const input = h("input", { id, type: "number", min: 1, step: 1, inputmode: "numeric", placeholder: "all", oninput: () => this.draw() });
    const here = h("button.secondary", { onclick: () => this.markHere(input), title: "The moment that is shown" }, button);
    return { input, root: h("div.export-mark", h("label", { for: id }, words), input, here) };
  }

  /** @param {HTMLInputElement} input */
  markHere(input) {
    input.value = String(this.moment() || (this.events().at(-1)?.seq ?? ""));
    this.draw();
  }

  open() {
    setText(this.said, "");
    this.frames.want(this.testId, { history: true });
    this.draw();
    this.timer = setInterval(() => this.draw(), DRAW_MS); // the list of pictures, and a run that goes on
    this.dialog.showModal();
  }

  /** The chosen stretch; null: it is none. @returns {{from: number, to: number}|null} */
  stretch() {
    const [from, to] = [this.from.input, this.to.input].map((input) => (input.value === "" ? NaN : Number(input.value)));
    const stretch = { from: Number.isNaN(from) ? 0 : from, to: Number.isNaN(to) ? Infinity : to };
    const whole = [from, to].every((seq) => Number.isNaN(seq) || (Number.isSafeInteger(seq) && seq > 0));
    const valid = this.from.input.validity.valid && this.to.input.validity.valid;
    return whole && valid && stretch.from <= stretch.to ? stretch : null;
  }

  draw() {
    const stretch = this.stretch();
    setText(this.problem, stretch ? "" : "The first event has to be before the last, and both are numbers.");
    for (const { format, link } of this.links) setAttr(link, "href", stretch && this.address(format, stretch));
    const pictures = stretch ? this.chosen(stretch).list.length : 0;
    const many = pictures > MAX_PICTURES ? `, and ${MAX_PICTURES} are the most of an animation: choose a part` : "";
    setText(this.pictures, stretch ? `${count(pictures, "picture")}${many}` : "");
    for (const { button } of this.makers) button.disabled = this.busy || pictures === 0 || many !== "";
  }

  /** @param {string} format @param {{from: number, to: number}} stretch */
  address(format, { from, to }) {
    const query = new URLSearchParams({ format });
    if (from) query.set("from", String(from));
    if (to < Infinity) query.set("to", String(to));
    return `${BASE}tests/${encodeURIComponent(this.testId)}/export?${query}`;
  }

  /** The pictures of a stretch, and when its first and its last event happened. @param {{from: number, to: number}} stretch */
  chosen(stretch) {
    const inside = this.events().filter(({ seq }) => seq >= stretch.from && seq <= stretch.to);
    const times = { begin: inside[0]?.timestamp ?? 0, end: inside.at(-1)?.timestamp ?? 0 };
    const { list } = this.frames.of(this.testId);
    const whole = stretch.from === 0 && stretch.to === Infinity;
    return { times, list: whole ? list : picturesOf(list, stretch, times) };
  }

  /** @param {import("./stretch.js").Form} form */
  async makeAnimation(form) {
    const stretch = this.stretch();
    if (!stretch) return;
    const { list, times } = this.chosen(stretch);
    this.busy = true;
    this.draw();
    setText(this.problem, "");
    try {
      const { animation } = await makers();
      const blob = await animation(form, list, times, {
        url: (number) => this.frames.url(this.testId, number),
        onProgress: (done) => setText(this.said, `${done} of ${count(list.length, "picture")}`),
      });
      const href = URL.createObjectURL(blob);
      h("a", { href, download: `testcast-${this.testId.slice(0, 8)}.${form}` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000); // Safari reads it after the click event
      setText(this.said, `${count(list.length, "picture")}, ${(blob.size / 1e6).toFixed(1)} MB`);
    } catch (error) {
      setText(this.said, reasonOf(error));
    }
    this.busy = false;
    this.draw();
  }
}
