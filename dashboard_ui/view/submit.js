/** The form that submits a test. The edge validates the values; its message is shown below the address. */

import { h, setAttr, setText } from "./dom.js";
import { completeUrl, reasonOf } from "./format.js";
import { labelsTyped } from "./labels.js";
import { RecentGames } from "./recent.js";

export class SubmitForm {
  /**
   * @param {Pick<Actions, "submit"|"config">} actions
   * @param {(testId: string) => void} onSubmitted
   */
  constructor(actions, onSubmitted) {
    this.actions = actions;
    this.onSubmitted = onSubmitted;
    this.url = addressField();
    this.title = h("input", { name: "title", type: "text", maxlength: "120", placeholder: "from the address" });
    this.budget = numberField("budgetSeconds", { min: "5", max: "600", placeholder: "60" });
    this.seed = numberField("seed", { placeholder: "random" });
    this.labels = h("input", { name: "labels", type: "text", placeholder: "commit=abc, branch=main" });
    this.example = "https://my-game.example/";
    // A game of one's own machine is an example only where the edge lets it be tested.
    actions.config().then(({ allowPrivate }) => allowPrivate === true && this.give("http://localhost:3000/"), () => {});
    this.problem = h("p.form-error", { id: "form-error", role: "alert" });
    this.button = h("button.primary", { type: "submit" }, "Test this game");
    this.recent = new RecentGames((chosen) => {
      this.url.value = chosen;
      this.complain("");
      this.url.focus();
    });
    const fields = h(
      "div.option-fields",
      h("label", "Title", this.title),
      h("label", "Time to play, seconds", this.budget),
      h("label", "Seed", this.seed),
      h("label", "Labels", this.labels),
    );
    const below = h("div.submit-below", h("details.options", h("summary", "Options"), fields), this.recent.root);
    const row = h("div.submit-row", this.url, this.button);
    this.root = h("form.submit", { novalidate: true }, row, this.problem, below);
    this.url.addEventListener("input", () => this.complain(""));
    this.root.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
  }

  /** Shows a problem, or removes it. @param {string} text */
  complain(text) {
    setText(this.problem, text);
    setAttr(this.url, "aria-invalid", text ? "true" : null);
    if (text) this.url.focus();
  }

  /** @param {string} example of an address */
  give(example) {
    this.example = this.url.placeholder = example;
  }

  async send() {
    const { url, title, budget, seed, button } = this;
    const gameUrl = completeUrl(url.value);
    if (!gameUrl) return this.complain(`Paste the address of a web game, for example ${this.example}`);
    if (!budget.validity.valid) return this.complain("Time to play is a whole number of seconds from 5 to 600.");
    if (!seed.validity.valid) return this.complain("The seed is a whole number.");
    let given;
    try {
      given = labelsTyped(this.labels.value);
    } catch (error) {
      return this.complain(reasonOf(error));
    }
    url.value = gameUrl;
    this.complain("");
    button.disabled = true;
    setText(button, "Submitting…");
    try {
      const testId = await this.actions.submit({
        gameUrl,
        ...(title.value.trim() && { title: title.value.trim() }),
        ...(budget.value && { budgetSeconds: Number(budget.value) }),
        ...(seed.value && { seed: Number(seed.value) }),
        ...(given && { labels: given }),
      });
      url.value = title.value = "";
      this.recent.add(gameUrl);
      this.onSubmitted(testId);
    } catch (error) {
      this.complain(reasonOf(error));
    }
    button.disabled = false;
    setText(button, "Test this game");
  }
}

/** Of the type text: a browser shows its own message for an invalid url, in addition to the edge's. */
function addressField() {
  return h("input", {
    id: "game-url",
    name: "gameUrl",
    type: "text",
    inputmode: "url",
    autocomplete: "url",
    autocapitalize: "off",
    spellcheck: "false",
    placeholder: "https://my-game.example/",
    "aria-label": "Address of the game",
    "aria-describedby": "form-error",
  });
}

/** @param {string} name @param {Record<string, string>} attributes */
function numberField(name, attributes) {
  return h("input", { name, type: "number", step: "1", inputmode: "numeric", ...attributes });
}
