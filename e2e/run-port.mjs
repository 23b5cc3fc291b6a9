// The quiz of docs/porting.md in Node (apps/quiz.mjs) and in Rust (examples/quiz): node run-port.mjs [--only PATTERN] [--side node|rust].
// The same scenarios run on both, each on one server and on two servers with a Redis, and what the clients see must be equal. With --side,
// what they see on one of them is printed. Exits with 0 only if all checks have passed. ROOMCAST_EXAMPLES is the folder of the built
// examples; without it cargo builds them.

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect, parseArgs } from "node:util";
import scenarios from "./apps/quiz-scenarios.mjs";
import { Quiz } from "./apps/quiz-guests.mjs";
import { startRedis } from "./cluster/redis.mjs";
import { check, end } from "./lib/checks.mjs";
import { examples } from "./lib/program.mjs";
import { within } from "./lib/wait.mjs";

/** Limit of one scenario on one side, in ms. */
const SCENARIO_MS = 30_000;

const { values: options } = parseArgs({
  options: { only: { type: "string", default: "" }, side: { type: "string", default: "both" } },
});
const pattern = new RegExp(options.only, "i");
const COMMANDS = {
  node: () => `"${process.execPath}" "${join(dirname(fileURLToPath(import.meta.url)), "apps", "quiz.mjs")}"`,
  rust: () => `"${join(examples(), "quiz")}"`,
};
const sides = options.side === "both" ? Object.keys(COMMANDS) : [options.side];

for (const [shape, count] of [["one server", 1], ["two servers", 2]]) {
  const quizzes = [];
  await check(`${shape}: start`, async () => {
    for (const side of sides) quizzes.push(await Quiz.start(COMMANDS[side](), count, count > 1 ? await startRedis() : undefined));
  });
  for (const { title, run } of scenarios) {
    if (pattern.test(`${shape}: ${title}`)) await check(`${shape}: ${title}`, () => compare(title, run, quizzes));
  }
  await check(`${shape}: ends with 0 after SIGTERM, and clients see the transport close`, () => ends(quizzes));
}
end();

async function compare(title, run, quizzes) {
  const seen = await Promise.all(quizzes.map((quiz, side) => sideOf(quiz, sides[side], title, run)));
  if (seen.length === 1) console.log(inspect(seen[0], { depth: null, breakLength: 120 }).replace(/^/gm, "     "));
  assert.ok(seen[0].length > 0, "the scenario has seen nothing");
  for (const other of seen.slice(1)) assert.deepEqual(other, seen[0], "Rust (first) and Node (second) differ");
}

async function sideOf(quiz, side, title, run) {
  try {
    return await within(quiz.play(run), title, SCENARIO_MS);
  } catch (error) {
    error.message = `${side}: ${error.message}\n${quiz.log}`;
    throw error;
  }
}

async function ends(quizzes) {
  const seen = await Promise.all(quizzes.map((quiz) => quiz.end()));
  for (const one of seen) assert.deepEqual(one, { codes: seen[0].codes.map(() => 0), reasons: seen[0].codes.map(() => "transport close") });
}
