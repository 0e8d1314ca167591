/** The form that starts a test. What is wrong with the input is the edge's to say: in its own words, below the field. */

import { h, setAttr, setText } from "./dom.js";
import { completeUrl, reasonOf } from "./format.js";
import { RecentGames } from "./recent.js";

/**
 * @param {(params: Record<string, any>) => Promise<string>} submit @throws {Error} with the edge's reason
 * @param {(testId: string) => void} onSubmitted
 * @returns {{root: HTMLFormElement}}
 */
export function submitForm(submit, onSubmitted) {
  // Text and not url: the browser's own bubble would be a second voice beside the edge's.
  const url = h("input", {
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
  const title = h("input", { name: "title", type: "text", maxlength: "120", placeholder: "from the address" });
  const budget = h("input", {
    name: "budgetSeconds",
    type: "number",
    min: "5",
    max: "600",
    step: "1",
    inputmode: "numeric",
    placeholder: "60",
  });
  const seed = h("input", { name: "seed", type: "number", step: "1", inputmode: "numeric", placeholder: "random" });
  const problem = h("p.form-error", { id: "form-error", role: "alert" });
  const button = h("button.primary", { type: "submit" }, "Test this game");
  const options = h(
    "details.options",
    h("summary", "Options"),
    h(
      "div.option-fields",
      h("label", "Title", title),
      h("label", "Time to play, seconds", budget),
      h("label", "Seed", seed),
    ),
  );
  const recent = new RecentGames((chosen) => {
    url.value = chosen;
    complain("");
    url.focus();
  });
  const below = h("div.submit-below", options, recent.root);
  const root = h("form.submit", { novalidate: true }, h("div.submit-row", url, button), problem, below);

  /** @param {string} text */
  const complain = (text) => {
    setText(problem, text);
    setAttr(url, "aria-invalid", text ? "true" : null);
    if (text) url.focus();
  };
  url.addEventListener("input", () => complain(""));

  root.addEventListener("submit", async (event) => {
    event.preventDefault();
    const gameUrl = completeUrl(url.value);
    if (!gameUrl) return complain("Paste the address of a web game, for example http://localhost:3000/.");
    if (!budget.validity.valid) return complain("Time to play is a whole number of seconds from 5 to 600.");
    if (!seed.validity.valid) return complain("The seed is a whole number.");
    url.value = gameUrl;
    complain("");
    button.disabled = true;
    setText(button, "Submitting…");
    try {
      const testId = await submit({
        gameUrl,
        ...(title.value.trim() && { title: title.value.trim() }),
        ...(budget.value && { budgetSeconds: Number(budget.value) }),
        ...(seed.value && { seed: Number(seed.value) }),
      });
      url.value = title.value = "";
      recent.add(gameUrl);
      onSubmitted(testId);
    } catch (error) {
      complain(reasonOf(error));
    }
    button.disabled = false;
    setText(button, "Test this game");
  });
  return { root };
}
