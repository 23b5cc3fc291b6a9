// Runs the suite against a server: node run.mjs --server twin|roomcast|both|"command line" [--only PATTERN]
// [--clients N] [--bail]. Exits with 0 only if all selected scenarios have passed.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ServerProcess } from "./lib/server.mjs";
import { Context } from "./lib/theme.mjs";
import { within } from "./lib/wait.mjs";
import themes from "./suite/index.mjs";

const here = dirname(fileURLToPath(import.meta.url));

const { values: options } = parseArgs({
  options: {
    server: { type: "string", default: "twin" },
    only: { type: "string", default: "" },
    clients: { type: "string", default: "200" },
    bail: { type: "boolean", default: false },
  },
});
// What roomcast does not offer yet; docs/protocol.md says the same. A theme is removed from this list when its feature is there.
const NOT_OFFERED_YET = /^$/;

const settings = { only: new RegExp(options.only, "i"), clients: Number(options.clients), bail: options.bail };

// Unhandled rejections must not stop the run: for example, when several promises fail together, only the first is awaited.
const strays = [];
process.on("unhandledRejection", (error) => strays.push(error));

const names = options.server === "both" ? ["twin", "roomcast"] : [options.server];
const results = new Map();
for (const name of names) {
  if (names.length > 1) console.log(`# ${name}`);
  results.set(name, await runSuite(name, commandOf(name)));
}
process.exit(report() ? 0 : 1);

// The command line that starts a server. Builds roomcast's conformance server if ROOMCAST_CONFORMANCE does not name one.
function commandOf(name) {
  switch (name) {
    case "twin":
      return `"${process.execPath}" "${join(here, "reference-server.mjs")}"`;
    case "roomcast": {
      if (process.env.ROOMCAST_CONFORMANCE) return `"${process.env.ROOMCAST_CONFORMANCE}"`;
      const example = `--release --quiet --manifest-path "${join(here, "..", "Cargo.toml")}" -p roomcast --example conformance`;
      const built = spawnSync(`cargo build ${example}`, { shell: true, stdio: ["ignore", 2, 2] });
      if (built.status !== 0) throw new Error("roomcast's conformance server does not build; see cargo's output above");
      return `cargo run ${example}`;
    }
    default:
      return name;
  }
}

// Runs all selected scenarios and resolves to a map from their titles to "passed", "skipped" or the error.
async function runSuite(name, command) {
  const outcomes = new Map();
  for (const theme of themes) {
    const chosen = theme.scenarios
      .map((scenario) => ({ ...scenario, title: `${theme.name}: ${scenario.name}` }))
      .filter(({ title }) => settings.only.test(title));
    if (chosen.length === 0) continue;
    const server = new ServerProcess(command, theme.env);
    server.name = name;
    for (const scenario of chosen) {
      const outcome = await runScenario(server, scenario);
      outcomes.set(scenario.title, outcome);
      print(scenario.title, outcome);
      if (outcome instanceof Error && settings.bail) break;
    }
    if (server.alive) {
      await server.end().catch((error) => {
        outcomes.set(`${theme.name}: ends after SIGTERM`, error);
        print(`${theme.name}: ends after SIGTERM`, error);
      });
    }
    if (settings.bail && [...outcomes.values()].some((outcome) => outcome instanceof Error)) break;
  }
  return outcomes;
}

async function runScenario(server, { run, ms, adapters, differs, title }) {
  if (server.name === "roomcast" && NOT_OFFERED_YET.test(title)) return "skipped";
  if (server.name === "twin" && differs) return "skipped";
  if (adapters && !adapters.includes(process.env.ADAPTER ?? "memory")) return "skipped";
  const context = new Context(server, settings);
  strays.length = 0;
  try {
    if (!server.alive) await server.start();
    await within(run(context), "the end of the scenario", ms);
    if (!server.alive) throw new Error(`the server has exited\n${server.log}`);
    if (strays.length > 0) throw strays[0];
    return "passed";
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    context.close();
  }
}

function print(title, outcome) {
  if (!(outcome instanceof Error)) return console.log(`${outcome === "passed" ? "ok  " : outcome} ${title}`);
  console.log(`FAIL ${title}`);
  console.log((outcome.stack ?? outcome.message).replace(/^/gm, "     "));
}

// Prints the differences between the servers, if there were two, and the summary. A scenario has passed if it has passed on each server.
// If it was skipped on one of them, it counts as skipped.
function report() {
  const titles = new Set([...results.values()].flatMap((outcomes) => [...outcomes.keys()]));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const title of titles) {
    const each = names.map((name) => results.get(name).get(title));
    const words = each.map((outcome) => (typeof outcome === "string" ? outcome : outcome ? "failed" : "not run"));
    const run = words.filter((word) => word !== "skipped");
    // A scenario that is skipped on one server still has to pass on the other.
    const passed = run.every((word) => word === "passed");
    counts[!passed ? "failed" : run.length < words.length ? "skipped" : "passed"] += 1;
    if (new Set(run).size > 1) console.log(`differs ${title}: ${names.map((name, i) => `${name} ${words[i]}`).join(", ")}`);
  }
  if (titles.size === 0) console.log(`no scenario matches ${settings.only}`);
  console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped ? `, ${counts.skipped} skipped` : ""}`);
  return counts.failed === 0 && counts.passed > 0;
}
