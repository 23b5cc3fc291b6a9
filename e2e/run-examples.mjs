// The examples that are applications (examples/), driven by the official client: node run-examples.mjs [--only PATTERN]. Exits with 0 only
// if all checks have passed. ROOMCAST_EXAMPLES is the folder of the built examples; without it cargo builds them.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import chat from "./examples/chat.mjs";
import game from "./examples/game.mjs";
import presence from "./examples/presence.mjs";
import upload from "./examples/upload.mjs";
import { check, end } from "./lib/checks.mjs";
import { Client } from "./lib/client.mjs";
import { examples } from "./lib/program.mjs";
import { ServerProcess } from "./lib/server.mjs";
import { within } from "./lib/wait.mjs";

/** Limit of one check, in ms. */
const CHECK_MS = 30_000;

const { values: options } = parseArgs({ options: { only: { type: "string", default: "" } } });
const folder = examples();

for (const { name, env, checks } of [chat, presence, upload, game]) {
  const chosen = Object.entries(checks).filter(([title]) => new RegExp(options.only, "i").test(`${name}: ${title}`));
  if (chosen.length === 0) continue;
  const files = mkdtempSync(join(tmpdir(), "roomcast-e2e-examples-"));
  const server = new ServerProcess(`"${join(folder, name)}"`, env?.(files));
  await check(`${name}: starts`, () => server.start());
  for (const [title, run] of chosen) await check(`${name}: ${title}`, () => checked(server, title, run));
  await check(`${name}: ends with 0 after SIGTERM`, async () => {
    const { code } = await server.end();
    if (code !== 0) throw new Error(`it ended with ${code}\n${server.log}`);
  });
  rmSync(files, { recursive: true, force: true });
}
end();

/** Runs a check with a maker of clients, which are closed after it. */
async function checked(server, title, run) {
  const open = [];
  const client = (options) => {
    const one = new Client(server.url, options);
    open.push(one);
    return one;
  };
  const tools = { server, client, connect: (options) => client(options).connected() };
  await within(run(tools), title, CHECK_MS).finally(() => open.forEach((one) => one.close()));
}
