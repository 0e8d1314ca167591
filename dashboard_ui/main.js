/** Puts the page together: store, transport and what draws them. One frame draws whatever has changed since the last. */

import { h, setText } from "./dom.js";
import { titleOf } from "./format.js";
import { ListPage } from "./list.js";
import { clockError, compareClocks, now as edgeNow } from "./now.js";
import { Pill } from "./pill.js";
import { RunPage } from "./run.js";
import { Shots } from "./shots.js";
import { Store } from "./store.js";
import { RpcError, Transport, fetchShot, rpc } from "./transport.js";

/** The run that this page shows alone, or null: the main page. Left as it stands in the address: an id has nothing to decode. */
const testOfPage = /^\/tests\/([^/]+)\/?$/.exec(location.pathname)?.[1] ?? null;
const store = new Store({ only: testOfPage });
// On a second screen the list goes on when every test has ended; a run's own page has nothing to wait for.
const transport = new Transport(store, { onChange: schedule, onNews: measure, looks: testOfPage === null });
const shots = new Shots(fetchShot);
const pill = new Pill({ onRetry: () => transport.retry(), onChange: (label) => announce(`Connection: ${label}`) });

const actions = {
  say: announce,
  open(/** @type {string} */ testId, /** @type {boolean} */ opened) {
    store.setOpened(testId, opened);
    transport.refresh();
    if (opened) void transport.fill(testId);
  },
  async cancel(/** @type {string} */ testId) {
    await rpc("cancelTest", { testId });
  },
  async submit(/** @type {Record<string, any>} */ params) {
    const { testId } = await rpc("submitTest", params);
    if (testOfPage === null) await watchSubmitted(testId, params);
    return testId;
  },
  async list(/** @type {Record<string, any>} */ params) {
    const answer = await rpc("listTests", params, { get: true });
    store.tests({ upserts: answer.tests, counts: answer.counts, stale: answer.stale });
    transport.refresh();
    return answer;
  },
  async demoGameUrl() {
    return (await rpc("getConfig", {}, { get: true })).demoGameUrl;
  },
};

/** @type {ListPage|null} */
const listPage = testOfPage === null ? new ListPage(store, actions) : null;
/** @type {RunPage|null} */
const runPage = testOfPage === null ? null : new RunPage(testOfPage, actions);

/**
 * Watches a test on this page's socket: its events come as soon as there are any, from the first.
 *
 * @param {string} testRunId
 * @returns {Promise<{url: string, snapshot: any, epoch: string, head: number}>} what the edge says of it; `url`
 *   is for those who want a socket of their own
 * @throws {RpcError} no valid id (400), no such test (404), the edge did not answer (0)
 */
export async function connectToTest(testRunId) {
  const answer = await rpc("connectToTest", { testId: testRunId });
  store.pin(testRunId, answer.snapshot);
  transport.refresh();
  return answer;
}

/** The own test is on the page at once, and connects again where nothing was watched. @param {string} testId @param {any} params */
async function watchSubmitted(testId, params) {
  try {
    await connectToTest(testId);
  } catch {
    // The test exists; only this question failed. Show what we know, the socket brings the rest.
    store.pin(testId, { testId, ...params, status: "queued", seq: 0, createdAt: edgeNow() });
    transport.refresh();
  }
  if (transport.connection.state !== "live") transport.wake();
  draw(); // the card is there when the form says that it has submitted
}

// ── drawing ──

let scheduled = false;
/** @type {number|null} */
let latencyMs = null;

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

function draw() {
  scheduled = false;
  const ids = store.takeDirty();
  for (const id of ids) announceStatus(id);
  if (listPage) {
    const before = listPage.cards.size;
    for (const id of listPage.update(ids)) store.dirty.add(id);
    if (store.dirty.size) schedule();
    if (listPage.cards.size > before) queueMicrotask(tick); // new cards want their pictures now
  } else if (runPage && testOfPage !== null && ids.includes(testOfPage)) {
    const run = store.runs.get(testOfPage);
    if (run?.refusal && !run.snapshot.createdAt) runPage.refuse(run.refusal);
    else if (run) runPage.update(run);
  }
  drawPill();
}

function drawPill() {
  pill.update({
    connection: transport.connection,
    now: Date.now(),
    freshAt: transport.freshAt,
    stale: store.stale,
    pollAnswered: transport.pollAnswered,
    latencyMs,
    runs: testOfPage === null ? store.runs.size : 1,
  });
}

/** From the publisher's clock to the painted screen. @param {RunEvent} event */
function measure(event) {
  requestAnimationFrame(() => {
    // A task after the frame's callbacks runs when the frame has been painted.
    setTimeout(() => {
      // Ours is set by the edge's clock; the agent's is a server's too, and mostly kept by NTP as the edge's is. Where
      // the two plainly disagree nothing here can tell their difference from the way: then no number is shown.
      const ms = Math.round(edgeNow() - event.timestamp);
      latencyMs = ms >= -clockError() && ms < 60_000 ? Math.max(1, ms) : null;
      drawPill();
    });
  });
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  const run = testOfPage === null ? undefined : store.runs.get(testOfPage);
  listPage?.tick(edgeNow());
  if (runPage && run) runPage.tick(run, edgeNow());
  drawPill();
  // Pictures only while somebody answers: they would fail one by one otherwise.
  if (transport.connection.state === "live" || transport.pollAnswered) {
    shots.tick(listPage?.visible() ?? (runPage && run ? [[run, runPage]] : []), now);
  }
}

function syncClocks() {
  if (!document.hidden) void compareClocks(() => rpc("getConfig", {}, { get: true })).then(tick);
}

// ── for those who listen ──

const voice = h("div.visually-hidden", { role: "status", id: "announcer" });
/** What was said last of each run: only a change is news. @type {Map<string, string>} */
const said = new Map();

/** @param {string} text */
function announce(text) {
  setText(voice, text);
}

/** @param {string} id */
function announceStatus(id) {
  const run = store.runs.get(id);
  if (!run) said.delete(id);
  if (!run || (testOfPage !== null && id !== testOfPage)) return;
  const { status, score } = run.snapshot;
  const before = said.get(run.id);
  if (before === status) return;
  said.set(run.id, status);
  if (before === undefined && status !== "queued") return; // was so when the page came
  announce(`${titleOf(run.snapshot)}: ${status}${score === undefined ? "" : `, score ${Math.round(score)} of 100`}`);
}

// ── start ──

async function startRunPage(/** @type {string} */ testId, /** @type {RunPage} */ page) {
  try {
    await connectToTest(testId);
  } catch (error) {
    if (error instanceof RpcError && error.status >= 400 && error.status < 500) {
      page.refuse(error.message);
      drawPill();
      return;
    }
    store.pin(testId); // the edge is away: the socket goes on trying
  }
  store.setOpened(testId, true);
  transport.start();
}

Object.assign(window, { testcast: { connectToTest } });
document.querySelector("#pill")?.replaceWith(h("div", { id: "pill" }, pill.button, pill.panel));
document.querySelector("#main")?.replaceWith((listPage ?? runPage)?.root ?? "");
document.body.append(voice);
drawPill();
setInterval(tick, 1000);
syncClocks();
setTimeout(syncClocks, 3000); // the first round trip shared its line and its processor with the page
setInterval(syncClocks, 600_000);
document.addEventListener("visibilitychange", syncClocks);
if (runPage && testOfPage !== null) void startRunPage(testOfPage, runPage);
else transport.start();
