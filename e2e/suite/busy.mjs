// `busy`: a handler that blocks its thread. It holds up its own client; on Node, which has one thread, everybody.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

/** How long a handler blocks, in ms. */
const SHORT_MS = 200;

/** So long that what is asked in the middle is answered before the end, on a machine with other work to do as well. */
const LONG_MS = 3_000;

/** Questions of each client meanwhile, one after the other. */
const QUESTIONS = 20;

// One handler blocks one worker.
export default theme("busy", { env: { TOKIO_WORKER_THREADS: "2" } }, [
  scenario("everyone hears it once, and nothing of anybody is lost or reordered", async (t) => {
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

  scenario("what others emit to its client meanwhile comes in order", async (t) => {
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
      // In the middle of it, when nothing else has happened since: what the blocked thread did for others is left undone.
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
      // Whoever waits for its end waits until this at least.
      assert.ok(Date.now() < begun + LONG_MS, "nobody waits for its end");
      await blocked;
    }, { differs: true }),
  ),
]);
