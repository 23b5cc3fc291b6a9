// Pings at a small interval: a client that answers stays connected, a silent one is disconnected.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

const INTERVAL = 50;
const TIMEOUT = 1_000;

/** The number of pings after which a connection that answers none would have been closed. */
const ENOUGH_PINGS = Math.ceil(TIMEOUT / INTERVAL) + 5;

export default theme("heartbeat", { env: { PING_INTERVAL_MS: `${INTERVAL}`, PING_TIMEOUT_MS: `${TIMEOUT}` } }, [
  ...Object.keys(TRANSPORTS).map((transport) =>
    scenario(`${transport}: the official client stays connected`, async (t) => {
      const client = await t.connect({ transport });
      let pings = 0;
      client.manager.on("ping", () => (pings += 1));
      await eventually(() => pings >= ENOUGH_PINGS, `${ENOUGH_PINGS} pings`, 20_000);
      assert.equal(client.socket.connected, true);
      assert.equal(await client.ask("echo", "still here"), "still here");
    }),
  ),

  scenario("the handshake contains interval and timeout", async (t) => {
    const { open } = await t.rawPolling();
    assert.deepEqual([open.pingInterval, open.pingTimeout], [INTERVAL, TIMEOUT]);
  }),

  scenario("websocket: a connection stays open while pings are answered, and is closed when they are not", async (t) => {
    const socket = await t.rawSocket();
    await socket.next();
    for (let i = 0; i < ENOUGH_PINGS; i += 1) {
      assert.equal(await socket.next(), "2");
      socket.send("3");
    }
    assert.equal(await socket.closed(), 1005);
    assert.deepEqual(socket.takeAll(), ["2"]);
  }),

  scenario("polling: a session that never answers is closed", async (t) => {
    const session = await t.rawPolling();
    assert.equal(await session.next(), "2");
    assert.equal(await session.next(), "1");
    assert.equal((await session.get()).status, 400);
  }),

  scenario("a socket whose client falls silent leaves its rooms", async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    const silent = await t.rawSocket();
    await silent.connect(`40${nsp},`);
    assert.equal((await witness.result("fetch-sockets")).length, 2);
    await silent.closed();
    await eventually(async () => (await witness.result("fetch-sockets")).length === 1, "the silent socket to go");
  }),

  scenario("unsolicited pongs are ignored", async (t) => {
    const socket = await t.rawSocket();
    await socket.connect();
    assert.equal(await socket.next(), '42["auth",{}]');
    for (let i = 0; i < 50; i += 1) socket.send("3");
    socket.send('421["echo","still here"]');
    let frame;
    while ((frame = await socket.next()) === "2");
    assert.equal(frame, '431["still here"]');
  }),
]);
