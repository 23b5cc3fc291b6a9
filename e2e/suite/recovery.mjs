// Connection state recovery: a client that reconnects in time keeps its state and receives the events that it missed.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

/** Node's classic and sharded adapters keep no history. */
const RECOVERING = { adapters: ["memory", "streams"] };

/** Where Node's server does not recover a client (docs/protocol.md, 4.3). */
const OURS = { ...RECOVERING, differs: true };

// Cuts the client's transport and waits until the server has noticed it.
async function cutOff(client, witness) {
  client.cut();
  assert.equal(await client.disconnected(), "forced close");
  await eventually(async () => (await witness.result("fetch-sockets")).length === 1, "the server to notice it");
}

// A client and a witness, the only ones in a namespace. The client has received an event, so it has an offset.
async function pair(t, transport) {
  const nsp = t.namespace();
  const witness = await t.connect({ nsp });
  const client = await t.connect({ nsp, transport });
  await client.join("room");
  await client.ask("set-data", { kept: true });
  await witness.emitTo({ rooms: ["room"] }, "news", 0);
  const [first] = await client.next("news");
  assert.equal(first, 0);
  return { client, witness };
}

// Node appends the offset to an event's arguments, so only the first arguments are compared.
const numbersOf = (events) => events.map(([number]) => number);

export default theme("recovery", { env: { RECOVERY_MS: "60000" } }, [
  ...Object.keys(TRANSPORTS).map((transport) =>
    scenario(`${transport}: id, rooms, data and missed events come back`, async (t) => {
      const { client, witness } = await pair(t, transport);
      const { id } = client;
      await cutOff(client, witness);
      for (let i = 1; i <= 5; i += 1) await witness.emitTo({ rooms: ["room"] }, "news", i);
      await witness.emitTo({ rooms: ["other room"] }, "news", "not for it");
      await witness.emitTo({ except: ["room"] }, "news", "not for it");
      await witness.emitTo({ rooms: [id] }, "news", 6);
      await client.reconnect();
      assert.equal(client.id, id);
      assert.equal(client.socket.recovered, true);
      await client.fence(client);
      assert.deepEqual(numbersOf(client.takeAll("news")), [1, 2, 3, 4, 5, 6]);
      const { recovered, rooms } = await client.ask("whoami");
      assert.deepEqual([recovered, [...rooms].sort()], [true, [id, "room"].sort()]);
      const [socket] = await client.result("fetch-sockets", { target: { rooms: [id] } });
      assert.deepEqual(socket.data, { kept: true });
      await witness.emitTo({ rooms: ["room"] }, "news", 7);
      assert.equal((await client.next("news"))[0], 7);
    }, RECOVERING),
  ),

  scenario("a client can recover repeatedly", async (t) => {
    const { client, witness } = await pair(t, "websocket");
    const { id } = client;
    for (let i = 1; i <= 5; i += 1) {
      await cutOff(client, witness);
      await witness.emitTo({ rooms: ["room"] }, "news", i);
      await client.reconnect();
      assert.deepEqual([client.id, client.socket.recovered], [id, true]);
      assert.equal((await client.next("news"))[0], i);
    }
  }, RECOVERING),

  scenario("a client that has received no event recovers, repeatedly", async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    const client = await t.connect({ nsp });
    const { id } = client;
    for (let i = 1; i <= 3; i += 1) {
      await cutOff(client, witness);
      await client.reconnect();
      assert.deepEqual([client.id, client.socket.recovered], [id, true]);
    }
    await cutOff(client, witness);
    await witness.emitTo({}, "news", 1);
    await client.reconnect();
    assert.deepEqual([client.id, client.socket.recovered], [id, true]);
    assert.equal((await client.next("news"))[0], 1);
  }, OURS),

  scenario("a volatile event that ends in a string does not spoil the offset", async (t) => {
    const { client, witness } = await pair(t, "websocket");
    const { id } = client;
    await witness.emitTo({ volatile: true }, "news", "text");
    assert.deepEqual(await client.next("news"), ["text", null]);
    await cutOff(client, witness);
    await witness.emitTo({}, "news", 1);
    await client.reconnect();
    assert.deepEqual([client.id, client.socket.recovered], [id, true]);
    assert.equal((await client.next("news"))[0], 1);
  }, OURS),

  scenario("a client that comes back before the server has noticed its loss recovers", async (t) => {
    const { client, witness } = await pair(t, "websocket");
    const { id, socket } = client;
    const { _pid: pid, _lastOffset: offset } = socket;
    const next = await t.rawSocket();
    const answer = await next.connect(`40${socket.nsp},${JSON.stringify({ pid, offset })}`);
    assert.deepEqual(JSON.parse(answer.slice(answer.indexOf("{"))), { sid: id, pid });
    assert.equal(await client.disconnected(), "transport close");
    assert.equal((await witness.result("fetch-sockets")).length, 2);
  }, OURS),

  scenario("a client that disconnects on purpose does not recover", async (t) => {
    const { client, witness } = await pair(t, "websocket");
    const { id } = client;
    client.socket.disconnect();
    await client.disconnected();
    await eventually(async () => (await witness.result("fetch-sockets")).length === 1, "the server to notice it");
    await client.reconnect();
    assert.notEqual(client.id, id);
    assert.equal(client.socket.recovered, false);
    assert.deepEqual((await client.ask("whoami")).rooms, [client.id]);
  }, RECOVERING),

  scenario("a client with an unknown session does not recover", async (t) => {
    const socket = await t.rawSocket();
    const answer = await socket.connect('40{"pid":"AAAAAAAAAAAAAAAAAAAA","offset":"nonsense"}');
    const { sid, pid } = JSON.parse(answer.slice(2));
    assert.match(sid, /^[\w-]{20}$/);
    assert.match(pid, /^[\w-]{20}$/);
    assert.notEqual(pid, "AAAAAAAAAAAAAAAAAAAA");
  }, RECOVERING),
]);
