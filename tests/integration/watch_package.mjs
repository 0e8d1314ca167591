// Watches a run with the installed package, each way there is, from its first event to its end: takes the package, the
// edge's address and the run, prints the seqs and the carriers of each way once all of them have seen the last event.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , folder, url, testId, tools] = process.argv;
console.info = console.warn = () => {}; // the connection's log is not the answer
const { WebSocket } = createRequire(`${tools}/`)("ws");
const { connect } = await import(pathToFileURL(`${folder}/dist/testcast.js`).href);

async function watched({ carrier, ...options }) {
  const carriers = new Set();
  const seqs = [];
  let began = false;
  /** Its carrier carries, and has brought something: who is cut off from now on was connected. */
  const look = () => {
    if (began || seqs.length === 0 || !carriers.has(carrier)) return;
    began = true;
    console.log(`${options.name} began`);
  };
  const viewer = connect({ url, ...options, onConnection: ({ state }) => (carriers.add(state), look()) });
  const after = [];
  let half;
  for await (const item of viewer.events(testId)) {
    seqs.push(item.seq);
    if (item.message === "half") half = { ...viewer.position(testId), seq: item.seq };
    look();
  }
  const { status, score } = viewer.run(testId);
  for await (const item of viewer.events(testId, { position: half })) after.push(item.seq);
  // After the last event of a run that has ended, there is nothing.
  for await (const item of viewer.events(testId, { position: { ...half, seq: seqs.at(-1) } })) after.push(item.seq);
  viewer.close();
  return { seqs, status, score, carriers: [...carriers], after };
}

const platform = globalThis.WebSocket;
const bySocket = watched({ name: "socket", carrier: "live" });
const given = watched({ name: "ws", carrier: "live", WebSocket });
delete globalThis.WebSocket; // as in Node 20
const without = watched({ name: "stream", carrier: "streaming" });
globalThis.WebSocket = platform;
console.log(JSON.stringify({ socket: await bySocket, ws: await given, stream: await without }));
