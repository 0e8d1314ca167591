/** The button in the header that shows the agents, and what the queue's places wait. */

import { rpc } from "../client/rpc.js";
import { h } from "./dom.js";
import { report } from "./fence.js";
import { setWaits } from "./queue-waits.js";

/** The interval while the panel is open, and while tests are queued, ms. */
const OPEN_EVERY_MS = 3000;
const QUEUED_EVERY_MS = 5000;

export class AgentsButton {
  /** @param {() => void} onWaits the waits of the queue have changed */
  constructor(onWaits) {
    this.onWaits = onWaits;
    this.askedAt = -Infinity;
    this.asking = false;
    /** What the panel shows, made when it is first opened. @type {import("./agents.js").AgentsView|null} */
    this.view = null;
    this.panel = h("div.panel.agents", { id: "agents-panel", popover: "auto", role: "dialog", "aria-label": "Agents" });
    this.panel.append(h("p", "Loading…"));
    this.button = h("button.connection-status", { id: "agents", popovertarget: "agents-panel" }, "Agents");
    this.root = h("div", this.button, this.panel);
    this.panel.addEventListener("toggle", () => this.isOpen && void this.open());
  }

  get isOpen() {
    return this.panel.matches(":popover-open");
  }

  async open() {
    try {
      const { AgentsView } = await import("./agents.js");
      this.view ??= new AgentsView();
      this.panel.replaceChildren(this.view.root);
    } catch (error) {
      report("The agents", error);
    }
    await this.ask();
  }

  /** Asks the edge again if it is time to. @param {number} queued tests that wait, as far as the page knows */
  tick(queued) {
    const since = performance.now() - this.askedAt;
    if (since > (this.isOpen ? OPEN_EVERY_MS : queued > 0 ? QUEUED_EVERY_MS : Infinity) - 50) void this.ask();
    if (!queued && setWaits([])) this.onWaits();
  }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    this.askedAt = performance.now();
    try {
      const answer = await rpc("listAgents", {}, { get: true });
      if (setWaits(answer.queue?.waitsMs)) this.onWaits();
      this.view?.update(answer);
    } catch (error) {
      if (setWaits([])) this.onWaits();
      this.view?.fail(error);
    }
    this.asking = false;
  }
}
