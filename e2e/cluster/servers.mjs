// Requests between servers: server-side events, all rooms, the number of servers.

import assert from "node:assert/strict";
import { fromEach, heard, split } from "./context.mjs";

// The value as it arrives. Requests of the classic adapter are JSON, in which a Buffer becomes an object; requests of the sharded adapter
// that contain bytes are MessagePack.
const carried = (t, value) => (t.settings.dialect === "classic" ? JSON.parse(JSON.stringify(value)) : value);

export default [
  fromEach("server-side-emit reaches every other server once", async (t, first) => {
    const clients = await t.crowd();
    const [caller, others] = split(clients, first);
    const args = [1, "é 😀", { a: [null, 1.5] }, Buffer.from([1, 2])];
    await caller.result("server-side-emit", { event: "told é", args });
    for (const client of others) {
      assert.deepEqual(await client.next("server-event"), [client.server.name, "told é", ...args.map((value) => carried(t, value))]);
    }
    assert.deepEqual((await heard(caller, clients, "server-event")).flat(), []);
    assert.deepEqual((await heard(caller, clients, "told é")).flat(), []);
  }),

  fromEach("server-side-emit stays in its namespace", async (t, first) => {
    const [here, there] = [await t.crowd(), await t.crowd()];
    const [caller, others] = split(here, first);
    await caller.result("server-side-emit", { event: "told", args: [] });
    for (const client of others) assert.deepEqual(await client.next("server-event"), [client.server.name, "told"]);
    assert.deepEqual((await heard(there[first], there, "server-event")).flat(), []);
  }),

  fromEach("server-side-emit-with-ack gets the answer of every other server", async (t, first) => {
    const clients = await t.crowd();
    const [caller, others] = split(clients, first);
    for (const args of [[], ["é 😀", { deep: [1] }]]) {
      const answers = await caller.result("server-side-emit-with-ack", { event: "asked", args });
      assert.deepEqual([...answers].sort(), others.map(({ server }) => server.name).sort());
    }
    assert.deepEqual((await heard(caller, clients, "server-event")).flat(), []);
  }),

  fromEach("all-rooms returns the rooms of all servers", async (t, first) => {
    const clients = await t.crowd();
    const names = ["common", "é 😀", "x#", "42"];
    for (const client of clients) await client.join(...names, `of ${client.server.name}`);
    const own = clients.flatMap(({ id, server }) => [id, `of ${server.name}`]);
    assert.deepEqual(await clients[first].result("all-rooms"), [...names, ...own].sort());
  }, { dialects: /classic/ }),

  fromEach("server-count counts the servers that have the namespace", async (t, first) => {
    const clients = await t.crowd();
    assert.equal(await clients[first].result("server-count"), t.servers.length);
    const alone = await t.connect(t.servers[first], { nsp: t.namespace() });
    assert.equal(await alone.result("server-count"), 1, "a namespace that no other server has");
    assert.deepEqual((await alone.result("fetch-sockets")).map(({ id }) => id), [alone.id]);
    assert.deepEqual(await alone.result("server-side-emit-with-ack", { event: "asked", args: [] }), []);
  }),
];
