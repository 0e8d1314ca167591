/** The connection status in the page's header: how current the page is, and a panel that explains it. */

import { MAX_ATTEMPTS, polls } from "../client/connection.js";
import { when } from "./dates.js";
import { h, setAttr, setText } from "./dom.js";
import { count, latency } from "./format.js";

/**
 * @typedef {object} Health
 * @property {Connection} connection
 * @property {number} now              ms since 1970
 * @property {number} freshAt          when data that is not stale last arrived, ms; 0 for never
 * @property {boolean} stale           an edge says that its data may be old
 * @property {boolean} pollAnswered    whether the last poll was answered
 * @property {boolean} [streams]       whether a stream over HTTP delivers
 * @property {number|null} latencyMs   from the publishing of an event to its painting; null: unknown
 * @property {number} runs             on the page
 */

/** @typedef {"live"|"connecting"|"reconnecting"|"streaming"|"polling"|"ended"|"stale"|"refused"} Kind */
/** @typedef {{kind: Kind, label: string, explanation: string}} Description */

const SIGNS = { live: "●", connecting: "◌", reconnecting: "◌", streaming: "◑", polling: "◔", ended: "■", stale: "▲", refused: "■" };

const ENDED = "All tests ended";
const LIVE = "Events appear here as the agent publishes them.";

/** @param {Kind} kind @param {string} label @param {string} explanation @returns {Description} */
const say = (kind, label, explanation) => ({ kind, label, explanation });

/** Since when, if that is known. @param {Health} health */
const staleSince = ({ freshAt, now }) => (freshAt > 0 ? `Stale since ${when(freshAt, now)}` : "Stale");

/** What the status says, and why. Pure. @param {Health} health @returns {Description} */
export function describe(health) {
  const { connection } = health;
  switch (connection.state) {
    case "idle":
      return say("ended", "Not connected", "There is nothing to watch on this page.");
    case "refused":
      return say("refused", "Connection refused", `The edge refused: ${connection.reason}. The page does not retry.`);
    case "finished":
      return say("ended", ENDED, "Nothing more is expected, so the page has no connection. A new test connects again.");
    case "live":
      return describeLive(health);
    default:
      return describeLost(health);
  }
}

/** @param {Health} health @returns {Description} */
function describeLive(health) {
  const { connection, stale, runs, latencyMs } = health;
  if (stale) {
    const what = health.freshAt > 0 ? "the state at that time" : "what the edge remembers";
    const text = `The edge answers, but can't reach the broker. The page shows ${what} and updates when the broker is back.`;
    return say("stale", staleSince(health), text);
  }
  if (!connection.wanted && runs > 0)
    return say("ended", ENDED, "Nothing more is expected. The page stays connected: a new test appears by itself.");
  if (latencyMs === null) return say("live", "Live", LIVE);
  const took = latency(latencyMs);
  return say("live", `Live · ${took}`, `${LIVE} The newest took ${took} from the agent's clock to this screen.`);
}

/** Without a socket that delivers. @param {Health} health @returns {Description} */
function describeLost(health) {
  const { connection, now, freshAt, stale, pollAnswered, streams } = health;
  const { state, attempt, deadlineAt } = connection;
  const waitS = Math.max(0, Math.ceil((deadlineAt - now) / 1000));
  const next = state === "waiting" ? `in ${waitS} s` : "now";
  const tries =
    attempt > MAX_ATTEMPTS ? `An attempt every 30 s: ${next}.` : `Attempt ${attempt} of ${MAX_ATTEMPTS}: ${next}.`;
  if (streams || (polls(connection) && pollAnswered)) {
    if (stale)
      return say("stale", staleSince(health), `The socket fails, and the edge can't reach the broker. ${tries}`);
    if (streams)
      return say(
        "streaming",
        "Live over HTTP",
        `The socket fails, so events come at once as a stream over HTTP; nothing is lost. ${tries}`,
      );
    return say(
      "polling",
      "Polling every 3 s",
      `The socket fails, and so does a stream, so the page asks every 3 s; nothing is lost. ${tries}`,
    );
  }
  if (attempt > MAX_ATTEMPTS) {
    const label = freshAt ? staleSince(health) : "Edge not reachable";
    return say("stale", label, `Neither the socket nor HTTP gets an answer. ${tries}`);
  }
  if (attempt === 0) return say("connecting", "Connecting", "The page opens a socket to the edge.");
  return say(
    "reconnecting",
    `Reconnecting ${attempt}/${MAX_ATTEMPTS}${state === "waiting" ? ` · ${waitS} s` : ""}`,
    `The connection was lost. ${tries} Missed events arrive afterwards.`,
  );
}

export class ConnectionStatus {
  /** @param {{onRetry: () => void, onChange: (label: string) => void}} hooks onChange: the kind has changed */
  constructor({ onRetry, onChange }) {
    this.onChange = onChange;
    /** @type {Kind|null} */
    this.kind = null;
    this.sign = h("span.connection-status-sign", { "aria-hidden": "true" });
    this.label = h("span.connection-status-label");
    this.button = h(
      "button.connection-status",
      { id: "connection", popovertarget: "connection-panel" },
      this.sign,
      this.label,
    );
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
    this.root = h("div", { id: "connection-status" }, this.button, this.panel);
  }

  /** @param {Health} health */
  update(health) {
    const { kind, label, explanation } = describe(health);
    setAttr(this.button, "data-kind", kind);
    setText(this.sign, SIGNS[kind]);
    setText(this.label, label);
    setText(this.title, label);
    setText(this.text, explanation);
    const { freshAt, runs, now } = health;
    const last = freshAt > 0 ? `Last message ${when(freshAt, now)} · ${count(runs, "test")}` : "Nothing received yet";
    setText(this.facts, last);
    this.retry.hidden = kind === "live" || kind === "connecting";
    if (this.kind !== null && kind !== this.kind) this.onChange(label);
    this.kind = kind;
  }
}
