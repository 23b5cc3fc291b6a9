// The MessagePack parser instead of the default parser, on both sides.

import assert from "node:assert/strict";
import parser from "socket.io-msgpack-parser";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const perTransport = Object.keys(TRANSPORTS).map((transport) =>
  scenario(`${transport}: values, bytes, acknowledgements and rooms`, async (t) => {
    const room = t.room();
    const client = await t.connect({ transport, parser, auth: { user: "é 😀" } });
    assert.deepEqual(await client.next("auth"), [{ user: "é 😀" }]);
    const value = { text: "漢字", numbers: [0, -1, 127, 128, 65_536, 2 ** 40, 1.5], none: null, yes: true };
    assert.deepEqual(await client.ask("echo", value), value);
    const bytes = Buffer.from([0, 255, 1]);
    assert.deepEqual(await client.askAll("message-with-ack", bytes, { bytes }), [bytes, { bytes }]);
    await client.join(room);
    client.send("pub", room, 1, { bytes });
    assert.deepEqual(await client.next("msg"), [1, { bytes }]);
    client.answers("question", (a) => [a, bytes]);
    const request = { event: "question", args: ["a"], timeout: 5_000 };
    assert.deepEqual(await client.result("socket-emit-with-ack", request), ["a", bytes]);
  }),
);

export default theme("msgpack", { env: { PARSER: "msgpack" } }, [
  ...perTransport,

  scenario("without an auth payload the server has an empty object", async (t) => {
    const client = await t.connect({ parser });
    assert.deepEqual(await client.next("auth"), [{}]);
  }),

  scenario("namespaces and refusals", async (t) => {
    const client = await t.connect({ parser, nsp: t.namespace() });
    assert.equal(await client.ask("echo", "inside"), "inside");
    assert.equal((await t.client({ parser, nsp: "/nope" }).refused()).message, "Invalid namespace");
    const { message, data } = await t.client({ parser, nsp: "/guarded" }).refused();
    assert.deepEqual([message, data], ["not authorized", { code: 401 }]);
  }),

  scenario("more than ten binary values are accepted", async (t) => {
    const client = await t.connect({ parser });
    const many = Array.from({ length: 30 }, (_, i) => Buffer.from([i]));
    assert.deepEqual(await client.ask("echo", many), many);
  }),

  scenario("malformed input closes the connection", async (t) => {
    for (const rubbish of ["c1", "83", "81a47479706509", "80", ""]) {
      const socket = await t.rawSocket();
      await socket.next();
      socket.send(Buffer.from(rubbish, "hex"));
      assert.equal(await socket.closed(), 1005, rubbish);
    }
  }),
]);
