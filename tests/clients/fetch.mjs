// fetch.mjs BASE ROOT: asks for every file under ROOT, one after the other and then at once, and compares.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const [base, root] = process.argv.slice(2);

function files(under) {
  return readdirSync(join(root, under)).flatMap((name) => {
    const path = `${under}/${name}`;
    return statSync(join(root, path)).isDirectory() ? files(path) : [path];
  });
}

async function get(path) {
  const answer = await fetch(base + path, { signal: AbortSignal.timeout(20_000) });
  const body = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200 || !body.equals(readFileSync(join(root, path)))) {
    throw new Error(`${path}: status ${answer.status}, ${body.length} bytes, not those of the file`);
  }
}

const wanted = files("");
for (const path of wanted) {
  await get(path);
}
await Promise.all(wanted.map(get));
console.log(`${2 * wanted.length} right`);
