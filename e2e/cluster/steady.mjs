// Many requests of Node's servers: undisturbed, while a roomcast server is restarted, and after the subscriber of one became half-open. All
// are answered, with one exception: on sharded channels a server counts the subscribers before it sends a request, and if a counted server
// leaves in between, the request fails.

import assert from "node:assert/strict";
import { startFaultProxy } from "../lib/fault-proxy.mjs";
import { scenario } from "./context.mjs";

/** Unanswered requests at the same time, per kind and server. */
const AT_ONCE = 4;

/** Time after which a half-open connection must have no effect any more, in ms. It is noticed after 6 s at most. */
const HEALED_MS = 10_000;

const QUESTIONS = {
  "fetch-sockets": (answer, least) => answer.length >= least,
  "server-side-emit-with-ack": (answer, least) => answer.length >= least - 1,
  "all-rooms": (answer, least) => answer.length >= least,
};

// Sends each request `count` times, and further ones until `enough()`. Resolves to the number of answered requests. A request that fails,
// or whose answer lacks a server that was there all the time, is an error; except that each sequence of requests may have `mayMiss()`
// failures. A request that begins while `unhealthy()` may fail, and is not counted.
async function askMany(t, clients, count, least, { enough = () => true, unhealthy = () => false, mayMiss = () => 0 } = {}) {
  let asked = 0;
  let failedBefore = 0;
  let missed = 0;
  const one = async (client, question, complete) => {
    let missedHere = 0;
    for (let times = 0; times < count / AT_ONCE || !enough(); ) {
      const mayFail = unhealthy();
      const answer = await client.call(question, { event: "asked", args: [] });
      if (mayFail) {
        if (!("ok" in answer)) failedBefore += 1;
        continue;
      }
      if (!("ok" in answer) && missedHere < mayMiss()) {
        missedHere += 1;
        missed += 1;
        continue;
      }
      assert.ok("ok" in answer, `${question} number ${times} at ${client.server.name}: ${JSON.stringify(answer)}`);
      assert.ok(complete(answer.ok, least), `${question} at ${client.server.name} answered ${JSON.stringify(answer.ok)}`);
      asked += 1;
      times += 1;
    }
  };
  const sequences = clients.flatMap((client) =>
    Object.entries(QUESTIONS).filter(([question]) => t.settings.dialect === "classic" || question !== "all-rooms").flatMap(([question, complete]) =>
      Array.from({ length: AT_ONCE }, () => one(client, question, complete)),
    ),
  );
  await Promise.all(sequences);
  return { asked, failedBefore, missed };
}

export default [
  scenario("requests of Node's servers are all answered", async (t) => {
    const clients = await t.crowd();
    const asking = clients.filter(({ server }) => server.kind === "twin");
    const { asked } = await askMany(t, asking, t.settings.requests, clients.length);
    console.log(`     ${asked} requests, all answered by all servers`);
  }, { ms: 300_000 }),

  scenario("requests of Node's servers are all answered while a roomcast server is restarted", async (t) => {
    const clients = await t.crowd();
    const asking = clients.filter(({ server }) => server.kind === "twin");
    const restarting = t.of("roomcast")[0];
    if (!restarting) return;
    let restarts = 0;
    const restart = async () => {
      while (restarts < t.settings.restarts) {
        assert.deepEqual(await restarting.end("SIGTERM"), { code: 0, signal: null });
        await restarting.start();
        // A client makes the server take part in this namespace again.
        const again = await t.connect(restarting, { nsp: clients[0].socket.nsp });
        await t.met([again]);
        restarts += 1;
      }
    };
    const [{ asked, missed }] = await Promise.all([
      askMany(t, asking, t.settings.requests, clients.length - 1, {
        enough: () => restarts >= t.settings.restarts,
        mayMiss: () => (t.settings.dialect === "classic" ? 0 : restarts + 1),
      }),
      restart(),
    ]);
    console.log(`     ${asked} requests during ${restarts} restarts, ${missed} not answered`);
  }, { ms: 300_000 }),

  scenario("requests of Node's servers are all answered again after a roomcast subscriber became half-open", async (t) => {
    const proxy = await startFaultProxy(t.redis.url);
    const further = t.settings.server("roomcast", "behind-proxy", proxy.url, t.settings.dialect);
    try {
      await further.start();
      const nsp = t.namespace();
      const clients = [];
      for (const server of [...t.servers, further]) clients.push(await t.connect(server, { nsp }));
      await t.met(clients, clients.length);
      const asking = clients.filter(({ server }) => server.kind === "twin");
      assert.equal(proxy.halfOpenSubscribers(), 1);
      const healed = performance.now() + HEALED_MS;
      const unhealthy = () => performance.now() < healed;
      const { asked, failedBefore } = await askMany(t, asking, t.settings.requests, clients.length, { unhealthy });
      assert.ok(failedBefore > 0, "the half-open connection had no effect");
      console.log(`     ${failedBefore} of the first ${HEALED_MS / 1_000} s failed; then ${asked} were answered by all servers`);
    } finally {
      await further.end();
      proxy.close();
    }
  }, { ms: 300_000, onCluster: false }),
];
