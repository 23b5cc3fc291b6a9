// The same exchange over polling, over WebSocket, and with an upgrade.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const conversations = Object.keys(TRANSPORTS).flatMap((transport) => [
  scenario(`${transport}: connects and reports its transport`, async (t) => {
    const client = await t.connect({ transport });
    const { id, transport: seen, rooms, recovered } = await client.ask("whoami");
    assert.equal(seen, transport === "polling" ? "polling" : "websocket");
    assert.equal(id, client.id);
    assert.match(id, /^[\w-]{20}$/);
    assert.deepEqual(rooms, [id]);
    assert.equal(recovered, false);
  }),

  scenario(`${transport}: answers text and binary`, async (t) => {
    const client = await t.connect({ transport });
    const bytes = Buffer.from([0, 1, 0x1e, 0x7f, 0x80, 0xff]);
    assert.deepEqual(await client.askAll("message-with-ack", "é 😀", { bytes }, null, [1, bytes]), [
      "é 😀",
      { bytes },
      null,
      [1, bytes],
    ]);
    client.send("message", bytes, "text");
    assert.deepEqual(await client.next("message-back"), [bytes, "text"]);
  }),

  scenario(`${transport}: carries 900 KB of text and of bytes`, async (t) => {
    const client = await t.connect({ transport });
    const text = "0123456789abcdef".repeat(900_000 / 16);
    assert.equal(await client.ask("echo", text), text);
    // Polling encodes bytes as base64, so three bytes take four characters of the limit.
    const bytes = Buffer.alloc(transport === "polling" ? 670_000 : 900_000, "raw bytes ");
    assert.ok(bytes.equals(await client.ask("echo", bytes)));
  }),

  scenario(`${transport}: keeps the order of 500 events and their answers`, async (t) => {
    const client = await t.connect({ transport });
    const numbers = Array.from({ length: 500 }, (_, i) => i);
    assert.deepEqual(await Promise.all(numbers.map((i) => client.ask("echo", i))), numbers);
    for (const i of numbers) client.send("message", i);
    for (const i of numbers) assert.deepEqual(await client.next("message-back"), [i]);
  }),
]);

export default theme("transports", {}, [
  ...conversations,

  scenario("upgrade: no events are lost, duplicated or reordered during it", async (t) => {
    for (let round = 0; round < 10; round += 1) {
      const client = t.client({ transport: "upgrade" });
      const numbers = Array.from({ length: 100 }, (_, i) => i);
      // Events from before the connection leave immediately over polling, and each answer is followed by another event, so that there are
      // events in flight in both directions at every moment of the upgrade.
      const chained = numbers.map(async (i) => [await client.ask("echo", i), await client.ask("echo", `${i}`)]);
      const answers = await Promise.all(chained);
      assert.deepEqual(answers, numbers.map((i) => [i, `${i}`]));
      await client.connected();
      assert.equal((await client.ask("whoami")).transport, "websocket");
      client.close();
    }
  }),

  scenario("upgrade: a broadcast during it reaches the client once", async (t) => {
    const speaker = await t.connect();
    const room = t.room();
    for (let round = 0; round < 10; round += 1) {
      const client = t.client({ transport: "upgrade" });
      await client.ask("join", room);
      for (let seq = 0; seq < 50; seq += 1) speaker.send("pub", room, seq, round);
      for (let seq = 0; seq < 50; seq += 1) assert.deepEqual(await client.next("msg"), [seq, round]);
      await client.connected();
      await client.fence(client);
      assert.deepEqual(client.takeAll("msg"), []);
      await client.ask("leave", room);
    }
  }),

  scenario("a server serves all three at the same time", async (t) => {
    const room = t.room();
    const clients = await Promise.all(Object.keys(TRANSPORTS).map((transport) => t.connect({ transport })));
    await Promise.all(clients.map((client) => client.join(room)));
    const payload = { text: "salle é 😀", bytes: Buffer.from("bytes") };
    clients[0].send("pub", room, 1, payload);
    for (const client of clients) assert.deepEqual(await client.next("msg"), [1, payload]);
  }),
]);
