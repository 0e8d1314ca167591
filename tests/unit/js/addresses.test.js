// Where the client finds its edge, and which test a page is about.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { BASE, pageOf, rpc, testOf } from "../../../dashboard_ui/client/rpc.js";
import { connect } from "../../../dashboard_ui/client/testcast.js";

const ID = "4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11";
const realFetch = globalThis.fetch;
afterEach(() => (globalThis.fetch = realFetch));

test("the root is where the modules come from", () => {
  assert.ok(BASE.endsWith("/dashboard_ui/"));
  assert.equal(pageOf(ID), `${BASE}tests/${ID}`);
});

test("a call goes below the base", async () => {
  let asked = "";
  globalThis.fetch = async (url) => ((asked = url), Response.json({}));
  await rpc("getTest", { testId: ID }, { get: true, base: "https://h/testcast/" });
  assert.equal(asked, `https://h/testcast/rpc/getTest?testId=${ID}`);
});

for (const [path, root, expected] of [
  ["/", "/", null],
  [`/tests/${ID}`, "/", ID],
  [`/tests/${ID}/`, "/", ID],
  ["/tests/not-an-id", "/", "not-an-id"],
  [`/testcast/tests/${ID}`, "/testcast/", ID],
  ["/testcast/", "/testcast/", null],
  ["/testcast", "/testcast/", null],
  ["/tests/", "/tests/", null],
  ["/tests", "/tests/", null],
  [`/tests/tests/${ID}`, "/tests/", ID],
  [`/tests/${ID}`, "/testcast/", ID], // opened past the proxy
  [`/a/tests/b/tests/${ID}`, "/a/tests/b/", ID],
  ["/index.html", "/", null],
]) {
  test(`the test of ${path} below ${root} is ${expected}`, () => assert.equal(testOf(path, root), expected));
}

for (const [given, expected] of [
  ["https://h", "https://h/"],
  ["https://h/", "https://h/"],
  ["https://h:1/testcast", "https://h:1/testcast/"],
  ["https://h/a/b//?x=1#y", "https://h/a/b/"],
  [new URL("http://h/testcast/"), "http://h/testcast/"],
]) {
  test(`connect keeps the path of ${given}`, () => {
    const viewer = connect({ url: given });
    assert.equal(viewer.url, expected);
    viewer.close();
  });
}

test("connect refuses an address that is not HTTP", () => {
  assert.throws(() => connect({ url: "ws://h/" }), TypeError);
  assert.throws(() => connect({}), TypeError, "in Node the module comes from a file");
});
