// Many clients in a room: each receives every broadcast exactly once and in order. `--clients N` sets how many clients.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

const BROADCASTS = 100;

/** Connections that are opened at the same time. More would only wait in the backlog of the listener. */
const BATCH = 50;

/** Limit for the scenario, in ms. 1,000 clients take a few seconds on two quiet cores. */
const CROWD_MS = 180_000;

const sequence = Array.from({ length: BROADCASTS }, (_, seq) => seq);

export default theme("crowd", {}, [
  scenario("a crowd joins a room, receives everything once and in order, and leaves", async (t) => {
    const nsp = t.namespace();
    const speaker = await t.connect({ nsp });
    const crowd = [];
    while (crowd.length < t.crowd) {
      const batch = await t.connectMany(Math.min(BATCH, t.crowd - crowd.length), { nsp });
      await Promise.all(batch.map((client) => client.join("crowd")));
      crowd.push(...batch);
    }
    assert.equal((await speaker.result("fetch-sockets", { target: { rooms: ["crowd"] } })).length, t.crowd);

    for (const seq of sequence) speaker.send("pub", "crowd", seq, `message ${seq}`);
    await Promise.all(
      crowd.map(async (client) => {
        for (const seq of sequence) assert.deepEqual(await client.next("msg"), [seq, `message ${seq}`]);
      }),
    );

    await Promise.all(crowd.map((client) => client.ask("leave", "crowd")));
    assert.deepEqual(await speaker.result("fetch-sockets", { target: { rooms: ["crowd"] } }), []);
    await speaker.emitTo({ rooms: ["crowd"] }, "msg", "to an empty room");
    // This event arrives after everything that was sent before it, so a duplicate message would be unread by now.
    await speaker.emitTo({}, "farewell");
    await Promise.all(crowd.map((client) => client.next("farewell")));
    for (const client of crowd) assert.deepEqual(client.takeAll("msg"), []);

    for (const client of crowd) client.close();
    await eventually(async () => (await speaker.result("fetch-sockets")).length === 1, "everyone to be gone", 30_000);
  }, { ms: CROWD_MS }),
]);
