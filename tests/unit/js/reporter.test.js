// The reporter for Playwright Test: what becomes of its reports, and how they come to an edge that fails.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, beforeEach, test } from "node:test";

import { ended, redactor, testEnded, wentWrong } from "../../../clients/playwright/events.js";
import TestcastReporter from "../../../clients/playwright/index.js";
import { Publisher } from "../../../clients/playwright/publisher.js";

const plain = (text) => text;
const reported = (test, result, redacted = plain) =>
  testEnded(
    { titlePath: () => ["", "", "a.spec.ts", "game", "starts"], expectedStatus: "passed", retries: 0, ...test },
    { status: "passed", duration: 1234, retry: 0, errors: [], ...result },
    5,
    redacted,
  );

test("a test is a line; one that fails is a problem with its text, without colours", () => {
  assert.equal(reported().message, "PASSED a.spec.ts › game › starts (1.23 s)");
  assert.equal(reported({ expectedStatus: "failed" }, { status: "failed" }).message, "PASSED a.spec.ts › game › starts (1.23 s)");
  const failed = reported({ retries: 2 }, { status: "timedOut", retry: 1, errors: [{ message: "\x1b[31mno\x1b[39m" }, { value: "why" }] });
  assert.equal(failed.message, "TIMEDOUT a.spec.ts › game › starts (1.23 s, retry 1, is tried again)");
  assert.deepEqual([failed.type, failed.data.kind, failed.data.detail], ["progress", "test", "no\n\nwhy"]);
  const long = reported({}, { status: "failed", errors: [{ message: "x".repeat(90_000) + "\ud800" }] });
  assert.ok(JSON.stringify(long).length < 6000);
  assert.ok(reported({ titlePath: () => ["\ud800"] }).message.isWellFormed());
});

test("secrets are in no text", () => {
  const redacted = redactor({ API_TOKEN: "abcdefgh", DB_PASSWORD: "abcdefgh-longer", HOME: "/home/someone", X_SECRET: "short" }, ["the-token"]);
  const said = reported({ titlePath: () => ["abcdefgh-longer"] }, { status: "failed", errors: [{ message: "the-token abcdefgh /home/someone short" }] }, redacted);
  assert.equal(said.message, "FAILED *** (1.23 s)");
  assert.equal(said.data.detail, "*** *** /home/someone short");
  assert.equal(wentWrong({ message: "the-token" }, 5, redacted).message, "ERROR ***");
});

for (const [status, outcomes, score, expected] of [
  ["passed", ["expected", "flaky", "skipped"], false, ["complete", "1 passed, 1 flaky, 1 skipped", undefined, undefined]],
  ["passed", ["expected", "flaky", "skipped"], true, ["complete", "1 passed, 1 flaky, 1 skipped", undefined, 100]],
  ["failed", ["expected", "expected", "unexpected"], false, ["error", "1 failed, 2 passed", "tests_failed", undefined]],
  ["failed", ["expected", "expected", "unexpected"], true, ["complete", "1 failed, 2 passed", undefined, 66.67]],
  ["failed", [], true, ["error", "no tests ran", "tests_failed", undefined]],
  ["interrupted", ["expected"], true, ["error", "interrupted: 1 passed", "interrupted", undefined]],
  ["timedout", ["expected"], true, ["error", "timed out: 1 passed", "timedout", undefined]],
]) {
  test(`a suite that ${status} with ${outcomes.length} tests${score ? " and a score" : ""}`, () => {
    const end = ended(status, outcomes, { durationMs: 1500, score, now: 5 });
    assert.deepEqual([end.type, end.message, end.data.code, end.data.score], expected);
    assert.equal(end.status, end.type === "error" ? "failed" : undefined);
    assert.equal(end.data.metrics.tests, outcomes.length);
  });
}

// ── an edge that fails as it is told ──

/** The requests, and what the next ones are answered: `[status, body, headers]`, or null for a cut. */
let asked = [];
let answers = [];
const server = createServer(async (request, response) => {
  let text = "";
  for await (const piece of request) text += piece;
  asked.push([request.url.split("/").at(-1), JSON.parse(text), request.headers]);
  const [, params] = asked.at(-1);
  const good = params.events ? { seq: params.afterSeq + params.events.length, stored: params.events.length } : { testId: "t", seq: 1, epoch: "e" };
  const next = answers.length > 0 ? answers.shift() : [200, good];
  if (!next) return request.socket.destroy();
  response.writeHead(next[0], next[2]).end(JSON.stringify(next[1]));
}).listen(0, "127.0.0.1");
await once(server, "listening");
const url = new URL(`http://127.0.0.1:${server.address().port}/below`);
after(() => (server.close(), server.closeAllConnections()));
beforeEach(() => ((asked = []), (answers = [])));
const error = (status, code, details) => [status, { error: { code, message: `it is ${code}`, details } }];
const event = (n) => ({ type: "progress", message: `m${n}`, timestamp: n });

test("events go out in order and in batches; an edge that is away for a moment is asked again with the same key", async () => {
  const publisher = new Publisher(url, "t-1", { title: "T" });
  for (let n = 0; n < 250; n++) publisher.put(event(n));
  answers = [null, error(503, "broker_unavailable")];
  await publisher.finish(event(250));
  assert.deepEqual([publisher.trouble, publisher.missing, publisher.testId], ["", 0, "t"]);
  assert.deepEqual(asked.slice(0, 3).map(([name]) => name), ["createRun", "createRun", "createRun"]);
  assert.deepEqual(asked.slice(3).flatMap(([, { events }]) => events.map(({ message }) => message)), Array.from({ length: 251 }, (_, n) => `m${n}`));
  assert.deepEqual(asked.slice(3).map(([, { events, afterSeq }]) => [events.length, afterSeq]), [[100, 1], [100, 101], [51, 201]]);
  assert.ok(asked.every(([, , { authorization }]) => authorization === "Bearer t-1"));
});

test("a batch that is cut off goes out again as it was; another writer does not stop it", async () => {
  const publisher = new Publisher(url, "", {});
  answers = [[200, { testId: "t", seq: 1 }], null, error(409, "conflict", { head: 7 })];
  publisher.put(event(1));
  await publisher.finish(event(2));
  const batches = asked.slice(1).map(([, params]) => params);
  assert.equal(new Set(batches.slice(0, 3).map(({ key, events }) => JSON.stringify([key, events]))).size, 1);
  assert.deepEqual(batches.slice(0, 3).map(({ afterSeq }) => afterSeq), [1, 1, 7]);
  assert.equal(publisher.missing, 0);
});

for (const [code, status, why] of [["already_ended", 409, "somebody has ended the run"], ["forbidden", 403, "it is forbidden"]]) {
  test(`${code} ends the publishing, and what is missing is counted`, async () => {
    const publisher = new Publisher(url, "", {});
    answers = [[200, { testId: "t", seq: 1 }], error(status, code)];
    publisher.put(event(1));
    await publisher.finish(event(2));
    assert.deepEqual([publisher.trouble, publisher.missing, asked.length], [why, 2, 2]);
  });
}

test("an address that the edge does not show costs no run", async () => {
  const publisher = new Publisher(url, "", { title: "T", gameUrl: "http://10.0.0.1/" });
  answers = [error(400, "url_refused")];
  await publisher.finish(event(1));
  assert.deepEqual(asked.slice(0, 2).map(([, params]) => params), [{ title: "T", gameUrl: "http://10.0.0.1/" }, { title: "T" }]);
  assert.equal(publisher.trouble, "");
});

for (const [wrong, said] of [
  ["nonsense", "url: not an address"],
  ["http://me:hunter2hunter2@127.0.0.1:9/", "url: give the token in a file"],
  ["ftp://127.0.0.1/", "url: expected http"],
]) {
  test(`a suite does not notice that its reporter has a wrong address: ${said}`, async (context) => {
    const warned = context.mock.method(console, "warn", () => {});
    const reporter = new TestcastReporter({ url: wrong });
    reporter.onBegin({ rootDir: "/a/b", projects: [], workers: 1 }, { allTests: () => [] });
    reporter.onError({ message: "too early" });
    await reporter.onEnd({ status: "passed", duration: 5 });
    assert.equal(warned.mock.callCount(), 1);
    assert.ok(warned.mock.calls[0].arguments[0].includes(said));
    assert.ok(!warned.mock.calls[0].arguments[0].includes("hunter2"));
  });
}
