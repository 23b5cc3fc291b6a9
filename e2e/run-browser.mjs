// The program's chat page and the examples in headless Chromium: node run-browser.mjs [--only PATTERN] [--show]. Exits with 0 only if all
// checks have passed. ROOMCAST_PROGRAM and ROOMCAST_EXAMPLES are what was built; without them cargo builds it. CHROMIUM is the browser,
// `chromium` by default. With --show one can watch.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { launch } from "./browser/browser.mjs";
import chat from "./browser/chat-page.mjs";
import applications from "./browser/applications.mjs";
import { check, end } from "./lib/checks.mjs";
import { within } from "./lib/wait.mjs";

/** Limit of one check, in ms. */
const CHECK_MS = 30_000;

const { values: options } = parseArgs({
  options: { only: { type: "string", default: "" }, show: { type: "boolean", default: false } },
});

const browser = await launch({ headless: !options.show });
const files = mkdtempSync(join(tmpdir(), "roomcast-e2e-browser-"));
for (const [title, run] of [...chat, ...applications(files)]) {
  if (!new RegExp(options.only, "i").test(title)) continue;
  await check(title, async () => {
    const visit = browser.visit();
    await within(run(visit), title, CHECK_MS).finally(() => visit.end());
    assert.deepEqual(visit.faults, [], "errors of the pages");
  });
}
await browser.close();
rmSync(files, { recursive: true, force: true });
end();
