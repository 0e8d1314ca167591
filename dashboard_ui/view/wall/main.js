/** Sets up the wall: the store, the transport and the elements that show them. Changes are drawn once per frame. */

import { UNAUTHENTICATED } from "../../client/connection.js";
import { Frames } from "../../client/frames.js";
import { RpcError, fetchFrame, fetchScreenshot, rpc } from "../../client/rpc.js";
import { Transport } from "../../client/transport.js";
import { accessOf } from "../access.js";
import { ConnectionStatus, describe } from "../connection-status.js";
import { h, setText } from "../dom.js";
import { labelText } from "../format.js";
import { Screenshots } from "../screenshots.js";
import { hideWhenIdle, stayAwake } from "./idle.js";
import { ListStore } from "./list-store.js";
import { Wall, toggleFullScreen } from "./wall.js";

/** Pictures that are fetched at the same time; browsers open six connections to a host. */
const AT_ONCE = 5;
/** Between two questions for all running tests, of which the list may contain only the newest. */
const CHECK_MS = 30_000;
/** Running tests in one answer. */
const CHECK_LIMIT = 200;
/** What says that something is wrong stays on the screen. */
const QUIET = new Set(["live", "streaming", "ended"]);

const store = new ListStore();
const wall = new Wall(store.runs);
const access = await accessOf(null, { onBlocked, onSignedIn, hasContent: () => store.runs.size > 0 });
const frames = new Frames();
const transport = new Transport(store, { onChange: changed, onExpiring: () => access.expiring(), list: true, frames });
const screenshots = new Screenshots({
  frames,
  fetchShot: fetchScreenshot,
  fetchFrame: (address) => fetchFrame(address, { cache: "no-store" }),
  everyMs: 0,
  atOnce: AT_ONCE,
});
frames.onChange = (/** @type {string} */ testId) => screenshots.told(testId, Date.now());

const announcer = h("div.visually-hidden", { role: "status", id: "announcer" });
const status = new ConnectionStatus({
  onRetry: () => transport.retry(),
  onChange: (label) => setText(announcer, `Connection: ${label}`),
});

let scheduled = false;
let lastState = "";
let checkedAt = 0;

/** The store or the connection may have changed. */
function changed() {
  const { state, code } = transport.connection;
  if (state !== lastState) {
    lastState = state;
    if (state === "live") void check();
    if (state === "waiting") void access.check();
    if (state === "refused" && code === UNAUTHENTICATED) access.ended();
  }
  if (scheduled || !store.runs.dirty.size) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  const before = wall.tiles.size;
  wall.update(store.runs.takeDirty(), Date.now());
  store.runs.shed();
  if (wall.tiles.size !== before) askForPictures();
  drawStatus();
}

function drawStatus() {
  const health = {
    connection: transport.connection,
    now: Date.now(),
    freshAt: transport.freshAt,
    stale: store.stale,
    pollAnswered: transport.polling.answered,
    streams: transport.streams,
    latencyMs: null,
    runs: wall.tiles.size,
  };
  status.update(health);
  document.documentElement.toggleAttribute("data-wrong", !QUIET.has(describe(health).kind));
}

function askForPictures() {
  if (document.hidden) return;
  if (transport.answers) screenshots.tick(wall.visible(), Date.now());
}

function tick() {
  wall.leave(Date.now());
  if (document.hidden) return;
  drawStatus();
  askForPictures();
  if (Date.now() - checkedAt >= CHECK_MS) void check();
}

/** Asks for the running tests that this wall shows. Those that the answer does not contain have ended, perhaps unseen. */
async function check() {
  checkedAt = Date.now();
  const known = wall.running;
  const { gameUrl, labels } = wall.choice.filter;
  const wanted = { gameUrl: gameUrl || undefined, labels: labels.length ? labels.map(labelText) : undefined };
  const answer = await rpc("listTests", { status: "running", limit: CHECK_LIMIT, ...wanted }, { get: true }).catch(() => null);
  if (!answer || answer.stale) return;
  store.tests({ upserts: answer.tests });
  const listed = new Set(answer.tests.map((/** @type {Snapshot} */ test) => test.testId));
  for (const testId of known) if (!listed.has(testId) && !answer.nextCursor) await checkRun(testId);
  changed();
}

/** @param {string} testId */
async function checkRun(testId) {
  const run = store.runs.get(testId);
  if (!run) return;
  try {
    store.runs.merge(run, (await rpc("getTest", { testId }, { get: true })).test);
  } catch (error) {
    if (error instanceof RpcError && error.code === "not_found") store.runs.drop(run);
  }
}

// ── access ──

/** Nothing can be shown before the reader has signed in. @param {HTMLElement} root */
function onBlocked(root) {
  document.querySelector("#main")?.replaceWith(root);
  document.querySelector("#connection-status")?.setAttribute("hidden", "");
  root.querySelector("input")?.focus();
}

/** The reader has signed in again. @param {() => Promise<string>} ticket */
async function onSignedIn(ticket) {
  if (transport.connection.state === "live") transport.socket.send({ type: "authenticate", ticket: await ticket() });
  else transport.retry();
}

function start() {
  document.documentElement.classList.add("wall-page");
  document.querySelector("#main")?.replaceWith(wall.root);
  const full = h("button.quiet", { "aria-keyshortcuts": "F", onclick: toggleFullScreen }, "Full screen ", h("kbd", "F"));
  full.hidden = !document.fullscreenEnabled;
  const keys = h("span.wall-keys", h("kbd", "←"), h("kbd", "→"), " move ", h("kbd", "Enter"), " open");
  const right = h("div.header-right", keys, full, access.root ?? "");
  document.querySelector("#connection-status")?.replaceWith(right);
  document.body.append(status.root, announcer);
  const bar = document.querySelector(".bar");
  hideWhenIdle(() => document.querySelector(":popover-open, dialog[open]") !== null || bar?.contains(document.activeElement) === true);
  stayAwake();
  drawStatus();
  setInterval(tick, 1000);
  document.addEventListener("visibilitychange", tick);
  transport.start();
}

if (access.blocked === null) start();
