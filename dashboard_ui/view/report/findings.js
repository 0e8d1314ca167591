/** Findings as cards, the worst first: one sentence each, and what shows it again one click away. */

import { h, icon, setText } from "../dom.js";
import { toClipboard } from "../feed-tools.js";
import { EvidencePicture } from "./evidence.js";
import { gestureList } from "./keycaps.js";
import { commandOf, gameTime, seenWords } from "./words.js";

/** How long a button says what it has done, ms. */
const SAID_MS = 2000;

/** @type {Record<Severity, string>} */
const SEVERITY = { high: "High", medium: "Medium", low: "Low" };

export class FindingList {
  /**
   * @param {string} testId
   * @param {object} how
   * @param {import("./evidence.js").Evidence} how.evidence
   * @param {(text: string) => void} how.say
   * @param {string} how.base the edge's address; "" of a file
   * @param {(n: number) => string} how.title
   * @param {boolean} [how.apart] these are no findings, and none is opened unasked
   */
  constructor(testId, { evidence, say, base, title, apart = false }) {
    this.testId = testId;
    this.how = { evidence, say, base, title, apart };
    this.head = h("h2");
    this.note = h("p.hint", { hidden: true });
    this.list = h("ol.findings-list");
    /** @type {Map<string, Card>} */
    this.cards = new Map();
    this.opened = false;
    this.root = h("section.findings", { hidden: true, "aria-label": title(2).replace("2 f", "F") }, this.head, this.note, this.list);
    if (apart) this.root.classList.add("findings-once");
  }

  /** @param {Finding[]} findings @param {boolean} known whether their absence says something @param {string} note */
  update(findings, known, note) {
    const { title, apart } = this.how;
    this.root.hidden = findings.length === 0 && !known;
    setText(this.head, title(findings.length));
    setText(this.note, note);
    this.note.hidden = findings.length > 0 && !apart;
    const before = this.cards;
    this.cards = new Map();
    for (const finding of findings) {
      const key = `${finding.id}\n${finding.title}`;
      const said = JSON.stringify(finding);
      const known = before.get(key);
      if (known?.said === said) this.cards.set(key, known);
      else this.cards.set(key, new Card(this.testId, finding, said, this.how, known?.root.open === true));
    }
    const roots = [...this.cards.values()].map(({ item }) => item);
    if (roots.length !== this.list.children.length || roots.some((root, i) => this.list.children[i] !== root)) this.list.replaceChildren(...roots);
  }

  drawPictures() {
    for (const card of this.cards.values()) card.picture.draw();
  }

  /** Opens the worst, once: the run has ended. */
  openFirst() {
    const [first] = this.cards.values();
    if (first && !this.opened) first.root.open = this.opened = true;
  }

  /** Opens a finding and goes to it. @param {string} id @returns {boolean} whether it is here */
  open(id) {
    const card = [...this.cards.values()].find(({ finding }) => finding.id === id);
    if (!card) return false;
    card.root.open = true;
    card.head.focus({ preventScroll: true });
    card.root.scrollIntoView({ block: "nearest" });
    return true;
  }
}

class Card {
  /** @param {string} testId @param {Finding} finding @param {string} said @param {FindingList["how"]} how @param {boolean} open */
  constructor(testId, finding, said, how, open) {
    this.finding = finding;
    this.said = said;
    const { severity, title, detail, stack, seq } = finding;
    this.picture = new EvidencePicture(how.evidence, seq, `Before and after: ${title}`);
    this.head = h(
      "summary.finding-head",
      h("span.severity", { "data-severity": severity }, SEVERITY[severity]),
      h("h3.finding-title", title),
      h("span.finding-facts", facts(finding).join(" · ")),
    );
    const moment = seq > 0 && h("button.quiet", { onclick: () => this.picture.go() }, icon("play"), "Show this moment");
    this.root = h(
      "details.finding",
      { open },
      this.head,
      h(
        "div.finding-body",
        detail && !title.includes(detail) && h("p.finding-detail", detail),
        this.picture.root,
        again(testId, finding, how),
        stack && h("details.finding-stack", h("summary", "Stack"), h("pre", { tabindex: "0" }, stack)),
        moment,
      ),
    );
    this.item = h("li", this.root);
  }
}

/** @param {Finding} finding @returns {string[]} */
function facts({ name, seen, atMs, real }) {
  const when = !atMs ? "" : real ? `after ${gameTime(atMs)}` : `${gameTime(atMs)} into the game`;
  return [name === "Problem" ? "" : name, seenWords(seen), when, real ? "in real time" : ""].filter(Boolean);
}

/** What shows it again. @param {string} testId @param {Finding} finding @param {FindingList["how"]} how */
function again(testId, finding, { say, base }) {
  const line = commandOf(testId, finding.id, base);
  if (!line && !finding.inputs.length && finding.until === undefined) return "";
  return h(
    "div.again",
    h("h4", "How to see it again"),
    gestureList(finding),
    finding.real && h("p.hint", "It was found in real time: the same inputs show it again only where the game's timing is the same."),
    line && command(line, say),
  );
}

/** @param {string} line @param {(text: string) => void} say */
function command(line, say) {
  const label = h("span", "Copy");
  const copy = async () => {
    const copied = await toClipboard(line);
    setText(label, copied ? "Copied" : "Not copied");
    say(copied ? "Copied" : "This browser does not let the page copy");
    setTimeout(() => setText(label, "Copy"), SAID_MS);
  };
  return h("div.command", h("code", line), h("button.quiet", { title: "Copy the command", onclick: copy }, icon("copy"), label));
}
