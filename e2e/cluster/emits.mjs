// Events to clients of all servers: to everybody, to rooms, with exceptions, with values of every kind.

import assert from "node:assert/strict";
import { fromEach, heard, split } from "./context.mjs";

const VALUES = [
  1, -1.5, 2 ** 40, true, null, "é 😀 \u2028 \"quoted\" \u0000", [], [1, [2, {}]], { b: { a: "x" }, list: [null] },
  Buffer.from([0, 1, 254, 255]), { deep: [Buffer.from("é"), { empty: Buffer.alloc(0) }] }, Buffer.alloc(300, 7),
];

export default [
  fromEach("emit reaches everybody once, with values of every kind", async (t, first) => {
    const clients = await t.crowd();
    await clients[first].emitTo({}, "event é 😀", ...VALUES);
    assert.deepEqual(await heard(clients[first], clients, "event é 😀"), clients.map(() => [VALUES]));
  }),

  fromEach("emit without arguments, not compressed, volatile", async (t, first) => {
    const clients = await t.crowd();
    await clients[first].emitTo({}, "bare");
    await clients[first].emitTo({ compress: false }, "bare");
    for (const client of clients) assert.deepEqual([await client.next("bare"), await client.next("bare")], [[], []]);
    // A volatile event may be dropped, but arrives at most once.
    await clients[first].emitTo({ volatile: true }, "volatile", 1);
    for (const events of await heard(clients[first], clients, "volatile")) {
      assert.ok(events.length <= 1);
    }
  }),

  fromEach("emit to a room with a name of any kind", async (t, first) => {
    const clients = await t.crowd();
    const [caller, others] = split(clients, first);
    for (const room of [t.room(), "x#", "a#b", "salle é 😀", "42", "*", "[a-z]", "\\"]) {
      await others[0].join(room);
      await caller.emitTo({ rooms: [room] }, "for the room", room);
      assert.deepEqual(await heard(caller, clients, "for the room"), clients.map((client) => (client === others[0] ? [[room]] : [])));
    }
    await caller.emitTo({ rooms: ["nobody is in it"] }, "for the room");
    assert.deepEqual((await heard(caller, clients, "for the room")).flat(), []);
  }),

  fromEach("emit to a socket by its id", async (t, first) => {
    const clients = await t.crowd();
    for (const client of clients) {
      await clients[first].emitTo({ rooms: [client.id] }, "private", client.id);
      assert.deepEqual(await heard(clients[first], clients, "private"), clients.map((each) => (each === client ? [[client.id]] : [])));
    }
  }),

  fromEach("emit to several rooms with exceptions reaches each client once, and exceptions win", async (t, first) => {
    const clients = await t.crowd();
    const [caller, [one, two]] = split(clients, first);
    for (const client of clients) await client.join("both", "either");
    await two.join("quiet");
    await caller.emitTo({ rooms: ["both", "either"] }, "event", 1);
    await caller.emitTo({ rooms: ["both", "either"], except: ["quiet"] }, "event", 2);
    await caller.emitTo({ except: ["quiet", caller.id] }, "event", 3);
    await caller.emitTo({ rooms: ["both"], except: ["either"] }, "event", 4);
    assert.deepEqual(await heard(caller, [caller, one, two], "event"), [[[1], [2]], [[1], [2], [3]], [[1]]]);
  }),

  fromEach("broadcast excludes the sender, local stays on the server", async (t, first) => {
    const clients = await t.crowd();
    const [caller, others] = split(clients, first);
    const neighbour = await t.connect(caller.server, { nsp: caller.socket.nsp });
    const all = [caller, neighbour, ...others];
    await caller.emitTo({ broadcast: true }, "event", "broadcast");
    await caller.emitTo({ local: true }, "event", "local");
    await caller.emitTo({ local: true, broadcast: true }, "event", "both");
    const [own, near, ...far] = await heard(caller, all, "event");
    assert.deepEqual(own, [["local"]]);
    // Node's sharded adapter sends to its own clients after Redis has answered, but local events immediately.
    const inOrder = t.settings.dialect === "classic" || caller.server.kind === "roomcast";
    const expected = [["broadcast"], ["local"], ["both"]];
    assert.deepEqual(inOrder ? near : near.sort(), inOrder ? expected : expected.sort());
    assert.deepEqual(far, far.map(() => [["broadcast"]]));
  }),

  fromEach("an event stays in its namespace", async (t, first) => {
    const [here, there, root] = [await t.crowd(), await t.crowd(), await t.crowd({ nsp: "/" })];
    for (const client of [...here, ...there]) await client.join("same");
    await here[first].emitTo({ rooms: ["same"] }, "kept apart", "here");
    await there[first].emitTo({}, "kept apart", "there");
    assert.deepEqual(await heard(here[first], here, "kept apart"), here.map(() => [["here"]]));
    assert.deepEqual(await heard(there[first], there, "kept apart"), there.map(() => [["there"]]));
    assert.deepEqual((await heard(root[first], root, "kept apart")).flat(), []);
    await root[first].emitTo({ rooms: root.map(({ id }) => id) }, "kept apart", "root");
    assert.deepEqual(await heard(root[first], root, "kept apart"), root.map(() => [["root"]]));
  }),

  fromEach("a thousand events arrive in order", async (t, first) => {
    const clients = await t.crowd();
    const room = t.room();
    for (const client of clients) await client.join(room);
    const numbers = Array.from({ length: 1_000 }, (_, number) => number);
    for (const number of numbers) clients[first].send("pub", room, number, Buffer.from([number & 255]));
    for (const client of clients) {
      for (const number of numbers) assert.deepEqual(await client.next("msg"), [number, Buffer.from([number & 255])]);
    }
    assert.deepEqual((await heard(clients[first], clients, "msg")).flat(), []);
  }),
];
