// What somebody's own page may write against /testcast.js; compiled, never run. A line under an expected error
// that compiles after all is an error itself.

import { connect, type Position, type Reset, type RunEvent } from "../../dashboard_ui/testcast.js";

const seen: RunEvent[] = [];
let reset: Reset | undefined;
let label: "live" | "polling" | undefined;

const viewer = connect({
  url: new URL("https://testcast.example/"),
  list: true,
  onEvent: (event) => seen.push(event),
  onReset: (each) => (reset = each),
  onRun: ({ title, score }) => console.log(title?.toUpperCase(), score?.toFixed(0)),
  onRefused: (testId, error) => console.warn(testId, error.code, error.status),
  onConnection({ state, attempt, retryAt }) {
    if (state === "live" || state === "polling") label = state;
    // @ts-expect-error -- no state of that name
    if (state === "open") console.log(attempt, retryAt);
  },
});

const position: Position | null = viewer.position("…");
viewer.watch("…", { ...(position && { position }) });
// @ts-expect-error -- a sequence without its epoch is no position
viewer.watch("…", { position: { seq: 4 } });
// @ts-expect-error -- no such option
connect({ onMessage: () => {} });

for await (const item of viewer.events("…")) {
  if (item.type === "reset") console.log(item.reason === "expired", reset, label);
  else console.log(item.seq, item.message, item.data?.action);
  // @ts-expect-error -- a reset has no message
  console.log(item.message);
}
viewer.close();
