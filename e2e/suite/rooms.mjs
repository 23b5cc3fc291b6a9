// Which clients receive an event: rooms, exceptions, broadcasts from a socket, and the flags of an emit.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";

// Emits to each target in turn, and returns for each client which of the emits it has received.
async function heard(clients, targets, caller = clients[0]) {
  for (const [i, target] of targets.entries()) await caller.emitTo(target, "heard", i);
  await caller.fence(...clients);
  return clients.map((client) => client.takeAll("heard").map(([i]) => i));
}

export default theme("rooms", {}, [
  scenario("join, leave, and the rooms of a socket", async (t) => {
    const [a, b] = [t.room(), t.room()];
    const client = await t.connect();
    await client.join(a, b);
    assert.deepEqual((await client.ask("whoami")).rooms.sort(), [a, b, client.id].sort());
    await client.join(a);
    await client.ask("leave", a);
    await client.ask("leave", "never joined");
    assert.deepEqual((await client.ask("whoami")).rooms.sort(), [b, client.id].sort());
    assert.deepEqual(await heard([client], [{ rooms: [a] }, { rooms: [b] }, { rooms: [client.id] }]), [[1, 2]]);
  }),

  scenario("a socket in several of the rooms receives an event once", async (t) => {
    const [a, b, c] = [t.room(), t.room(), t.room()];
    const [inA, inB, inBoth, inC] = await t.connectMany(4);
    await inA.join(a);
    await inB.join(b);
    await inBoth.join(a, b);
    await inC.join(c);
    const targets = [{ rooms: [a] }, { rooms: [b] }, { rooms: [a, b] }, { rooms: [a, b, a, c] }];
    assert.deepEqual(await heard([inA, inB, inBoth, inC], targets), [
      [0, 2, 3],
      [1, 2, 3],
      [0, 1, 2, 3],
      [3],
    ]);
  }),

  scenario("except wins over rooms, and takes rooms or socket ids", async (t) => {
    const [a, b] = [t.room(), t.room()];
    const [inA, inB, inBoth] = await t.connectMany(3);
    await inA.join(a);
    await inB.join(b);
    await inBoth.join(a, b);
    const targets = [
      { rooms: [a], except: [b] },
      { rooms: [a, b], except: [a] },
      { rooms: [a, b], except: [inA.id] },
      { rooms: [a], except: [a] },
      { rooms: [a, b], except: ["nobody is here"] },
    ];
    assert.deepEqual(await heard([inA, inB, inBoth], targets), [[0, 4], [1, 2, 4], [2, 4]]);
  }),

  scenario("an emit without rooms reaches all sockets of the namespace, and no others", async (t) => {
    const nsp = t.namespace();
    const inside = await t.connectMany(3, { nsp });
    const outside = await t.connect({ nsp: t.namespace() });
    await inside[0].join("a");
    const targets = [{}, { except: ["a"] }, { broadcast: true }, { except: [inside[1].id, inside[2].id] }];
    assert.deepEqual(await heard(inside, targets), [
      [0, 3],
      [0, 1, 2],
      [0, 1, 2],
    ]);
    await outside.fence(outside);
    assert.deepEqual(outside.takeAll("heard"), []);
  }),

  scenario("broadcast: true excludes the caller, in rooms too", async (t) => {
    const room = t.room();
    const [caller, other, elsewhere] = await t.connectMany(3);
    await caller.join(room);
    await other.join(room);
    const targets = [
      { rooms: [room], broadcast: true },
      { rooms: [caller.id], broadcast: true },
      { rooms: [room, elsewhere.id], except: [other.id], broadcast: true },
    ];
    assert.deepEqual(await heard([caller, other, elsewhere], targets), [[], [0], [2]]);
  }),

  scenario("pub reaches the sender if it is in the room", async (t) => {
    const room = t.room();
    const [member, guest] = await t.connectMany(2);
    await member.join(room);
    guest.send("pub", room, 1, "from outside");
    member.send("pub", room, 2, { from: "inside", bytes: Buffer.from([1]) });
    const messages = [await member.next("msg"), await member.next("msg")].sort(([a], [b]) => a - b);
    assert.deepEqual(messages, [
      [1, "from outside"],
      [2, { from: "inside", bytes: Buffer.from([1]) }],
    ]);
    await member.fence(guest);
    assert.deepEqual(guest.takeAll("msg"), []);
  }),

  scenario("all clients receive events in the same order", async (t) => {
    const room = t.room();
    const clients = await t.connectMany(5);
    await Promise.all(clients.map((client) => client.join(room)));
    for (let seq = 0; seq < 100; seq += 1) {
      for (const [i, client] of clients.entries()) client.send("pub", room, seq, i);
    }
    await Promise.all(clients.map((client) => client.ask("echo", "all sent")));
    await clients[0].fence(...clients);
    const orders = clients.map((client) => client.takeAll("msg"));
    for (const order of orders) assert.deepEqual(order, orders[0]);
    for (const i of clients.keys()) {
      const ofOne = orders[0].filter(([, sender]) => sender === i).map(([seq]) => seq);
      assert.deepEqual(ofOne, Array.from({ length: 100 }, (_, seq) => seq));
    }
  }, { adapters: ["memory"] }),

  scenario("room names of every kind", async (t) => {
    const names = ["", " ", "é 😀", "a#b", "*", "42", "__proto__", "x".repeat(20), "y".repeat(200)];
    for (const name of names) {
      const nsp = t.namespace();
      const [inside, outside] = await t.connectMany(2, { nsp });
      await inside.join(name);
      assert.deepEqual(await heard([inside, outside], [{ rooms: [name] }]), [[0], []], JSON.stringify(name));
    }
  }),

  scenario("local and compress change nothing on one server", async (t) => {
    const room = t.room();
    const clients = [await t.connect(), await t.connect({ transport: "polling" })];
    for (const client of clients) await client.join(room);
    for (const flags of [{ local: true }, { compress: true }, { compress: false }, { local: true, compress: true }]) {
      assert.deepEqual(await heard(clients, [{ rooms: [room], ...flags }]), [[0], [0]]);
    }
  }),

  scenario("volatile: an idle client over WebSocket receives the event", async (t) => {
    const [speaker, idle] = await t.connectMany(2);
    assert.deepEqual(await heard([idle], [{ rooms: [idle.id], volatile: true }], speaker), [[0]]);
  }),

  scenario("volatile: a polling client without a pending poll misses the event", async (t) => {
    const room = t.room();
    const speaker = await t.connect();
    const session = await t.rawPolling();
    await session.connect();
    assert.equal(await session.next(), '42["auth",{}]');
    await session.post(`421["join","${room}"]`);
    assert.equal(await session.next(), "431[]");
    await speaker.emitTo({ rooms: [room], volatile: true }, "volatile");
    await speaker.emitTo({ rooms: [room, speaker.id] }, "reliable");
    await speaker.next("reliable");
    // The next poll comes only now, after both events have been queued or dropped.
    assert.equal(await session.next(), '42["reliable"]');
  }),

  scenario("a socket that has left or disconnected receives nothing, and its room ends", async (t) => {
    const nsp = t.namespace();
    const [stays, leaves, goes] = await t.connectMany(3, { nsp });
    for (const client of [stays, leaves, goes]) await client.join("a");
    await leaves.ask("leave", "a");
    goes.close();
    await stays.fence(stays, leaves);
    assert.deepEqual(await heard([stays, leaves], [{ rooms: ["a"] }]), [[0], []]);
    assert.deepEqual(goes.takeAll("heard"), []);
  }),
]);
