// Which pictures a client knows, what it asks for and when; with the socket and with polling.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { FrameLog, Frames, MAX_WANTED, frameUrl } from "../../../dashboard_ui/client/frames.js";
import { Polling } from "../../../dashboard_ui/client/polling.js";
import { BASE, RpcError } from "../../../dashboard_ui/client/rpc.js";
import { EdgeSocket } from "../../../dashboard_ui/client/socket.js";
import { Store } from "../../../dashboard_ui/client/store.js";
import { Transport } from "../../../dashboard_ui/client/transport.js";
import { FeedLog } from "../../../dashboard_ui/view/feed-log.js";

const A = "11111111-1111-4111-8111-111111111111";
const B = "22222222-2222-4222-8222-222222222222";
const C = "33333333-3333-4333-8333-333333333333";
const info = (number, seq = 0, at = 0) => ({ number, seq, at });
const told = (testId, number, more = {}) => ({ type: "frame", testId, number, eventSeq: number * 10, timeMs: number * 100, ...more });
const numbers = (frames, testId = A) => frames.of(testId).list.map(({ number }) => number);
const settle = () => new Promise((resolve) => setImmediate(resolve));
const newStore = () => new Store({ newFeed: () => new FeedLog() });
for (const level of ["info", "warn"]) console[level] = () => {};

/** Frames whose questions are answered by `answer(testId, params)`; `asked` has each of them. */
function asking(answer) {
  const asked = [];
  const changes = [];
  const frames = new Frames({
    onChange: (testId) => changes.push(testId),
    ask: async (testId, params) => (asked.push([testId, params.after]), answer(testId, params)),
  });
  return { frames, asked, changes };
}

/** Answers like an edge that has the pictures 1 to `count`, `limit` at a time. */
const edgeWith = (count, { gone = false, page = 2000 } = {}) => (_, { after, limit }) => {
  const rows = Array.from({ length: Math.max(0, count - after) }, (_, i) => [after + i + 1, 1, (after + i + 1) * 100, 9]);
  const some = rows.slice(0, Math.min(limit, page));
  return { frames: some, newest: count, more: some.length < rows.length, gone };
};

// ── the log ──

test("a log keeps each picture once, by number", () => {
  const log = new FrameLog();
  assert.equal(log.newest, null);
  assert.equal(log.add([info(5, 1, 50), info(3, 1, 30), info(9, 2, 90)]), true);
  assert.equal(log.add([info(5, 1, 50), info(3)]), false);
  assert.deepEqual(log.list.map(({ number }) => number), [3, 5, 9]);
  assert.equal(log.newest.number, 9);
});

test("what was known only by its number gets its moment", () => {
  const log = new FrameLog();
  log.add([info(7)]);
  assert.equal(log.nearest(1000), null);
  assert.equal(log.add([info(7, 2, 70)]), true);
  assert.deepEqual(log.nearest(1000), info(7, 2, 70));
});

test("the picture at a time is the newest at or before, also when a publisher's clock went back", () => {
  const log = new FrameLog();
  log.add([info(1, 1, 100), info(2, 1, 300), info(3, 1, 200)]);
  const at = (ms) => log.nearest(ms)?.number;
  assert.deepEqual([99, 100, 199, 200, 299, 300, 1e15].map(at), [undefined, 1, 1, 3, 3, 2, 2]);
  log.add([info(4, 1, 250)]);
  assert.equal(at(260), 4);
});

test("the picture of an event is its first one, or the last before it", () => {
  const log = new FrameLog();
  log.add([info(1), info(2, 5), info(3, 5), info(4, 8)]);
  assert.deepEqual([4, 5, 6, 8, 99].map((seq) => log.ofSeq(seq)?.number), [undefined, 2, 3, 4, 4]);
});

test("a picture has an address of its own", () => {
  assert.equal(frameUrl(A, 7), `${BASE}tests/${A}/frames/7`);
  assert.equal(frameUrl(A, 7, "https://h/x/"), `https://h/x/tests/${A}/frames/7`);
  assert.equal(new Frames().url(A, 7), frameUrl(A, 7));
});

// ── what the socket tells ──

test("without its history only the newest picture of a run is kept", () => {
  const { frames, changes, asked } = asking(() => assert.fail());
  frames.want(A);
  for (const n of [3, 5, 4]) frames.receive(told(A, n));
  assert.deepEqual([numbers(frames), changes, asked], [[5], [A, A], []]);
  assert.deepEqual(frames.of(A).newest, info(5, 50, 500));
});

test("pictures of runs that nobody wants, and malformed messages, change nothing", () => {
  const { frames, changes } = asking(() => assert.fail());
  frames.want(A);
  for (const number of [0, -1, 1.5, "7", null, undefined, 2 ** 60]) assert.equal(frames.receive(told(A, number)), true);
  assert.equal(frames.receive(told(B, 1)), true);
  for (const other of [null, [], "x", { type: "sync" }]) assert.equal(frames.receive(other), false);
  assert.deepEqual([changes, numbers(frames), numbers(frames, B)], [[], [], []]);
});

test("a dropped run is forgotten, and one whose list was loaded is kept", async () => {
  const { frames } = asking(edgeWith(3));
  frames.want(A, { history: true });
  frames.want(B);
  frames.receive(told(B, 9));
  await settle();
  for (const testId of [A, B]) frames.drop(testId);
  assert.deepEqual([numbers(frames), numbers(frames, B), [...frames.wanted]], [[1, 2, 3], [], []]);
});

// ── the list ──

test("a list is loaded in pages", async () => {
  const { frames, asked, changes } = asking(edgeWith(5, { page: 2, gone: true }));
  frames.want(A, { history: true });
  assert.equal(frames.of(A).loaded, false);
  await settle();
  assert.deepEqual([numbers(frames), asked.map(([, after]) => after)], [[1, 2, 3, 4, 5], [0, 2, 4]]);
  const { loaded, gone, complete } = frames.of(A);
  assert.deepEqual([loaded, gone, complete, changes.length > 0], [true, true, 5, true]);
});

test("a run without pictures has an empty list, which is told once", async () => {
  const { frames, changes } = asking(edgeWith(0));
  frames.want(A, { history: true });
  await settle();
  assert.deepEqual([frames.of(A).loaded, changes], [true, [A]]);
});

test("what the socket left out is asked for a little later", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    let count = 2;
    const { frames, asked } = asking((id, params) => edgeWith(count)(id, params));
    frames.want(A, { history: true });
    await settle();
    count = 6;
    frames.receive(told(A, 6)); // 3 to 5 were too many for this viewer
    assert.deepEqual(numbers(frames), [1, 2, 6]);
    mock.timers.tick(5000);
    await settle();
    assert.deepEqual([numbers(frames), asked.length], [[1, 2, 3, 4, 5, 6], 2]);
    mock.timers.tick(60_000);
    await settle();
    assert.equal(asked.length, 2, "nothing new came: nothing is asked");
  } finally {
    mock.timers.reset();
  }
});

test("a list that could not be loaded is asked for again, and a refusal is not", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    let fails = new RpcError("away", "broker_unavailable", 503);
    const { frames, asked } = asking((id, params) => {
      if (fails) throw fails;
      return edgeWith(2)(id, params);
    });
    frames.want(A, { history: true });
    await settle();
    fails = null;
    mock.timers.tick(5000);
    await settle();
    assert.deepEqual([numbers(frames), asked.length], [[1, 2], 2]);
    fails = new RpcError("no such test", "not_found", 404);
    frames.want(B, { history: true });
    await settle();
    mock.timers.tick(60_000);
    await settle();
    assert.equal(asked.length, 3);
  } finally {
    mock.timers.reset();
  }
});

test("a run that has ended keeps its list", async () => {
  const { frames } = asking(edgeWith(4));
  frames.want(A, { history: true });
  await settle();
  await frames.poll({}, () => true);
  frames.drop(A);
  assert.deepEqual(numbers(frames), [1, 2, 3, 4]);
});

// ── polling ──

test("a poll asks for the newest picture of each wanted run", async () => {
  const { frames, asked } = asking(edgeWith(7));
  frames.want(A);
  frames.want(B);
  await frames.poll({}, () => false);
  assert.deepEqual([numbers(frames), numbers(frames, B)], [[7], [7]]);
  await frames.poll({}, () => false);
  assert.deepEqual(asked, [[A, 0], [B, 0], [A, 7], [B, 7]]);
});

test("polls ask little more for a run that has ended", async () => {
  const { frames, asked } = asking(edgeWith(7));
  frames.want(A);
  for (let i = 0; i < 6; i++) await frames.poll({}, () => i > 0);
  assert.equal(asked.length, 3);
});

test("a failure of one run does not end the poll of the others", async () => {
  const { frames } = asking((testId, params) => {
    if (testId === A) throw new RpcError("no such test", "not_found", 404);
    return edgeWith(7)(testId, params);
  });
  for (const testId of [A, B, C]) frames.want(testId);
  await frames.poll({}, () => false);
  assert.deepEqual([numbers(frames), numbers(frames, B), numbers(frames, C)], [[], [7], [7]]);
});

test("an edge of an earlier version is asked once a poll, and the page is told", async () => {
  const { frames, asked, changes } = asking(() => {
    throw new RpcError("no method", "unknown_method", 404);
  });
  for (const testId of [A, B, C]) frames.want(testId);
  await frames.poll({}, () => false);
  assert.deepEqual([frames.supported, asked.length, changes], [false, 1, [A, B, C]]);
  await frames.poll({}, () => false);
  assert.equal(asked.length, 2);
});

test("a round of polling asks for pictures, and they do not fail it", async () => {
  const store = newStore();
  const { frames, asked } = asking(() => {
    throw new RpcError("away", "unreachable", 0);
  });
  frames.want(A);
  const rounds = [];
  globalThis.fetch = async () => Response.json({ tests: [], counts: null });
  const polling = new Polling(store, {
    base: "http://edge/", list: true, frames, isLive: () => false, onAnswer: () => {}, onRound: (ok) => rounds.push(ok),
  });
  await polling.ask(16);
  assert.deepEqual([asked, rounds], [[[A, 0]], [true]]);
  await polling.ask(); // the second round of a look
  assert.equal(asked.length, 1);
});

// ── the socket ──

class FakeSocket {
  static OPEN = 1;
  readyState = 1;
  sent = [];
  constructor() {
    FakeSocket.last = this;
  }
  send(text) {
    const { type, channel, testId } = JSON.parse(text);
    if (channel === "frames") this.sent.push(`${type} ${testId}`);
  }
  close() {}
}
const [realSocket, realFetch] = [globalThis.WebSocket, globalThis.fetch];
beforeEach(() => (globalThis.WebSocket = FakeSocket));
/** Closed after each test. @type {Transport[]} */
const opened = [];
afterEach(() => {
  for (const transport of opened.splice(0)) transport.close();
  globalThis.WebSocket = realSocket;
  globalThis.fetch = realFetch;
  delete globalThis.document;
});
const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

/** An open socket with a transport around it. */
function connected(frames) {
  const transport = new Transport(newStore(), { base: "http://edge/", frames, onChange: () => {} });
  opened.push(transport);
  transport.start();
  FakeSocket.last.onopen();
  const say = (message) => transport.receive(JSON.stringify(message));
  return { transport, socket: FakeSocket.last, say };
}

test("one subscription shows that the edge knows pictures, and the others follow", () => {
  const { frames } = asking(edgeWith(0));
  for (const testId of [A, B, C]) frames.want(testId);
  const { socket, say } = connected(frames);
  assert.deepEqual(socket.sent, [`subscribe ${A}`]);
  say({ type: "tests", upserts: [], full: true });
  assert.deepEqual(socket.sent, [A, B, C].map((testId) => `subscribe ${testId}`));
  frames.drop(B);
  assert.equal(socket.sent.at(-1), `unsubscribe ${B}`);
});

test("the first picture shows it too, and is data", () => {
  const { frames } = asking(edgeWith(0));
  for (const testId of [A, B]) frames.want(testId);
  const { transport, socket, say } = connected(frames);
  say(told(A, 4));
  assert.deepEqual([socket.sent.length, numbers(frames), transport.freshAt > 0], [2, [4], true]);
  assert.equal(transport.store.runs.size, 0, "a picture is no event");
});

test("an edge of an earlier version gets one subscription, and the refusal is quiet", () => {
  const { frames, changes } = asking(edgeWith(0));
  for (const testId of [A, B]) frames.want(testId);
  const { socket, say } = connected(frames);
  say({ type: "error", code: "malformed_message", message: "channel: 'frames' is not 'tests'" });
  say({ type: "tests", upserts: [], full: true });
  frames.drop(A);
  assert.deepEqual([socket.sent, frames.supported, changes], [[`subscribe ${A}`], false, [A, B]]);
});

test("other errors are not about pictures", () => {
  const { frames } = asking(edgeWith(0));
  for (const error of [{ code: "malformed_message", message: "after: …" }, { code: "not_found", testId: A }])
    assert.equal(frames.receive({ type: "error", ...error }), false);
  assert.equal(frames.receive({ type: "error", code: "not_found", testId: A, channel: "frames" }), true);
  assert.equal(frames.supported, null);
});

test("a new socket subscribes again and asks for what came meanwhile", async () => {
  let count = 2;
  const { frames, asked } = asking((testId, params) => edgeWith(count)(testId, params));
  frames.want(A, { history: true });
  await settle();
  const { transport, say } = connected(frames);
  await settle();
  say(told(A, 2));
  count = 5;
  FakeSocket.last.onclose({ code: 1006, reason: "" });
  transport.socket.open();
  FakeSocket.last.onopen();
  await settle();
  assert.deepEqual([FakeSocket.last.sent, numbers(frames)], [[`subscribe ${A}`], [1, 2, 3, 4, 5]]);
  assert.deepEqual(asked.map(([, after]) => after), [0, 2, 2]);
});

test("a hidden page has no subscriptions and asks for nothing; when it is looked at it is current", async () => {
  let count = 2;
  const { frames, asked } = asking((testId, params) => edgeWith(count)(testId, params));
  frames.want(A, { history: true });
  frames.want(B);
  await settle();
  const { transport, socket, say } = connected(frames);
  say({ type: "tests", upserts: [] });
  await settle();
  const before = asked.length;
  globalThis.document = { hidden: true };
  transport.seen(false);
  assert.deepEqual(socket.sent.slice(2), [`unsubscribe ${A}`, `unsubscribe ${B}`]);
  count = 6;
  await frames.poll({}, () => false);
  frames.resume();
  await settle();
  assert.equal(asked.length, before);
  globalThis.document = { hidden: false };
  transport.seen(true);
  await settle();
  assert.deepEqual(socket.sent.slice(4), [`subscribe ${A}`, `subscribe ${B}`]);
  assert.deepEqual(numbers(frames), [1, 2, 3, 4, 5, 6]);
});

test("one socket tells the pictures of a limited number of runs", () => {
  const { frames } = asking(edgeWith(0));
  for (let n = 0; n < MAX_WANTED + 50; n++) frames.want(id(n));
  const socket = new EdgeSocket(newStore(), { base: "http://edge/", list: false, frames, onMessage: () => {}, onClosed: () => {} });
  socket.open();
  FakeSocket.last.onopen();
  frames.heard();
  socket.subscribe();
  assert.equal(FakeSocket.last.sent.length, MAX_WANTED);
  frames.drop(id(0));
  frames.onWanted();
  socket.subscribeFrames();
  assert.deepEqual(FakeSocket.last.sent.slice(-2), [`unsubscribe ${id(0)}`, `subscribe ${id(MAX_WANTED)}`]);
  frames.close();
});

test("which refusals are final", () => {
  const final = [0, 200, 400, 401, 403, 404, 405, 408, 409, 410, 425, 429, 500, 502, 503].filter((status) => new RpcError("no", "no", status).final);
  assert.deepEqual(final, [400, 403, 404, 405, 409, 410]);
});
