// The server-side operations on a single server: listing sockets, moving and disconnecting them, and requests to the other servers, of
// which there are none.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

const idsOf = (sockets) => sockets.map(({ id }) => id);
const sortedIds = (...clients) => clients.map(({ id }) => id).sort();

// In a cluster, calls that move sockets come back to this server over Redis, so they may take effect after their answer.
async function roomsBecome(client, ...rooms) {
  const expected = [client.id, ...rooms].sort().join();
  await eventually(
    async () => (await client.ask("whoami")).rooms.sort().join() === expected,
    `${client.id} to be in ${expected}`,
  );
}

export default theme("calls", { env: { SERVER_NAME: "server é 😀" } }, [
  scenario("whoami returns the name of the server", async (t) => {
    const client = await t.connect();
    const { rooms, ...rest } = await client.ask("whoami");
    assert.deepEqual(rooms, [client.id]);
    assert.deepEqual(rest, { server: "server é 😀", id: client.id, recovered: false, transport: "websocket" });
  }),

  scenario("fetch-sockets returns data that set-data has set", async (t) => {
    const nsp = t.namespace();
    const a = await t.connect({ nsp, auth: { user: "a" } });
    const b = await t.connect({ nsp, transport: "polling" });
    await a.join("x", "w");
    const data = { name: "é 😀", list: [1, { deep: null }] };
    await a.ask("set-data", data);
    const expected = [
      { id: a.id, rooms: [a.id, "x", "w"].sort(), data, handshake: { auth: { user: "a" } } },
      { id: b.id, rooms: [b.id], data: {}, handshake: { auth: {} } },
    ].sort((one, other) => (one.id < other.id ? -1 : 1));
    assert.deepEqual(await a.result("fetch-sockets"), expected);
    assert.deepEqual(await b.result("fetch-sockets"), expected);
  }),

  scenario("fetch-sockets takes a target", async (t) => {
    const nsp = t.namespace();
    const [a, b, c] = await t.connectMany(3, { nsp });
    await a.join("x", "y");
    await b.join("y");
    const fetch = async (target) => idsOf(await a.result("fetch-sockets", { target }));
    assert.deepEqual(await fetch({}), sortedIds(a, b, c));
    assert.deepEqual(await fetch({ rooms: ["x", "y"] }), sortedIds(a, b));
    assert.deepEqual(await fetch({ rooms: ["y"], except: ["x"] }), [b.id]);
    assert.deepEqual(await fetch({ rooms: [c.id] }), [c.id]);
    assert.deepEqual(await fetch({ rooms: ["nobody"] }), []);
    assert.deepEqual(await fetch({ broadcast: true }), sortedIds(b, c));
    assert.deepEqual(await fetch({ local: true }), sortedIds(a, b, c));
  }),

  scenario("data of every kind", async (t) => {
    const nsp = t.namespace();
    const client = await t.connect({ nsp });
    for (const data of ["text", 7, null, [1], { a: 1 }]) {
      await client.ask("set-data", data);
      assert.deepEqual((await client.result("fetch-sockets"))[0].data, data);
    }
  }),

  scenario("sockets-join and sockets-leave", async (t) => {
    const nsp = t.namespace();
    const [a, b, c] = await t.connectMany(3, { nsp });
    await a.join("x");
    await b.join("x");
    await a.result("sockets-join", { target: { rooms: ["x"] }, rooms: ["y", "z"] });
    await roomsBecome(a, "x", "y", "z");
    await roomsBecome(b, "x", "y", "z");
    await roomsBecome(c);
    await a.result("sockets-join", { target: { except: ["x"] }, rooms: ["only c"] });
    await roomsBecome(c, "only c");
    await a.result("sockets-leave", { target: { rooms: ["y"], except: [b.id] }, rooms: ["x", "z", "never joined"] });
    await roomsBecome(a, "y");
    await roomsBecome(b, "x", "y", "z");
    await a.result("sockets-leave", { target: { broadcast: true }, rooms: ["y"] });
    await roomsBecome(b, "x", "z");
    await roomsBecome(a, "y");
    await a.emitTo({ rooms: ["z"] }, "for z");
    await b.next("for z");
    await a.fence(a, c);
    assert.deepEqual([...a.takeAll("for z"), ...c.takeAll("for z")], []);
  }),

  scenario("sockets-join takes effect before the emit that follows it", async (t) => {
    const nsp = t.namespace();
    const clients = await t.connectMany(3, { nsp });
    await clients[0].result("sockets-join", { rooms: ["all"] });
    await clients[0].emitTo({ rooms: ["all"] }, "hello");
    for (const client of clients) assert.deepEqual(await client.next("hello"), []);
  }, { adapters: ["memory"] }),

  scenario("disconnect-sockets takes a target", async (t) => {
    const nsp = t.namespace();
    const [stays, a, b] = await t.connectMany(3, { nsp });
    await a.join("out");
    await b.join("out");
    await stays.result("disconnect-sockets", { target: { rooms: ["out"], except: [b.id] } });
    assert.equal(await a.disconnected(), "io server disconnect");
    await eventually(async () => (await stays.result("fetch-sockets")).length === 2, "one socket less");
    assert.deepEqual(idsOf(await stays.result("fetch-sockets")), sortedIds(stays, b));
    await stays.result("disconnect-sockets", { target: { broadcast: true }, close: true });
    assert.equal(await b.disconnected(), "io server disconnect");
    assert.equal(await stays.ask("echo", "still here"), "still here");
  }),

  scenario("server-side-emit without other servers reaches nobody", async (t) => {
    const client = await t.connect();
    assert.equal(await client.result("server-side-emit", { event: "hello", args: [1, "é 😀"] }), true);
    assert.deepEqual(await client.result("server-side-emit-with-ack", { event: "hello", args: [] }), []);
    await client.fence(client);
    assert.deepEqual(client.takeAll("server-event"), []);
    assert.deepEqual(client.takeAll("hello"), []);
  }),

  scenario("server-count is 1", async (t) => {
    const client = await t.connect();
    assert.equal(await client.result("server-count"), 1);
    const elsewhere = await t.connect({ nsp: t.namespace() });
    assert.equal(await elsewhere.result("server-count"), 1);
  }),

  scenario("all-rooms are sorted, and a room ends with its last socket", async (t) => {
    const nsp = t.namespace();
    const [a, b] = await t.connectMany(2, { nsp });
    await a.join("z", "é", "A", "a", "10", "9");
    await b.join("z", "B");
    const own = ["z", "é", "A", "a", "10", "9", a.id];
    assert.deepEqual(await a.result("all-rooms"), [...own, "B", b.id].sort());
    b.close();
    const left = await eventually(async () => {
      const rooms = await a.result("all-rooms");
      return rooms.length === own.length && rooms;
    }, "the end of the other socket");
    assert.deepEqual(left, [...own].sort());
    await a.ask("leave", "z");
    assert.deepEqual(await a.result("all-rooms"), own.filter((room) => room !== "z").sort());
  }, { adapters: ["memory", "classic"] }),

  scenario("an unknown call and a reserved event name are errors", async (t) => {
    const client = await t.connect();
    assert.deepEqual(Object.keys(await client.call("no such call")), ["error"]);
    for (const event of ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]) {
      assert.deepEqual(await client.call("emit", { event }), { error: `"${event}" is a reserved event name` });
    }
    assert.equal(await client.ask("echo", "still here"), "still here");
  }),
]);
