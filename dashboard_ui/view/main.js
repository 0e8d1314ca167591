/** Sets up the page: the store, the transport and the elements that show them. Changes are drawn once per frame. */

import { UNAUTHENTICATED } from "../client/connection.js";
import { Frames } from "../client/frames.js";
import { compareClocks, clockError, now as edgeNow } from "../client/now.js";
import { BASE, RpcError, fetchFrame, fetchScreenshot, rpc, testOf } from "../client/rpc.js";
import { Store } from "../client/store.js";
import { Transport } from "../client/transport.js";
import { accessOf } from "./access.js";
import { historyPage } from "./addresses.js";
import { AgentsButton } from "./agents-button.js";
import { shown } from "./coerce.js";
import { ConnectionStatus } from "./connection-status.js";
import { h, setText } from "./dom.js";
import { fetchEarlier } from "./earlier.js";
import { FeedLog } from "./feed-log.js";
import { report } from "./fence.js";
import { Foot } from "./foot.js";
import { titleOf } from "./format.js";
import { Keys } from "./keys.js";
import { latencyOf } from "./latency.js";
import { Outside } from "./outside.js";
import { Screenshots } from "./screenshots.js";

/** The test of a run's own page; null on the main page. */
const testOfPage = testOf(location.pathname);
/** The name of a page of history, else "". */
const ofHistory = historyPage(location.pathname);
const store = new Store({
  only: ofHistory === "games" ? "" : testOfPage, // the history takes the list, and no run's events
  newFeed: (testId) => new FeedLog({ whole: testId === testOfPage || ofHistory === "compare", now: edgeNow }),
  now: edgeNow,
});
const access = await accessOf(testOfPage, { onBlocked, onSignedIn, hasContent: () => store.runs.size > 0 });
const frames = new Frames();
const transport = new Transport(store, {
  frames,
  onChange: changed,
  onNews: measure,
  onExpiring: () => access.expiring(),
  list: ofHistory !== "compare" && (testOfPage === null || access.may("list")),
  looks: testOfPage === null && ofHistory !== "compare", // the main page checks the list also after every test has ended
});
const outside = new Outside(store.runs, testOfPage);
const screenshots = new Screenshots({ frames, fetchShot: fetchScreenshot, fetchFrame });
frames.onChange = (/** @type {string} */ testId) => screenshots.told(testId, Date.now());
const announcer = h("div.visually-hidden", { role: "status", id: "announcer" });
/** @type {(answer: any) => void} */
let gotConfig;
/** The last announced status of each run. @type {Map<string, Look>} */
const announced = new Map();
const connectionStatus = new ConnectionStatus({
  onRetry: () => transport.retry(),
  onChange: (label) => announce(`Connection: ${label}`),
});

/** The first answer of getConfig, which is also the first comparison of the clocks. @type {Promise<any>} */
const firstConfig = new Promise((resolve) => (gotConfig = resolve));
const actions = {
  frames,
  say: announce,
  may: (/** @type {string} */ action) => access.may(action),
  share: (/** @type {string} */ testId) => access.share(testId),
  whyNoSubmit: () => access.whyNoSubmit(),
  open(/** @type {string} */ testId, /** @type {boolean} */ opened) {
    store.setOpened(testId, opened);
    transport.refresh();
    if (opened) void fetchEarlier(store, testId, () => transport.refresh());
  },
  async cancel(/** @type {string} */ testId) {
    await rpc("cancelTest", { testId });
  },
  async keep(/** @type {"pinTest"|"unpinTest"|"deleteTest"} */ method, /** @type {string} */ testId) {
    await rpc(method, { testId });
    store.kept(testId, method);
    schedule();
  },
  async submit(/** @type {Record<string, any>} */ params) {
    const { testId } = await rpc("submitTest", params);
    if (testOfPage === null) await watchSubmitted(testId, params);
    return testId;
  },
  async list(/** @type {Record<string, any>} */ params) {
    const answer = await rpc("listTests", params, { get: true });
    store.tests({ upserts: answer.tests, counts: answer.counts, stale: answer.stale });
    foot.update(answer);
    transport.refresh();
    return answer;
  },
  watch: (/** @type {string} */ testId) => connectToTest(testId),
  expect(/** @type {string} */ testId) {
    store.pin(testId);
    transport.refresh();
  },
  async firstEvent(/** @type {string} */ testId) {
    return (await rpc("getEvents", { testId, limit: 1 }, { get: true })).events[0];
  },
  config: () => firstConfig,
};

// Each document preloads the modules of its page.
const listPage = testOfPage === null && !ofHistory ? new (await import("./list.js")).ListPage(store.runs, actions) : null;
const runPage = testOfPage === null ? null : new (await import("./run.js")).RunPage(testOfPage, actions);
const pastPage = await pageOfHistory();

/** @returns {Promise<HistoryView|null>} */
async function pageOfHistory() {
  if (ofHistory === "games") return (await import("./games.js")).gamesPage(store.runs);
  return ofHistory === "compare" ? new (await import("./compare.js")).ComparePage(store.runs, actions) : null;
}

const search = listPage?.toolbar.search ?? runPage?.feed.tools.search;
const keys = new Keys(search, access.may("list"), runPage?.recorder.controls);
const foot = new Foot(keys.button);

/**
 * Watches a test on the page's socket, from its first event. Also available as `window.testcast.connectToTest`.
 *
 * @param {string} testRunId
 * @returns {Promise<{url: string, snapshot: any, epoch: string, head: number}>} the edge's answer; `url` is for
 *   callers that open their own socket
 * @throws {RpcError} status 400: the id is not valid; 404: there is no such test; 0: the edge did not answer
 */
export async function connectToTest(testRunId) {
  const answer = await rpc("connectToTest", { testId: testRunId }, { get: true });
  store.pin(testRunId, answer.snapshot);
  transport.refresh();
  return answer;
}

/** Shows a test that the reader has submitted at once. @param {string} testId @param {any} params */
async function watchSubmitted(testId, params) {
  try {
    await connectToTest(testId);
  } catch {
    // The test exists; only this request failed. The socket will bring the rest.
    store.pin(testId, { testId, ...params, status: "queued", seq: 0, createdAt: edgeNow() });
    transport.refresh();
  }
  if (transport.connection.state !== "live") transport.wake();
  draw(); // the card must be there before the form reports success
}

/** Null: the reader may see one test only. */
const agents = access.may("list") ? new AgentsButton(drawQueued) : null;

// ── drawing ──

let scheduled = false;
/** @type {number|null} */
let latencyMs = null;
/** Since when events arrive as they are published, by `performance.now()`; Infinity: they do not. */
let liveAt = Infinity;
let wasStale = false;
let lastState = "";

/** The store or the connection may have changed. */
function changed() {
  const { state, code } = transport.connection;
  if (state !== lastState) {
    lastState = state;
    if (state === "waiting") void access.check();
    if (state === "live") runPage?.recorder.retry();
    if (state === "refused" && code === UNAUTHENTICATED) access.ended();
  }
  const live = state === "live";
  if (live !== liveAt < Infinity) {
    liveAt = live ? performance.now() : Infinity;
    latencyMs = null;
  }
  if (store.stale !== wasStale) {
    wasStale = store.stale;
    syncClocks(); // the edge says what is wrong
  }
  schedule();
}

/** The page is in use again: what waited for it is no measure of the connection. */
function woke() {
  if (liveAt < Infinity) liveAt = performance.now();
}

/** About how long the queued tests wait has changed. */
function drawQueued() {
  for (const { id, snapshot } of store.runs) if (snapshot.status === "queued") store.runs.dirty.add(id);
  schedule();
}

function schedule() {
  outside.changed();
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  const ids = store.runs.takeDirty();
  for (const id of ids) {
    try {
      announceStatus(id);
    } catch (error) {
      report(`the status of ${id}`, error);
    }
  }
  if (listPage) {
    const before = listPage.grid.cards.size;
    for (const id of listPage.update(ids)) store.runs.dirty.add(id);
    if (store.runs.dirty.size) schedule();
    // Requests the screenshots of new cards at once: in the next frame it is known which of them are on the screen.
    if (listPage.grid.cards.size > before) requestAnimationFrame(tick);
  } else if (runPage && testOfPage !== null && ids.includes(testOfPage)) {
    const run = store.runs.get(testOfPage);
    if (run?.refusal && !run.snapshot.createdAt) runPage.refuse(run.refusal, run.refusalCode);
    else if (run?.deleted) runPage.refuse("Somebody has deleted it, or it has outlived its time.", "deleted");
    else if (run) {
      const first = !runPage.run;
      runPage.update(run);
      if (first) queueMicrotask(tick); // requests the screenshot at once
      if (run.refusal) access.lost();
    }
  } else pastPage?.update(ids);
  if (!ofHistory) outside.show();
  drawConnectionStatus();
}

function drawConnectionStatus() {
  connectionStatus.update({
    connection: transport.connection,
    now: Date.now(),
    freshAt: transport.freshAt,
    stale: store.stale,
    pollAnswered: transport.polling.answered,
    streams: transport.streams,
    latencyMs,
    runs: testOfPage === null ? store.runs.size : 1,
  });
}

/** Measures the time from the publisher's clock to the painted screen. @param {RunEvent} event */
function measure(event) {
  requestAnimationFrame(() => {
    // A task that starts after the callbacks of a frame runs after the frame was painted.
    setTimeout(() => {
      // The two clocks are the agent's and the edge's, which NTP usually keeps close.
      const { timestamp } = event;
      const liveForMs = performance.now() - liveAt;
      latencyMs = latencyOf({ timestamp, now: edgeNow(), liveForMs, errorMs: clockError() });
      drawConnectionStatus();
    });
  });
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  const run = testOfPage === null ? undefined : store.runs.get(testOfPage);
  listPage?.views.tick(edgeNow());
  if (runPage && run) runPage.tick(run, edgeNow());
  pastPage?.tick(edgeNow());
  agents?.tick(store.runs.counts?.queued ?? Number(run?.snapshot.status === "queued"));
  drawConnectionStatus();
  // Without a connection, every request for a screenshot would fail.
  if (transport.answers) {
    screenshots.tick(listPage?.views.visible() ?? (runPage?.recorder.wantsShot && run ? [[run, runPage]] : []), now);
  }
}

function syncClocks() {
  // Who has only a link to one test may not ask for the settings.
  if (!document.hidden && access.may("list")) void compareClocks(config).then(tick);
}

async function config() {
  const answer = await rpc("getConfig", {}, { get: true });
  foot.update(answer);
  gotConfig(answer);
  return answer;
}

// ── screen readers ──

/** @param {string} text */
function announce(text) {
  setText(announcer, text);
}

/** Announces a change of a run's status. @param {string} id */
function announceStatus(id) {
  const run = store.runs.get(id);
  if (!run) announced.delete(id);
  if (!run || (testOfPage !== null && id !== testOfPage)) return;
  const snapshot = shown(run.snapshot);
  const { look, score } = snapshot;
  const before = announced.get(id);
  if (before === look) return;
  announced.set(id, look);
  if (before === undefined && look !== "queued") return; // the run is older than the page
  announce(`${titleOf(snapshot)}: ${look}${score === undefined ? "" : `, score ${Math.round(score)} of 100`}`);
}

// ── start ──

/** Errors that say that there is no such test, or that it may not be watched. Others say nothing about the test. */
const REFUSALS = new Set(["not_found", "invalid_test_id", "forbidden"]);

async function startRunPage(/** @type {string} */ testId, /** @type {import("./run.js").RunPage} */ page) {
  try {
    await connectToTest(testId);
  } catch (error) {
    if (error instanceof RpcError && error.status === 401) return access.ended();
    if (error instanceof RpcError && REFUSALS.has(error.code)) {
      page.refuse(error.message, error.code);
      drawConnectionStatus();
      return;
    }
    store.pin(testId); // no answer, or a proxy's: the socket and polling keep trying
  }
  store.setOpened(testId, true);
  transport.start();
}

// ── access ──

/** Nothing can be shown before the reader has signed in. @param {HTMLElement} root */
function onBlocked(root) {
  document.querySelector("#main")?.replaceWith(root);
  document.querySelector("#connection-status, .header-right")?.setAttribute("hidden", "");
  root.querySelector("input")?.focus();
}

/**
 * The reader has signed in again: the open socket is told, or a new one resumes at the page's positions.
 *
 * @param {() => Promise<string>} ticket
 */
async function onSignedIn(ticket) {
  if (transport.connection.state === "live") transport.socket.send({ type: "authenticate", ticket: await ticket() });
  else transport.retry();
  syncClocks();
}

function start() {
  document.querySelector("#main")?.replaceWith((listPage ?? runPage ?? pastPage)?.root ?? "");
  document.querySelector("#connection-status")?.replaceWith(headerRight());
  (listPage ?? runPage ?? pastPage)?.root.prepend(foot.degraded);
  document.body.append(foot.root, keys.dialog, announcer);
  drawConnectionStatus();
  setInterval(tick, 1000);
  syncClocks();
  setTimeout(syncClocks, 3000); // while the page loads, a round trip takes longer
  setInterval(syncClocks, 60_000);
  setInterval(() => foot.degraded.hidden || syncClocks(), 5000); // until all is well again
  document.addEventListener("visibilitychange", syncClocks);
  document.addEventListener("visibilitychange", woke);
  for (const type of ["online", "pageshow"]) addEventListener(type, woke);
  if (runPage && testOfPage !== null) void startRunPage(testOfPage, runPage);
  else void startPage();
}

async function startPage() {
  await pastPage?.start();
  transport.start();
  if (listPage) outside.watchFollowed(connectToTest);
}

function headerRight() {
  const games = access.may("list") && h("a.quiet", { href: `${BASE}games` }, "Games");
  const wall = access.may("list") && h("a.quiet", { href: `${BASE}wall`, "aria-keyshortcuts": "W" }, "Wall");
  return h("div.header-right", games, wall, agents?.root, connectionStatus.root, access.root);
}

Object.assign(window, { testcast: { connectToTest } });
if (access.blocked === null) start();
