// A small soft bound of the outbox. It applies to clients that do not read: a client that reads receives bursts several times as large.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const SOFT_BOUND = 64 * 1024;

/** The number of events of a step, and their size in characters: in total eight times the bound. */
const COUNT = 128;
const BYTES = (8 * SOFT_BOUND) / COUNT;

export default theme("outbox", { env: { MAX_OUTBOX_BYTES: String(SOFT_BOUND) } }, [
  ...Object.keys(TRANSPORTS).map((transport) =>
    scenario(`${transport}: a client that reads receives more than the soft bound in one step`, async (t) => {
      const client = await t.connect({ transport });
      for (let times = 0; times < 5; times += 1) {
        assert.equal(await client.ask("burst", COUNT, BYTES), COUNT);
        const numbers = client.takeAll("burst").map(([number]) => number);
        assert.deepEqual(numbers, Array.from({ length: COUNT }, (_, i) => i));
      }
    }),
  ),

  scenario("a single packet may be larger than the soft bound", async (t) => {
    for (const transport of Object.keys(TRANSPORTS)) {
      const client = await t.connect({ transport });
      assert.equal(await client.ask("burst", 1, 4 * SOFT_BOUND), 1);
      assert.equal((await client.next("burst"))[1].length, 4 * SOFT_BOUND);
    }
  }),
]);
