// What AsyncAPI's own parser says of a document: nothing, or one line for each thing that is wrong. The first argument
// is the document's path.

import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const { diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
const wrong = diagnostics.filter(({ severity }) => severity === 0);
for (const { path, message } of wrong) console.log(`${path.join("/")}: ${message}`);
if (process.argv.includes("--all")) for (const each of diagnostics) console.error(each.severity, each.path.join("/"), each.message);
process.exit(wrong.length ? 1 : 0);
