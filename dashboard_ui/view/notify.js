/** Browser notifications: what the browser permits, the buttons that ask for one, and the notification itself. */

import { ended } from "../client/fold.js";
import { BASE, pageOf, testOf } from "../client/rpc.js";
import { shown } from "./coerce.js";
import { h, icon, setAttr } from "./dom.js";
import { Following } from "./following.js";
import { host, titleOf } from "./format.js";
import { recall, store } from "./storage.js";
import { signOf } from "./tab.js";

const KEY = "testcast.followed";
/** The run of a run's own page; null on the main page, which shows them all, and in a file. */
const OWN = BASE ? testOf(location.pathname) : null;
const ASK = "Notify me when it ends";
/** Where locks are missing (plain HTTP) there are no notifications either. */
const alone = (/** @type {() => any} */ work) => (navigator.locks ? navigator.locks.request(KEY, work) : Promise.resolve(work()));

export const following = new Following(
  {
    read: () => recall(KEY),
    write: (ids) => store(KEY, ids),
    alone,
    wait: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    inFront: (testId) => document.visibilityState === "visible" && document.hasFocus() && (OWN ?? testId) === testId,
    notify,
  },
  () => document.querySelectorAll("button.notify").forEach(draw),
);
addEventListener("storage", ({ key }) => key === KEY && following.reread());

/** @param {Snapshot} snapshot */
function notify(snapshot) {
  const run = shown(snapshot);
  const page = pageOf(run.testId);
  try {
    // The same tag: a browser that was told twice shows it once.
    const said = new Notification(`${signOf(run)} ${titleOf(run)}: ${run.look}`, { body: run.message || host(run), tag: run.testId });
    said.addEventListener("click", () => {
      said.close();
      focus();
      if (location.href.split(/[?#]/)[0] !== page) location.assign(page);
    });
  } catch (error) {
    console.warn(`testcast: the browser shows no notification: ${error instanceof Error ? error.message : error}`);
  }
}

/** Asks the browser for the permission. @returns {Promise<string>} why there will be no notification; "" if there will */
async function permission() {
  if (!isSecureContext) return "The browser shows notifications only for pages over HTTPS or on localhost.";
  if (!("Notification" in window)) return "This browser has no notifications.";
  const answer = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
  if (answer === "granted") return "";
  if (answer === "denied") return "This browser blocks notifications of this page. Its settings for this site can allow them.";
  return "There will be no notification: the browser's question was not answered.";
}

/**
 * A button that asks for a notification when the run ends.
 *
 * @param {string} testId
 * @param {Actions} actions
 * @param {(reason: string) => void} onRefused why there will be none; "" when there will
 * @param {{small?: boolean}} [how] small: an icon alone
 */
export function notifyButton(testId, actions, onRefused, { small = false } = {}) {
  const words = h("span", { class: small ? "visually-hidden" : "" }, ASK);
  const look = small ? "quiet notify notify-small" : "secondary notify";
  const button = h("button", { class: look, hidden: true, "data-test-id": testId, title: ASK }, icon("bell"), words);
  button.addEventListener("click", async () => {
    const on = !following.has(testId);
    const reason = on ? await permission() : "";
    onRefused(reason);
    if (reason) return actions.say(reason);
    await following.set(testId, on);
    actions.say(on ? "You will be notified when it ends." : "You will not be notified.");
  });
  draw(button);
  return {
    root: button,
    /** @param {Shown} run */
    update: (run) => setAttr(button, "hidden", ended(run)),
  };
}

/** Shows on a button whether its run is followed. @param {Element} button */
function draw(button) {
  const on = following.has(button.getAttribute("data-test-id") ?? "");
  setAttr(button, "aria-pressed", String(on));
  setAttr(button, "title", on ? "A notification comes while a page of testcast is open" : ASK);
}
