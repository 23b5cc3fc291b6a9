// Values of every kind in JSON, binary attachments and names arrive as they were sent.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";

const TEXTS = {
  "two, three and four byte characters": "é ß 漢字 😀 👨‍👩‍👧 𝄞",
  "right to left and combining marks": "שלום مرحبا e\u0301\u0323",
  "control characters and separators": "\0\x01\x1e\x1f\x7f\u2028\u2029\ufeff",
  "quotes and backslashes": `"\\"/\\u0041\\n\n\t'`,
  "a lone surrogate": "\ud800 and \udfff",
  "text that looks like packets": '42["x"]\x1e451-[{"_placeholder":true,"num":0}]',
  nothing: "",
};

const JSON_VALUES = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  -2.25e-7,
  1e21,
  2 ** 53 - 1,
  -(2 ** 53 - 1),
  [],
  {},
  [[[[[]]]]],
  { "": "", a: { b: [{ c: null }] }, "42": 1, __proto_: 1, "é 😀": "ключ" },
];

const bytes = (...values) => Buffer.from(values);

export default theme("values", {}, [
  ...Object.entries(TEXTS).map(([name, text]) =>
    scenario(`text: ${name}`, async (t) => {
      const client = await t.connect();
      assert.equal(await client.ask("echo", text), text);
      assert.deepEqual(await client.ask("echo", { [text]: [text] }), { [text]: [text] });
      client.send("message", text);
      assert.deepEqual(await client.next("message-back"), [text]);
    }),
  ),

  scenario("JSON of every kind", async (t) => {
    const client = await t.connect();
    for (const value of JSON_VALUES) assert.deepEqual(await client.ask("echo", value), value);
    assert.deepEqual(await client.askAll("message-with-ack", ...JSON_VALUES), JSON_VALUES);
  }),

  scenario("no arguments at all", async (t) => {
    const client = await t.connect();
    client.send("message");
    assert.deepEqual(await client.next("message-back"), []);
    assert.deepEqual(await client.askAll("message-with-ack"), []);
  }),

  scenario("values that JSON cannot express become null or are left out", async (t) => {
    const client = await t.connect();
    assert.deepEqual(await client.askAll("message-with-ack", undefined, NaN, { gone: undefined }, [undefined]), [
      null,
      null,
      {},
      [null],
    ]);
  }),

  scenario("a hundred arguments", async (t) => {
    const client = await t.connect();
    const args = Array.from({ length: 100 }, (_, i) => ({ i }));
    assert.deepEqual(await client.askAll("message-with-ack", ...args), args);
  }),

  scenario("binary: in both directions, in events and acknowledgements", async (t) => {
    const client = await t.connect();
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    assert.deepEqual(await client.ask("echo", all), all);
    client.send("message", all);
    assert.deepEqual(await client.next("message-back"), [all]);
    await client.emitTo({ rooms: [client.id] }, "from-server", all, "text", { all });
    assert.deepEqual(await client.next("from-server"), [all, "text", { all }]);
    client.answers("give", () => ({ back: [all] }));
    assert.deepEqual(
      await client.result("socket-emit-with-ack", { event: "give", args: [all], timeout: 5_000 }),
      { back: [all] },
    );
  }),

  scenario("binary: nested among other values", async (t) => {
    const client = await t.connect();
    const value = {
      first: bytes(1),
      list: [bytes(2, 2), "text", [bytes(3, 3, 3), { deep: { deeper: bytes(4) } }]],
      none: null,
      last: bytes(),
    };
    assert.deepEqual(await client.ask("echo", value), value);
    assert.deepEqual(await client.askAll("message-with-ack", bytes(9), value, bytes(8)), [bytes(9), value, bytes(8)]);
  }),

  scenario("binary: empty, repeated, and typed arrays", async (t) => {
    const client = await t.connect();
    const twice = bytes(1, 2);
    assert.deepEqual(await client.ask("echo", [twice, twice]), [twice, twice]);
    assert.deepEqual(await client.ask("echo", bytes()), bytes());
    assert.deepEqual(await client.ask("echo", Uint8Array.of(5, 6)), bytes(5, 6));
    assert.deepEqual(await client.ask("echo", Uint16Array.of(0x0201)), bytes(1, 2));
    assert.deepEqual(await client.ask("echo", Uint8Array.of(7, 8).buffer), bytes(7, 8));
  }),

  scenario("binary: ten attachments are accepted, eleven close the connection", async (t) => {
    const ten = Array.from({ length: 10 }, (_, i) => bytes(i));
    const client = await t.connect();
    assert.deepEqual(await client.ask("echo", ten), ten);
    client.send("message", [...ten, bytes(10)]);
    assert.match(await client.disconnected(), /^transport (close|error)$/);
    assert.deepEqual(client.takeAll("message-back"), []);
  }),

  scenario("event names of every kind", async (t) => {
    const client = await t.connect();
    for (const name of ["é 😀", "with space", "error", "message", "", "42", "a".repeat(500)]) {
      await client.emitTo({ rooms: [client.id] }, name, name);
      assert.deepEqual(await client.next(name), [name]);
    }
  }),

  scenario("an event without a handler is ignored", async (t) => {
    const client = await t.connect();
    client.send("nobody serves this", 1, bytes(1));
    assert.equal(await client.ask("echo", "still here"), "still here");
  }),
]);
