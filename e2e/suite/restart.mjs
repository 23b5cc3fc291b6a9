// The server exits and starts again on the same port; clients reconnect by themselves.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const PERSISTENT = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };

export default theme("restart", {}, [
  ...["SIGKILL", "SIGTERM"].flatMap((signal) =>
    Object.keys(TRANSPORTS).map((transport) =>
      scenario(`${transport}: the client reconnects after ${signal}`, async (t) => {
        const client = await t.connect({ transport, ...PERSISTENT });
        const { id } = client;
        await client.join("room");
        await t.server.end(signal);
        assert.match(await client.disconnected(), /^transport (close|error)$/);
        client.send("message", "said while the server was away");
        await t.server.start();
        await client.reconnected();
        assert.notEqual(client.id, id);
        assert.deepEqual(await client.next("message-back"), ["said while the server was away"]);
        const { rooms, recovered } = await client.ask("whoami");
        assert.deepEqual([rooms, recovered], [[client.id], false]);
        await client.join("room");
        client.send("pub", "room", 1, "works");
        assert.deepEqual(await client.next("msg"), [1, "works"]);
      }),
    ),
  ),

  scenario("the server exits cleanly after SIGTERM, with clients on every transport", async (t) => {
    const clients = await Promise.all(Object.keys(TRANSPORTS).map((transport) => t.connect({ transport })));
    assert.deepEqual(await t.server.end("SIGTERM"), { code: 0, signal: null });
    for (const client of clients) assert.match(await client.disconnected(), /^transport (close|error)$/);
    await t.server.start();
  }),

  scenario("fifty clients reconnect", async (t) => {
    const nsp = t.namespace();
    const clients = await t.connectMany(50, { nsp, ...PERSISTENT });
    await t.server.end("SIGKILL");
    await t.server.start();
    await Promise.all(clients.map((client) => client.reconnected()));
    await clients[0].emitTo({}, "welcome back");
    for (const client of clients) assert.deepEqual(await client.next("welcome back"), []);
    assert.equal((await clients[0].result("fetch-sockets")).length, 50);
  }),
]);
