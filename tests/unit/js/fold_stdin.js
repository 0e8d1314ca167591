// Folds the runs it reads as JSON from stdin, for the comparison with the projector's fold.

import { readFileSync } from "node:fs";

import { fold } from "../../../dashboard_ui/client/fold.js";

const runs = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(runs.map(({ first, events }) => events.reduce(fold, first))));
