// The client of another origin: a token for RPC calls, a ticket for the socket, another token in time, and the end.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Auth, LEAD_MS, renewIn } from "../../../dashboard_ui/client/auth.js";
import { IDLE, UNAUTHENTICATED, step } from "../../../dashboard_ui/client/connection.js";
import { rpc } from "../../../dashboard_ui/client/rpc.js";
import { connect } from "../../../dashboard_ui/client/testcast.js";

const EDGE = "http://edge.example/";
const TEST_ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11";
const NOW = 1_000_000;
const run = (c, event) => step(c, event, { now: NOW, random: 1 });

test("4401: a client that can renew tries once with another token, then it is refused", () => {
  let [c, effects] = run({ ...IDLE, state: "live", wanted: true, renews: true }, { type: "closed", code: 4401 });
  assert.deepEqual([c.state, ...effects], ["connecting", "renew", "open"]);
  [c, effects] = run(c, { type: "closed", code: 4401, reason: "this token is not valid" });
  assert.deepEqual([c.state, c.code, c.reason, ...effects], ["refused", 4401, "this token is not valid"]);
});

test("4401: what is delivered in between gives another chance", () => {
  let c = run({ ...IDLE, state: "live", wanted: true, renews: true }, { type: "closed", code: 4401 })[0];
  c = run(c, { type: "delivered" })[0];
  assert.equal(run(c, { type: "closed", code: 4401 })[0].state, "connecting");
});

test("4401: a page that signs in by hand is refused at once, and goes on when the reader has", () => {
  const refused = run({ ...IDLE, state: "live", wanted: true }, { type: "closed", code: 4401 })[0];
  assert.deepEqual([refused.state, refused.code], ["refused", UNAUTHENTICATED]);
  const [after, effects] = run(refused, { type: "retry" });
  assert.deepEqual([after.state, after.code, ...effects], ["connecting", 0, "open"]);
});

test("401 of a poll ends the attempts, but not a socket that delivers", () => {
  for (const state of ["connecting", "waiting", "finished"])
    assert.equal(run({ ...IDLE, state, wanted: true }, { type: "denied" })[0].code, 4401, state);
  for (const state of ["idle", "live", "refused"])
    assert.equal(run({ ...IDLE, state, wanted: true }, { type: "denied" })[0].state, state);
});

test("another token is asked for a minute before the end, or at half of a short time", () => {
  assert.equal(renewIn(NOW + 600_000, NOW), 600_000 - LEAD_MS);
  assert.equal(renewIn(NOW + 40_000, NOW), 20_000);
  assert.equal(renewIn(NOW, NOW), Infinity); // too late: the edge will ask
  assert.equal(renewIn(Number.NaN, NOW), Infinity);
});

/** An edge: answers RPC calls, and holds the sockets that were opened. */
class Edge {
  constructor() {
    this.good = new Set(["one"]);
    this.calls = [];
    this.sockets = [];
    const edge = this;
    globalThis.fetch = async (url, init) => edge.answer(new URL(url), init);
    globalThis.WebSocket = class {
      static OPEN = 1;

      constructor(url, protocols) {
        Object.assign(this, { url, protocols, readyState: 0, sent: [] });
        edge.sockets.push(this);
      }

      send(text) {
        this.sent.push(JSON.parse(text));
      }

      close() {}

      opened() {
        this.readyState = 1;
        this.onopen();
      }

      says(message) {
        this.onmessage({ data: JSON.stringify(message) });
      }
    };
  }

  answer(url, init) {
    assert.equal(url.href.includes("one") || url.href.includes("two"), false, "no token in an address");
    assert.equal(init.credentials, "omit");
    const token = init.headers.authorization?.replace(/^Bearer /, "");
    this.calls.push([url.pathname.replace("/rpc/", ""), token]);
    const known = this.good.has(token);
    const body = known ? { ticket: `for-${this.calls.length}` } : { error: { code: "unauthenticated", message: "no" } };
    return new Response(JSON.stringify(body), { status: known ? 200 : 401 });
  }
}

/** Lets everything happen that needs no clock. */
const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));

/** A viewer of one test; `tokens` are handed out one after the other, the last again and again. */
async function watching(edge, tokens, more = {}) {
  const asked = [];
  const states = [];
  const getToken = async () => {
    asked.push(tokens.length > 1 ? tokens.shift() : tokens[0]);
    return asked.at(-1);
  };
  const onConnection = ({ state, code }) => states.push(code ? `${state}: ${code}` : state);
  const viewer = connect({ url: EDGE, getToken, onConnection, ...more });
  viewer.watch(TEST_ID);
  await settled();
  return { viewer, asked, states };
}

const sync = { type: "sync", testId: TEST_ID, outcome: "replay", epoch: "e", head: 0, snapshot: null };

test("a socket is opened with a ticket, and says who it is", async () => {
  const edge = new Edge();
  const { viewer, asked } = await watching(edge, ["one"]);
  assert.deepEqual(edge.calls, [["getTicket", "one"]]);
  const [socket] = edge.sockets;
  assert.deepEqual([socket.url, socket.protocols], ["ws://edge.example/ws", ["testcast.v1", "ticket.for-1"]]);
  socket.opened();
  await settled();
  assert.deepEqual(socket.sent.map(({ type, token }) => [type, token]), [["subscribe", undefined], ["authenticate", "one"]]);
  assert.deepEqual(asked, ["one"]);
  viewer.close();
});

test("the edge wants another proof: it is sent on the open socket, which goes on", async () => {
  const edge = new Edge();
  const { viewer, asked, states } = await watching(edge, ["one", "two"]);
  const [socket] = edge.sockets;
  socket.opened();
  socket.says(sync);
  await settled();
  socket.says({ type: "error", message: "expired", data: { code: "token_expired", graceMs: 25_000 } });
  await settled();
  assert.deepEqual(socket.sent.at(-1), { type: "authenticate", token: "two" });
  assert.deepEqual(asked, ["one", "two"]);
  socket.says({ type: "authenticated", expiresAt: Date.now() + 3_600_000 });
  assert.equal(states.at(-1), "live");
  assert.equal(edge.sockets.length, 1);
  viewer.close();
});

test("before a token expires another one is sent", async () => {
  const edge = new Edge();
  const { viewer, asked } = await watching(edge, ["one", "two"]);
  const [socket] = edge.sockets;
  socket.opened();
  await settled();
  socket.says({ type: "authenticated", expiresAt: Date.now() + 40 });
  for (let i = 0; i < 1000 && asked.length < 2; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  await settled();
  assert.deepEqual(socket.sent.at(-1), { type: "authenticate", token: "two" });
  viewer.close();
});

test("a token that is refused is replaced once; then the viewer ends as unauthenticated", async () => {
  const edge = new Edge();
  edge.good.clear();
  const { viewer, asked, states } = await watching(edge, ["one", "two"]);
  await settled();
  assert.deepEqual(asked, ["one", "two"]);
  assert.deepEqual(states.at(-1), "refused: unauthenticated");
  assert.equal(edge.sockets.length, 0, "no socket without a ticket");
  edge.good.add("two");
  viewer.retry();
  await settled();
  assert.equal(edge.sockets.length, 1);
  viewer.close();
});

test("an iteration ends with the reason", async () => {
  const edge = new Edge();
  edge.good.clear();
  const viewer = connect({ url: EDGE, getToken: () => "one" });
  await assert.rejects(
    (async () => {
      for await (const item of viewer.events(TEST_ID)) assert.fail(item.type);
    })(),
    { name: "RpcError", code: "unauthenticated", status: 401 },
  );
  viewer.close();
});

test("a call with an old token is repeated with another one", async () => {
  const edge = new Edge();
  edge.good = new Set(["two"]);
  const tokens = ["one", "two"];
  const auth = new Auth(async () => tokens.shift(), EDGE);
  await rpc("getTest", {}, { base: EDGE, auth });
  assert.deepEqual(edge.calls, [["getTest", "one"], ["getTest", "two"]]);
});

test("a caller without a token is an answer, not an exception elsewhere", async () => {
  new Edge();
  for (const getToken of [() => "", () => undefined, () => "a b", () => "a\nb"])
    await assert.rejects(rpc("getTest", {}, { base: EDGE, auth: new Auth(getToken, EDGE) }), { status: 401 });
  const failing = new Auth(() => Promise.reject(new Error("offline")), EDGE);
  await assert.rejects(rpc("getTest", {}, { base: EDGE, auth: failing }), { code: "no_token", status: 0 });
});

test("without getToken nothing is different: no header, no ticket", async () => {
  const edge = new Edge();
  globalThis.fetch = () => assert.fail("nothing is asked over HTTP");
  const viewer = connect({ url: EDGE });
  viewer.watch(TEST_ID);
  await settled();
  assert.deepEqual(edge.sockets[0].protocols, []);
  edge.sockets[0].opened();
  await settled();
  assert.deepEqual(edge.sockets[0].sent.map(({ type }) => type), ["subscribe"]);
  viewer.close();
});
