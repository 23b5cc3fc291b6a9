// `busy`: a handler that blocks its thread. It delays only its own client; on Node, which has one thread, all clients.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

/** How long a handler blocks, in ms. */
const SHORT_MS = 200;

/** So long that requests in the middle of it are answered before its end, even on a busy machine. */
const LONG_MS = 3_000;

/** Requests that each other client sends meanwhile, one after another. */
const QUESTIONS = 20;

// With two workers, of which the handler blocks one.
export default theme("busy", { env: { TOKIO_WORKER_THREADS: "2" } }, [
  scenario("every client receives its event once, and no events are lost or reordered", async (t) => {
    const nsp = t.namespace();
    const [blocker, ...others] = await t.connectMany(10, { nsp });
    const numbers = Array.from({ length: 100 }, (_, i) => i);
    const blocked = blocker.ask("busy", SHORT_MS);
    const after = blocker.ask("echo", "after it");
    const asked = others.map((client) => Promise.all(numbers.map((i) => client.ask("echo", i))));
    for (const answers of await Promise.all(asked)) assert.deepEqual(answers, numbers);
    await blocked;
    assert.equal(await after, "after it");
    await blocker.fence(blocker, ...others);
    for (const client of [blocker, ...others]) assert.deepEqual(client.takeAll("busy"), [[]]);
  }),

  scenario("events that others emit to its client meanwhile arrive in order", async (t) => {
    const nsp = t.namespace();
    const [blocker, speaker] = await t.connectMany(2, { nsp });
    const room = t.room();
    await blocker.join(room);
    const blocked = blocker.ask("busy", SHORT_MS);
    for (let seq = 0; seq < 500; seq += 1) speaker.send("pub", room, seq, "meanwhile");
    for (let seq = 0; seq < 500; seq += 1) assert.deepEqual(await blocker.next("msg"), [seq, "meanwhile"]);
    await blocked;
  }),

  ...Object.keys(TRANSPORTS).map((transport) =>
    scenario(`${transport}: others are answered while it blocks, although it has emitted to them`, async (t) => {
      const nsp = t.namespace();
      const blocker = await t.connect({ nsp });
      const others = await t.connectMany(3, { nsp, transport });
      const begun = Date.now();
      const blocked = blocker.ask("busy", LONG_MS);
      // Continues in the middle of it, without other traffic before: what the blocked thread has begun for other clients is still unfinished.
      await new Promise((resolve) => setTimeout(resolve, LONG_MS / 6));
      await Promise.all(
        others.map(async (client) => {
          for (let question = 0; question < QUESTIONS; question += 1) {
            assert.equal(await client.ask("echo", question), question);
          }
          await others[0].emitTo({ rooms: [client.id] }, "from another");
          assert.deepEqual(await client.next("from another"), []);
        }),
      );
      // Clients that had to wait for its end would be answered later than this.
      assert.ok(Date.now() < begun + LONG_MS, "other clients had to wait for its end");
      await blocked;
    }, { differs: true }),
  ),
]);
