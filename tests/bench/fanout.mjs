// The Node server of the comparison: one core NATS subscription; `ws` sends each message to each client.
//   node fanout.mjs WS_PORT NATS_PORT
import net from "node:net";
import { WebSocketServer } from "../node/node_modules/ws/wrapper.mjs";

const [wsPort, natsPort] = process.argv.slice(2).map(Number);
const server = new WebSocketServer({ host: "127.0.0.1", port: wsPort, backlog: 4096 });
server.on("connection", (client) => {
  client.on("error", () => {});
  client.send("hello");
});

const nats = net.connect(natsPort, "127.0.0.1", () => nats.write('CONNECT {"verbose":false}\r\nSUB bench 1\r\n'));
nats.on("close", () => process.exit(1));
let rest = Buffer.alloc(0);
nats.on("data", (chunk) => {
  rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
  for (let end; (end = rest.indexOf("\r\n")) >= 0; ) {
    const line = rest.toString("latin1", 0, end);
    let used = end + 2;
    if (line.startsWith("MSG ")) {
      const size = Number(line.slice(line.lastIndexOf(" ") + 1));
      if (rest.length < used + size + 2) return;
      const message = rest.subarray(used, used + size);
      for (const client of server.clients) client.send(message, { binary: false });
      used += size + 2;
    } else if (line === "PING") nats.write("PONG\r\n");
    rest = rest.subarray(used);
  }
});
