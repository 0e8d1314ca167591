// Watches a run with the installed package, each way there is, from its first event to its end: takes the package, the
// edge's address and the run, prints the seqs and the carriers of each way once all of them have seen the last event.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , folder, url, testId, tools] = process.argv;
console.info = console.warn = () => {}; // the connection's log is not the answer
const { WebSocket } = createRequire(`${tools}/`)("ws");
const { connect } = await import(pathToFileURL(`${folder}/dist/testcast.js`).href);

async function watched(options) {
  const carriers = new Set();
  const viewer = connect({ url, ...options, onConnection: ({ state }) => carriers.add(state) });
  const seqs = [];
  const after = [];
  let half;
  for await (const item of viewer.events(testId)) {
    seqs.push(item.seq);
    if (item.message === "half") half = { ...viewer.position(testId), seq: item.seq };
    if (seqs.length === 1) console.log(`${options.name} began`);
  }
  const { status, score } = viewer.run(testId);
  for await (const item of viewer.events(testId, { position: half })) after.push(item.seq);
  // After the last event of a run that has ended, there is nothing.
  for await (const item of viewer.events(testId, { position: { ...half, seq: seqs.at(-1) } })) after.push(item.seq);
  viewer.close();
  return { seqs, status, score, carriers: [...carriers], after };
}

const platform = globalThis.WebSocket;
const bySocket = watched({ name: "socket" });
const given = watched({ name: "ws", WebSocket });
delete globalThis.WebSocket; // as in Node 20
const without = watched({ name: "stream" });
globalThis.WebSocket = platform;
console.log(JSON.stringify({ socket: await bySocket, ws: await given, stream: await without }));
