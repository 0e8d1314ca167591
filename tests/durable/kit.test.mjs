// The conformance kit as vitest runs it; its own command looks for its tests where vitest does not.
import { runConformanceTests } from "../node/node_modules/@durable-streams/server-conformance-tests/dist/index.js";

runConformanceTests({ baseUrl: process.env.CONFORMANCE_TEST_URL });
