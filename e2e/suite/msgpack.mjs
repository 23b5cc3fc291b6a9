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

const bytes = (...values) => Buffer.from(values);

// Numbers that are the same in every run.
function numbers(seed) {
  let state = seed;
  return (most) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

// Lengths and integers at which MessagePack changes its form.
const LENGTHS = [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536];
const INTEGERS = [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53 - 1)];

function randomValue(next, depth = 0) {
  const list = () => Array.from({ length: next(6) }, () => randomValue(next, depth + 1));
  switch (next(depth < 4 ? 9 : 7)) {
    case 0:
      return [null, true, false][next(3)];
    case 1:
      return INTEGERS[next(INTEGERS.length)];
    case 2:
      return next(2 ** 31) / 1_000 - 2 ** 20;
    case 3:
      return ["", "é", "漢字 😀", '"\\\n\u0000', "\u2028"][next(5)].repeat(next(20));
    case 4:
      // A whole number over 2^64 is written wrongly by notepack itself.
      return 10 ** -next(300);
    case 5:
      return Buffer.from(Array.from({ length: next(40) }, () => next(256)));
    case 6:
      return "x".repeat(LENGTHS[next(8)]);
    case 7:
      return list();
    default:
      return Object.fromEntries(list().map((value, at) => [`${["k", "é", "_placeholder", ""][next(4)]}${at}`, value]));
  }
}

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

  scenario("random values come back as they were sent", async (t) => {
    const client = await t.connect({ parser });
    const next = numbers(11);
    for (let round = 0; round < 150; round += 1) {
      const args = Array.from({ length: 1 + next(4) }, () => randomValue(next));
      assert.deepEqual(await client.askAll("message-with-ack", ...args), args);
    }
  }),

  scenario("lengths and integers at which the form changes", async (t) => {
    const client = await t.connect({ parser });
    assert.deepEqual(await client.askAll("message-with-ack", ...INTEGERS), INTEGERS);
    for (const length of LENGTHS) {
      const values = [
        "a".repeat(length),
        Buffer.alloc(length, 7),
        Array.from({ length: Math.min(length, 256) }, (_, i) => i),
        Object.fromEntries(Array.from({ length: Math.min(length, 256) }, (_, i) => [`k${i}`, i])),
      ];
      assert.deepEqual(await client.askAll("message-with-ack", ...values), values);
    }
  }),

  scenario("typed arrays and ArrayBuffers are bytes", async (t) => {
    const client = await t.connect({ parser });
    for (const sent of [Uint8Array.of(5, 6), Uint8Array.of(5, 6).buffer, Buffer.from([5, 6])]) {
      const back = await client.ask("echo", sent);
      assert.deepEqual(Buffer.from(back), bytes(5, 6));
    }
  }),

  scenario("what JSON cannot hold reaches handlers as from the default parser", async (t) => {
    const client = await t.connect({ parser });
    const date = new Date(1_700_000_000_123);
    assert.deepEqual(await client.askAll("message-with-ack", date, undefined, { gone: undefined, here: 1 }, NaN, 2 ** 60), [
      date.toJSON(),
      null,
      { here: 1 },
      null,
      2 ** 60,
    ]);
  }, { differs: true }),

  scenario("a client of the default parser is disconnected", async (t) => {
    const socket = await t.rawSocket();
    await socket.next();
    socket.send("40");
    assert.equal(await socket.closed(), 1005);
  }),

  scenario("disconnects by either side", async (t) => {
    const client = await t.connect({ parser, nsp: t.namespace() });
    const other = await t.connect({ parser, nsp: t.namespace(), over: client });
    client.send("call", { do: "disconnect-self", close: false });
    assert.equal(await client.disconnected(), "io server disconnect");
    assert.equal(await other.ask("echo", "still here"), "still here");
    await client.reconnect();
    assert.equal(await client.ask("echo", "again"), "again");
    client.socket.disconnect();
    assert.equal(await client.disconnected(), "io client disconnect");
    assert.equal(await other.ask("echo", "still here"), "still here");
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
