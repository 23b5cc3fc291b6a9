// Many questions of Node's servers, calm and while a roomcast server is restarted: every one is answered.

import assert from "node:assert/strict";
import { scenario } from "./context.mjs";

/** Questions under way at once, of each kind and server. */
const AT_ONCE = 4;

const QUESTIONS = {
  "fetch-sockets": (answer, least) => answer.length >= least,
  "server-side-emit-with-ack": (answer, least) => answer.length >= least - 1,
  "all-rooms": (answer, least) => answer.length >= least,
};

// Asks each question `count` times, then on until `enough`. Resolves to the number asked; a question that fails, or whose
// answer lacks a server that was there all the time, ends it.
async function askMany(clients, count, least, enough = () => true) {
  let asked = 0;
  const one = async (client, question, complete) => {
    for (let times = 0; times < count / AT_ONCE || !enough(); times += 1) {
      const answer = await client.call(question, { event: "asked", args: [] });
      assert.ok("ok" in answer, `${question} number ${times} at ${client.server.name}: ${JSON.stringify(answer)}`);
      assert.ok(complete(answer.ok, least), `${question} at ${client.server.name} answered ${JSON.stringify(answer.ok)}`);
      asked += 1;
    }
  };
  const lanes = clients.flatMap((client) =>
    Object.entries(QUESTIONS).flatMap(([question, complete]) =>
      Array.from({ length: AT_ONCE }, () => one(client, question, complete)),
    ),
  );
  await Promise.all(lanes);
  return asked;
}

export default [
  scenario("the questions of Node's servers are all answered", async (t) => {
    const clients = await t.crowd();
    const asking = clients.filter(({ server }) => server.kind === "twin");
    const asked = await askMany(asking, t.settings.requests, clients.length);
    console.log(`     ${asked} questions, all answered by all servers`);
  }, { ms: 300_000 }),

  scenario("the questions of Node's servers are all answered while a roomcast server is restarted", async (t) => {
    const clients = await t.crowd();
    const asking = clients.filter(({ server }) => server.kind === "twin");
    const restarting = t.of("roomcast")[0];
    if (!restarting) return;
    let restarts = 0;
    const restart = async () => {
      while (restarts < t.settings.restarts) {
        assert.deepEqual(await restarting.end("SIGTERM"), { code: 0, signal: null });
        await restarting.start();
        // It takes part in this namespace again.
        const again = await t.connect(restarting, { nsp: clients[0].socket.nsp });
        await t.met([again]);
        restarts += 1;
      }
    };
    const [asked] = await Promise.all([
      askMany(asking, t.settings.requests, clients.length - 1, () => restarts >= t.settings.restarts),
      restart(),
    ]);
    console.log(`     ${asked} questions in ${restarts} restarts, all answered`);
  }, { ms: 300_000 }),
];
