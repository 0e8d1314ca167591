/** The pill that says how fresh the page is, and the panel that explains it. `describe` is pure. */

import { MAX_ATTEMPTS, polls } from "./connection.js";
import { h, setAttr, setText } from "./dom.js";
import { clock, count, latency } from "./format.js";

/**
 * @typedef {object} Health
 * @property {Connection} connection
 * @property {number} now              ms since 1970
 * @property {number} freshAt          when data last came that was not stale, ms; 0 for never
 * @property {boolean} stale           an edge says that what it sends may be old
 * @property {boolean} pollAnswered
 * @property {number|null} latencyMs   from an event's publishing to its painting
 * @property {number} runs             on the page
 */

/** @typedef {"live"|"connecting"|"reconnecting"|"polling"|"ended"|"stale"|"refused"} Kind */

const SIGNS = { live: "●", connecting: "◌", reconnecting: "◌", polling: "◔", ended: "■", stale: "▲", refused: "■" };

/**
 * What the pill says, and why.
 *
 * @param {Health} health
 * @returns {{kind: Kind, label: string, explanation: string}}
 */
export function describe({ connection, now, latencyMs, freshAt, stale, pollAnswered, runs }) {
  const { state, attempt, deadlineAt } = connection;
  const say = (/** @type {Kind} */ kind, /** @type {string} */ label, /** @type {string} */ explanation) => ({
    kind,
    label,
    explanation,
  });
  const staleLabel = `Stale since ${clock(freshAt)}`;
  const over = "All tests ended";
  if (state === "idle") return say("ended", "Not connected", "There is nothing to watch on this page.");
  if (state === "refused")
    return say("refused", "Connection refused", `The edge said no: ${connection.reason}. The page does not ask again.`);
  if (state === "finished")
    return say("ended", over, "Nothing more is expected, so the page keeps no connection. A new test connects again.");
  if (state === "live") {
    if (stale)
      return say(
        "stale",
        staleLabel,
        "The edge answers, but can't reach the broker. What you see was true at that time; the page goes on by itself.",
      );
    if (!connection.wanted && runs > 0)
      return say("ended", over, "Nothing more is expected. The page stays connected: a new test appears by itself.");
    const text = "Events appear here as the agent publishes them.";
    if (latencyMs === null) return say("live", "Live", text);
    return say(
      "live",
      `Live · ${latency(latencyMs)}`,
      `${text} The newest took ${latency(latencyMs)} from the agent's clock to this screen.`,
    );
  }
  const waitS = Math.max(0, Math.ceil((deadlineAt - now) / 1000));
  const next = state === "waiting" ? `in ${waitS} s` : "now";
  const tries =
    attempt > MAX_ATTEMPTS ? `A try every 30 s: ${next}.` : `Attempt ${attempt} of ${MAX_ATTEMPTS}: ${next}.`;
  if (polls(connection) && pollAnswered) {
    if (stale) return say("stale", staleLabel, `The socket fails, and the edge can't reach the broker. ${tries}`);
    return say(
      "polling",
      "Polling every 3 s",
      `The socket fails, so the page asks every 3 s instead; nothing is lost. ${tries}`,
    );
  }
  if (attempt > MAX_ATTEMPTS)
    return say(
      "stale",
      freshAt ? staleLabel : "Edge not reachable",
      `Neither the socket nor polling gets an answer. ${tries}`,
    );
  if (attempt === 0) return say("connecting", "Connecting", "The page asks the edge for a socket.");
  const label = `Reconnecting ${attempt}/${MAX_ATTEMPTS}${state === "waiting" ? ` · ${waitS} s` : ""}`;
  return say(
    "reconnecting",
    label,
    `The connection was lost. ${tries} Events that you miss meanwhile come afterwards.`,
  );
}

export class Pill {
  /** @param {{onRetry: () => void, onChange: (label: string) => void}} hooks onChange: it is of another kind now */
  constructor({ onRetry, onChange }) {
    this.onChange = onChange;
    /** @type {Kind|null} */
    this.kind = null;
    this.sign = h("span.pill-sign", { "aria-hidden": "true" });
    this.label = h("span.pill-label");
    this.button = h("button.pill", { id: "connection", popovertarget: "connection-panel" }, this.sign, this.label);
    this.title = h("strong");
    this.text = h("p");
    this.facts = h("p.facts");
    this.retry = h("button.secondary", { onclick: onRetry }, "Try now");
    this.panel = h(
      "div.panel",
      { id: "connection-panel", popover: "auto", role: "dialog", "aria-label": "Connection" },
      this.title,
      this.text,
      this.facts,
      this.retry,
    );
  }

  /** @param {Health} health */
  update(health) {
    const { kind, label, explanation } = describe(health);
    setAttr(this.button, "data-kind", kind);
    setText(this.sign, SIGNS[kind]);
    setText(this.label, label);
    setText(this.title, label);
    setText(this.text, explanation);
    const { freshAt, runs } = health;
    setText(this.facts, freshAt ? `Last message ${clock(freshAt)} · ${count(runs, "test")}` : "Nothing received yet");
    // A live socket answers a probe; there is nothing to try.
    this.retry.hidden = kind === "live" || kind === "connecting";
    if (this.kind !== null && kind !== this.kind) this.onChange(label);
    this.kind = kind;
  }
}
