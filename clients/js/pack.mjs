// Copies the client from the dashboard, with the modules that it imports, and the licence: nothing of it stands twice in
// the repository. npm runs it before it packs.

import { cp, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const client = join(root, "dashboard_ui/client");
const dist = join(here, "dist");

await rm(dist, { recursive: true, force: true });
await mkdir(dist);
const files = new Set(["testcast.js", "testcast.d.ts"]);
for (const name of files) {
  await cp(join(client, name), join(dist, name));
  const code = await readFile(join(client, name), "utf8");
  // Also what it imports later. An `import` without `await` is a type in a comment.
  for (const [, imported] of code.matchAll(/(?:\bfrom|\bawait import\() ?"\.\/([\w-]+\.js)"/g)) files.add(imported);
}
await cp(join(root, "LICENSE"), join(here, "LICENSE"));
