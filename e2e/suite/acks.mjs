// Acknowledgements in both directions: complete, partial and late ones.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";

/** Timeout of a call that will be answered, in ms. */
const ENOUGH = 5_000;
/** Timeout of a call that will not be answered, in ms. */
const SHORT = 500;
const TIMED_OUT = "operation has timed out";

const unordered = (answers) => [...answers].sort();

export default theme("acks", {}, [
  scenario("the server answers each of many requests once", async (t) => {
    const client = await t.connect();
    const numbers = Array.from({ length: 200 }, (_, i) => i);
    assert.deepEqual(await Promise.all(numbers.map((i) => client.ask("echo", i))), numbers);
  }),

  scenario("a client answers the server", async (t) => {
    const client = await t.connect();
    client.answers("question", (a, b) => ({ sum: a + b }));
    const request = { event: "question", args: [2, 3], timeout: ENOUGH };
    assert.deepEqual(await client.call("socket-emit-with-ack", request), { ok: { sum: 5 } });
  }),

  scenario("a client does not answer the server", async (t) => {
    const client = await t.connect();
    const request = { event: "question", args: [1], timeout: SHORT };
    assert.deepEqual(await client.call("socket-emit-with-ack", request), { error: TIMED_OUT });
    assert.deepEqual(await client.next("question"), [1]);
  }),

  scenario("an answer that arrives too late is ignored", async (t) => {
    const client = await t.connect();
    let answer;
    client.socket.on("question", (ack) => (answer = ack));
    assert.deepEqual(await client.call("socket-emit-with-ack", { event: "question", timeout: SHORT }), {
      error: TIMED_OUT,
    });
    answer("late");
    assert.equal(await client.ask("echo", "still here"), "still here");
    client.answers("other", () => "in time");
    assert.equal(await client.result("socket-emit-with-ack", { event: "other", timeout: ENOUGH }), "in time");
  }),

  scenario("a broadcast that every client answers", async (t) => {
    const room = t.room();
    const clients = await t.connectMany(5);
    for (const [i, client] of clients.entries()) {
      await client.join(room);
      client.answers("question", (text) => `${text}${i}`);
    }
    const request = { target: { rooms: [room], timeout: ENOUGH }, event: "question", args: ["n"] };
    const answers = await clients[0].result("emit-with-ack", request);
    assert.deepEqual(unordered(answers), ["n0", "n1", "n2", "n3", "n4"]);
  }),

  scenario("a broadcast that one client does not answer", async (t) => {
    const room = t.room();
    const clients = await t.connectMany(3);
    for (const client of clients) await client.join(room);
    clients[0].answers("question", () => "zero");
    clients[1].answers("question", () => "one");
    const request = { target: { rooms: [room], timeout: SHORT }, event: "question" };
    const { error, answers, ...rest } = await clients[0].call("emit-with-ack", request);
    assert.equal(error, TIMED_OUT);
    assert.deepEqual(unordered(answers), ["one", "zero"]);
    assert.deepEqual(rest, {});
    assert.deepEqual(await clients[2].next("question"), []);
  }),

  scenario("a broadcast that reaches nobody is complete immediately", async (t) => {
    const client = await t.connect();
    const request = { target: { rooms: [t.room()], timeout: ENOUGH }, event: "question" };
    assert.deepEqual(await client.call("emit-with-ack", request), { ok: [] });
  }),

  scenario("a broadcast from a socket excludes the socket itself", async (t) => {
    const room = t.room();
    const [asker, other] = await t.connectMany(2);
    for (const client of [asker, other]) {
      await client.join(room);
      client.answers("question", () => client.id);
    }
    const target = { rooms: [room], broadcast: true, timeout: ENOUGH };
    assert.deepEqual(await asker.result("emit-with-ack", { target, event: "question" }), [other.id]);
    await asker.fence(asker);
    assert.deepEqual(asker.takeAll("question"), []);
  }),

  scenario("a broadcast with bytes, answered with bytes", async (t) => {
    const room = t.room();
    const clients = await t.connectMany(2);
    for (const client of clients) {
      await client.join(room);
      client.answers("question", ({ bytes }) => ({ first: bytes[0], bytes }));
    }
    const bytes = Buffer.from([7, 8]);
    const request = { target: { rooms: [room], timeout: ENOUGH }, event: "question", args: [{ bytes }] };
    const answer = { first: 7, bytes };
    assert.deepEqual(await clients[0].result("emit-with-ack", request), [answer, answer]);
  }),

  scenario("a second acknowledgement of the same event is ignored", async (t) => {
    const client = await t.rawSocket();
    await client.connect();
    await client.next(); // "auth"
    client.send('421["call",{"do":"socket-emit-with-ack","event":"question","timeout":5000}]');
    const [, id] = /^42(\d+)\["question"\]$/.exec(await client.next());
    client.send(`43${id}["first"]`, `43${id}["second"]`, "43999999[]", '422["echo","still here"]');
    const answers = [await client.next(), await client.next()];
    assert.deepEqual([...answers].sort(), ['431[{"ok":"first"}]', '432["still here"]']);
  }),
]);
