// A stream over HTTP: what it asks for, what it reads, when it is replaced, and how it ends. The server is a real one.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, beforeEach, test } from "node:test";

import { EventStream, messageOf } from "../../../dashboard_ui/client/stream.js";
import { WatchedStore } from "../../../dashboard_ui/client/watched.js";

const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;
const sync = (n, more = {}) => ({ type: "sync", testId: id(n), outcome: "live", epoch: "e1", head: 0, snapshot: null, ...more });
const event = (n, seq) => ({ testId: id(n), seq, type: "progress", message: `m${seq} ü`, timestamp: seq });
const data = (message) => `data: ${JSON.stringify(message)}\n\n`;

/** The requests that have come, newest last. @type {[import("node:http").IncomingMessage, import("node:http").ServerResponse][]} */
let requests = [];
const server = createServer((request, response) => {
  requests.push([request, response]);
  server.emit("asked");
}).listen(0, "127.0.0.1");
await once(server, "listening");
const base = `http://127.0.0.1:${server.address().port}/`;
let open = [];
after(() => {
  for (const each of open) each.close();
  server.close();
  server.closeAllConnections();
});
beforeEach(() => (requests = []));

/** Resolves when the condition holds. @throws not within 20 s */
async function until(condition) {
  for (const end = performance.now() + 20_000; !condition(); ) {
    if (performance.now() > end) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
const asked = async (count) => {
  await until(() => requests.length >= count);
  const [request, response] = requests[count - 1];
  return { query: new URL(request.url, base).searchParams, headers: request.headers, response };
};

/** A stream that watches these runs, with everything that it tells. */
function watching(numbers, more = {}) {
  const store = new WatchedStore(false);
  const watch = (n) => {
    store.pin(id(n));
    store.watched.set(id(n), false);
  };
  numbers.forEach(watch);
  const told = [];
  const hooks = {
    onMessage: (message) => (store.receive(message), told.push(message?.type ?? null)),
    onClosed: (closed) => told.push(closed),
    onDenied: (reason) => told.push(reason),
  };
  const stream = new EventStream(store, { base, auth: null, list: false, ...hooks, ...more });
  open.push(stream);
  return { store, stream, told, watch };
}
const begin = (response) => response.writeHead(200, { "content-type": "text/event-stream" });

test("a stream names its runs with their positions, and the list", async () => {
  const { store, stream } = watching([1, 2], { list: true });
  Object.assign(store.runs.get(id(2)), { epoch: "2026:a", seq: 7 });
  stream.open();
  const { query, headers } = await asked(1);
  assert.deepEqual(query.getAll("watch"), [id(1), `${id(2)}:2026:a.7`]);
  assert.deepEqual(query.getAll("channel"), ["tests"]);
  assert.deepEqual([headers.accept, headers.authorization], ["text/event-stream", undefined]);
});

test("messages may be cut anywhere, and comments are signs of life", async () => {
  const { store, stream, told } = watching([1]);
  stream.open();
  const { response } = await asked(1);
  begin(response);
  response.write(": hello\n\n");
  await until(() => told.length === 1);
  const text = `event: sync\n${data(sync(1))}${data([event(1, 1), event(1, 2)])}${data(event(1, 3))}`;
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += 7) {
    response.write(bytes.subarray(at, at + 7));
    await new Promise(setImmediate);
  }
  await until(() => store.queue.length === 3);
  assert.deepEqual(store.queue.map((each) => each.message), ["m1 ü", "m2 ü", "m3 ü"]);
  assert.equal(told[0], null);
  response.end();
  await until(() => typeof told.at(-1) === "object" && told.at(-1) !== null);
  assert.deepEqual(told.at(-1), {});
});

test("another run replaces the stream, which goes on where the first one was", async () => {
  const { stream, store, watch, told } = watching([1]);
  stream.open();
  const { response } = await asked(1);
  begin(response).write(data(sync(1)) + data(event(1, 5)));
  await until(() => store.queue.length === 1);
  watch(2);
  watch(3);
  stream.subscribe();
  const { query } = await asked(2);
  assert.deepEqual(query.getAll("watch"), [`${id(1)}:e1.5`, id(2), id(3)]);
  await until(() => response.destroyed);
  stream.subscribe();
  assert.equal(requests.length, 2, "it brings all of them");
  assert.ok(!told.some((each) => typeof each === "object"), "that is no end");
});

test("after an unwatch nothing of the old stream counts", async () => {
  const { stream, store } = watching([1, 2]);
  stream.open();
  const { response } = await asked(1);
  begin(response).write(data(sync(1)) + data(event(1, 5)));
  await until(() => store.queue.length === 1);
  store.watched.delete(id(1));
  store.forget(id(1));
  stream.unsubscribe(id(1));
  assert.deepEqual((await asked(2)).query.getAll("watch"), [id(2)]);
});

test("a reset from a position that polls have left is asked again, and told once", async () => {
  const { stream, store, told } = watching([1]);
  Object.assign(store.runs.get(id(1)), { epoch: "e1", seq: 7 });
  stream.open();
  const { response } = await asked(1);
  store.page(id(1), { epoch: "e1", seq: 7 }, { outcome: "reset", reason: "epoch", epoch: "e2", head: 3, events: [event(1, 3)] });
  begin(response).write(data(sync(1, { outcome: "reset", reason: "epoch", epoch: "e2" })));
  const again = await asked(2);
  assert.deepEqual(again.query.getAll("watch"), [`${id(1)}:e2.3`]);
  begin(again.response).write(data(sync(1, { outcome: "recovered", epoch: "e2", head: 3 })));
  await until(() => told.length === 1);
  assert.deepEqual(store.queue.map(({ type }) => type), ["reset", "progress"]);
});

test("an edge that goes away says when to come back; one that does not know the address is asked later", async () => {
  const { stream, told } = watching([1]);
  stream.open();
  begin((await asked(1)).response).end(data({ type: "goodbye", retryAfterMs: 250, reason: "restarting" }));
  await until(() => told.length === 2);
  assert.deepEqual(told, ["goodbye", { retryAfterMs: 250 }]);
  stream.open();
  (await asked(2)).response.writeHead(404).end("{}");
  await until(() => told.length === 3);
  assert.deepEqual(told[2], { retryAfterMs: 30_000 });
  stream.open();
  (await asked(3)).response.destroy();
  await until(() => told.length === 4);
  assert.deepEqual(told[3], {});
});

test("a token goes in the header; one that is refused is told", async () => {
  const auth = { token: async () => "t-1" };
  const { stream, told } = watching([1], { auth });
  stream.open();
  const { headers, response, query } = await asked(1);
  assert.equal(headers.authorization, "Bearer t-1");
  assert.ok(!String(query).includes("t-1"));
  response.writeHead(401).end("{}");
  await until(() => told.length === 2);
  assert.deepEqual(told, ["The edge wants to know who asks.", {}]);
});

test("more runs than an address names are left to polling", async () => {
  const { stream, told } = watching(Array.from({ length: 65 }, (_, n) => n));
  stream.open();
  await until(() => told.length === 1);
  assert.deepEqual([told, requests], [[{}], []]);
});

test("a block of lines is a message or none", () => {
  assert.deepEqual(messageOf('event: x\r\ndata: {"a":\r\ndata:1}'), { a: 1 });
  for (const none of ["", ": comment", "retry: 5", "data: {", "id: 1"]) assert.equal(messageOf(none), null, none);
});
