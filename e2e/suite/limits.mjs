// MAX_PAYLOAD: a payload of exactly this size is accepted, one byte more is not.

import assert from "node:assert/strict";
import { SEPARATOR } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const MAX = 20_000;

// An echo request whose Engine.IO message has exactly `size` bytes.
function messageOf(size, filler = "a") {
  const around = '421["echo",""]';
  return `421["echo","${filler.repeat((size - around.length) / Buffer.byteLength(filler))}"]`;
}

export default theme("limits", { env: { MAX_PAYLOAD: String(MAX) } }, [
  scenario("websocket: text below the limit and bytes of exactly the limit are accepted", async (t) => {
    const client = await t.connect();
    const text = "a".repeat(MAX - 100);
    assert.equal(await client.ask("echo", text), text);
    const bytes = Buffer.alloc(MAX, 7);
    assert.ok(bytes.equals(await client.ask("echo", bytes)));
  }),

  scenario("websocket: a message above the limit closes the connection", async (t) => {
    for (const payload of ["a".repeat(MAX), Buffer.alloc(MAX + 1)]) {
      const client = await t.connect();
      client.send("message", payload);
      assert.match(await client.disconnected(), /^transport (close|error)$/);
      assert.deepEqual(client.takeAll("message-back"), []);
    }
  }),

  scenario("websocket: a message of exactly the limit is accepted, one byte more closes with 1009", async (t) => {
    for (const filler of ["a", "é"]) {
      const socket = await t.rawSocket();
      await socket.connect();
      await socket.next(); // "auth"
      socket.send(messageOf(MAX, filler));
      assert.match(await socket.next(), /^431\["[aé]+"\]$/);
      socket.send(messageOf(MAX, filler) + " ");
      assert.equal(await socket.closed(), 1009);
    }
  }),

  scenario("polling: the client splits its packets into payloads below the limit", async (t) => {
    const client = await t.connect({ transport: "polling" });
    assert.equal(client.manager.engine._maxPayload, MAX);
    const texts = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(MAX / 4, "."));
    assert.deepEqual(await Promise.all(texts.map((text) => client.ask("echo", text))), texts);
  }),

  scenario("polling: a packet above the limit closes the connection", async (t) => {
    const client = await t.connect({ transport: "polling" });
    client.send("message", "a".repeat(MAX));
    assert.equal(await client.disconnected(), "transport error");
  }),

  scenario("polling: a payload of exactly the limit is accepted, one byte more is answered with 413 and the session continues", async (t) => {
    for (const filler of ["a", "é"]) {
      const session = await t.rawPolling();
      await session.connect();
      await session.next(); // "auth"
      assert.equal((await session.post(messageOf(MAX, filler))).status, 200);
      assert.match(await session.next(), /^431\["[aé]+"\]$/);
      const { status, body } = await session.post(messageOf(MAX, filler) + " ");
      assert.deepEqual([status, body], [413, ""]);
      await session.post('422["echo","still here"]');
      assert.equal(await session.next(), '432["still here"]');
    }
  }),

  scenario("polling: the limit applies to the whole payload, not to each packet", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    const half = messageOf(MAX / 2);
    assert.equal((await session.post([half, half].join(SEPARATOR))).status, 413);
    assert.equal((await session.post([half, half.slice(0, -3) + '"]'].join(SEPARATOR))).status, 200);
  }),

  scenario("the limit does not apply to what the server sends", async (t) => {
    for (const transport of ["websocket", "polling"]) {
      const client = await t.connect({ transport });
      const parts = Array.from({ length: 10 }, () => "a".repeat(MAX / 20));
      await Promise.all(parts.map((part, i) => client.ask("set-data", [i, part])));
      const many = await Promise.all(parts.map((part) => client.ask("echo", part)));
      assert.deepEqual(many, parts);
    }
  }),
]);
