/** The parts of a card and of a run's page: badge, phases, score, screenshot, the button that cancels. */

import { ended } from "../client/fold.js";
import { rubricOf } from "./coerce.js";
import { when } from "./dates.js";
import { h, icon, setAttr, setText, svg } from "./dom.js";
import { PHASES, ordinal, phaseName, phaseNumber, reasonOf } from "./format.js";
import { aboutWait } from "./queue-waits.js";

/** @returns {Part} the status, as a word and a colour */
export function badge() {
  const root = h("span.badge");
  return {
    root,
    update({ look }) {
      setAttr(root, "data-status", look);
      setText(root, look);
    },
  };
}

/** @returns {Part} marks of an unusual run: a later attempt, no sign of life, nobody to play it */
export function marks() {
  const attempt = h("span.mark", { hidden: true });
  const stalled = h("span.mark.mark-stalled", { hidden: true });
  const noAgent = h("span.mark.mark-stalled", { hidden: true, title: NO_AGENT });
  const show = (/** @type {HTMLElement} */ mark, /** @type {string} */ text) => {
    setAttr(mark, "hidden", !text);
    setText(mark, text);
  };
  return {
    root: h("span.marks", attempt, stalled, noAgent),
    update(run, now) {
      show(attempt, run.attempt && run.attempt > 1 ? `attempt ${run.attempt}` : "");
      show(stalled, run.stalled ? `stalled since ${when(run.updatedAt ?? run.createdAt, now)}` : "");
      show(noAgent, run.noAgent ? "no agent is running" : "");
    },
  };
}

/** What a reader can do for a run that nobody plays. */
export const NO_AGENT = "No agent is running. Start one: testcast agent";

/** Where a queued run stands. @param {Shown} run */
export function placeInQueue({ queuePlace, noAgent }) {
  if (noAgent) return "Waits for an agent";
  if (!queuePlace) return "Not started";
  const place = queuePlace === 1 ? "Next in the queue" : `${ordinal(queuePlace)} in the queue`;
  return [place, aboutWait(queuePlace)].filter(Boolean).join(", ");
}

/** The phase of a run, the same wherever it is shown: that of its snapshot. @param {Shown} run */
export function phaseText(run) {
  const number = phaseNumber(run.phase);
  if (run.status === "queued") return placeInQueue(run);
  return run.phases?.[number - 1] || (number ? `Phase ${number}/4` : "");
}

/** @returns {Part} the phases as a row of dots */
export function stepper() {
  const steps = PHASES.map(() => h("li.step", h("span.dot")));
  const list = h("ol.steps", { "aria-hidden": "true" }, ...steps);
  const label = h("span.phase");
  return {
    root: h("div.stepper", list, label),
    update(run) {
      const now = phaseNumber(run.phase);
      steps.forEach((step, i) => {
        const done = run.status === "completed" || i + 1 < now;
        const current = i + 1 === now && !done;
        setAttr(step, "data-step", done ? "done" : current ? (ended(run) ? run.look : "current") : "ahead");
        setAttr(step, "aria-current", current && "step");
        setAttr(step, "title", phaseName(run.phases, i + 1));
        step.hidden = i > 0 && i >= (run.phases?.length ?? 4);
      });
      setText(label, phaseText(run));
    },
  };
}

/** @param {number} score @returns {"good"|"fair"|"poor"} */
export const verdict = (score) => (score >= 70 ? "good" : score >= 40 ? "fair" : "poor");

/** The parts of a score with their reasons. @param {RubricPart[]} rubric @returns {HTMLElement} */
export function rubricList(rubric) {
  if (!rubric.length) return h("p", "The agent gave no parts of this score.");
  const rows = rubric.map(({ part, score, max, reasons }) => {
    const percent = Math.max(0, Math.min(100, (100 * score) / max));
    const bar = h("span.gauge-fill", { "data-verdict": verdict(percent) });
    bar.style.width = `${percent}%`;
    return h(
      "li.rubric-part",
      h("span.rubric-name", part),
      h("span.gauge", { "aria-hidden": "true" }, bar),
      h("span.rubric-score", `${score}/${max}`),
      ...reasons.map((reason) => h("span.rubric-reason", reason)),
    );
  });
  return h("ul.rubric", ...rows);
}

/** @returns {Part} the score as a number and a small bar */
export function scoreBar() {
  const number = h("span");
  const fill = h("span.gauge-fill");
  const root = h("span.score-bar", number, h("span.gauge", { "aria-hidden": "true" }, fill));
  return {
    root,
    update({ score }) {
      setText(number, score === undefined ? "–" : String(Math.round(score)));
      setAttr(root, "title", score === undefined ? "No score" : null);
      setAttr(fill, "data-verdict", verdict(score ?? 0));
      fill.style.width = `${score ?? 0}%`;
    },
  };
}

/**
 * The score as a ring. Its parts appear on hover, focus or tap.
 *
 * @param {{large?: boolean}} [how] large: for the run's own page, which shows the parts beside the ring
 * @returns {Part}
 */
export function ring({ large = false } = {}) {
  const circle = (/** @type {string} */ name) => svg("circle", { cx: 20, cy: 20, r: 17, pathLength: 100, class: name });
  const arc = circle("ring-arc");
  const picture = svg("svg", { viewBox: "0 0 40 40", "aria-hidden": "true" }, circle("ring-track"), arc);
  const number = h("span.ring-number");
  const parts = h("div.ring-parts", { role: "tooltip" });
  const button = h("button.ring", picture, number);
  const root = h("div", { class: large ? "score score-large" : "score", hidden: true }, button, !large && parts);
  // Escape hides the parts, and the ring keeps the focus (WCAG 1.4.13).
  button.addEventListener("keydown", (event) => event.key === "Escape" && root.classList.add("dismissed"));
  for (const type of ["blur", "click", "pointerleave"])
    button.addEventListener(type, () => root.classList.remove("dismissed"));
  /** @type {Partial<Shown>} */
  let drawn = {};
  return {
    root,
    update(run) {
      setAttr(root, "hidden", run.score === undefined);
      if (run.score === undefined || (drawn.score === run.score && drawn.metrics === run.metrics)) return;
      drawn = run;
      const rubric = rubricOf(run);
      const score = Math.round(run.score);
      setText(number, String(score));
      setAttr(root, "data-verdict", verdict(score));
      const words = [`Score ${score} of 100`, ...rubric.map((p) => `${p.part} ${p.score} of ${p.max}`)];
      setAttr(button, "aria-label", words.join(", "));
      arc.style.strokeDasharray = `${score} 100`;
      parts.replaceChildren(h("strong", `Score ${score}/100`), rubricList(rubric));
    },
  };
}

/**
 * The newest screenshot of the game, or a placeholder.
 *
 * @param {{onShown?: () => void}} [how] onShown: there is a picture
 * @returns {Part & {show: (picture: Blob, describe: string) => Promise<void>, showNone: () => void, clear: () => void}}
 *   showNone: the edge has none; clear: releases the picture, which the browser keeps otherwise until the page is closed
 */
export function screen({ onShown = () => {} } = {}) {
  const image = h("img", { alt: "", hidden: true, draggable: "false" });
  const words = h("span");
  const empty = h("span.screen-empty", icon("game"), words);
  let address = "";
  let missing = false;
  /** @type {Shown|null} */
  let drawn = null;
  const say = () => {
    if (drawn?.status === "queued") setText(words, "Waiting for an agent");
    else setText(words, missing && drawn ? (ended(drawn) ? "No screenshot" : "Waiting for the first screenshot") : "");
  };
  return {
    root: h("div.screen", empty, image),
    update(run) {
      drawn = run;
      say();
    },
    showNone() {
      missing = true;
      say();
    },
    clear: () => URL.revokeObjectURL(address),
    show(picture, describe) {
      const next = URL.createObjectURL(picture);
      const decoded = new Image();
      decoded.src = next;
      // The picture is replaced when the next one is decoded, so nothing flickers.
      return decoded.decode().then(
        () => {
          image.src = next;
          image.alt = describe;
          image.hidden = false;
          empty.hidden = true;
          onShown();
          if (address) URL.revokeObjectURL(address);
          address = next;
        },
        () => URL.revokeObjectURL(next),
      );
    },
  };
}

/**
 * A button that asks for confirmation in its own place, without a dialog.
 *
 * @param {string} testId
 * @param {Actions} actions
 * @param {(reason: string) => void} onRefused
 * @param {"quiet"|"secondary"} [look]
 */
export function cancelButton(testId, actions, onRefused, look = "quiet") {
  const button = h("button", { class: `${look} cancel`, onclick: () => ask(true) }, "Cancel");
  const yes = h("button", { class: `${look} cancel-yes` }, "Yes, cancel");
  const no = h("button", { class: look, onclick: () => ask(false) }, "Keep it");
  const question = h("span.confirm", { role: "group", "aria-label": "Cancel this run?", hidden: true });
  question.append(h("span.confirm-words", "Cancel this run?"), yes, no);
  const root = h("span.cancel-box", button, question);

  /** The focus goes to "Keep it": a double click cancels nothing. @param {boolean} asking */
  function ask(asking) {
    button.hidden = asking;
    question.hidden = !asking;
    (asking ? no : button).focus({ preventScroll: true });
  }
  question.addEventListener("keydown", (event) => event.key === "Escape" && ask(false));
  yes.addEventListener("click", async () => {
    ask(false);
    button.disabled = true;
    setText(button, "Cancelling…");
    try {
      await actions.cancel(testId);
    } catch (error) {
      onRefused(reasonOf(error));
    }
    button.disabled = false;
    setText(button, "Cancel");
  });
  return root;
}
