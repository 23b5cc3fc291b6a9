// Operations of one server on the sockets of all servers: rooms, disconnects, queries, acknowledgements.

import assert from "node:assert/strict";
import { RawSocket } from "../lib/raw.mjs";
import { eventually } from "../lib/wait.mjs";
import { fromEach, heard, scenario, split } from "./context.mjs";

const byId = (one, other) => (one.id < other.id ? -1 : 1);

// Each server applies a change when it receives it, so the rooms are queried until they are as expected.
async function roomsBecome(client, ...rooms) {
  const expected = [client.id, ...rooms].sort().join();
  const joined = async () => (await client.ask("whoami")).rooms.sort().join() === expected;
  await eventually(joined, `${client.server.name}'s client to be in ${expected}`);
}

export default [
  fromEach("sockets-join and sockets-leave affect the sockets of their target", async (t, first) => {
    const clients = await t.crowd();
    const [caller, [one, two]] = split(clients, first);
    await one.join("x");
    await caller.result("sockets-join", { target: { rooms: ["x"] }, rooms: ["é 😀", "z#"] });
    await roomsBecome(one, "x", "é 😀", "z#");
    await caller.result("sockets-join", { target: { except: ["x"] }, rooms: ["rest"] });
    await roomsBecome(two, "rest");
    await roomsBecome(caller, "rest");
    await caller.result("sockets-join", { target: { broadcast: true }, rooms: ["others"] });
    await roomsBecome(one, "x", "é 😀", "z#", "others");
    await roomsBecome(two, "rest", "others");
    await caller.result("sockets-leave", { target: { rooms: ["others"], except: [two.id] }, rooms: ["x", "z#", "others"] });
    await roomsBecome(one, "é 😀");
    await roomsBecome(two, "rest", "others");
    await caller.emitTo({ rooms: ["é 😀"] }, "event");
    assert.deepEqual(await heard(caller, [caller, one, two], "event"), [[], [[]], []]);
    await caller.result("sockets-join", { target: { local: true }, rooms: ["local"] });
    await roomsBecome(caller, "rest", "local");
    await caller.fence(one, two);
    await roomsBecome(one, "é 😀");
  }),

  fromEach("sockets that join on other servers receive the next emit", async (t, first) => {
    const clients = await t.crowd();
    const [caller, others] = split(clients, first);
    await caller.result("sockets-join", { rooms: ["new"] });
    await caller.emitTo({ rooms: ["new"] }, "event", 1);
    for (const client of others) assert.deepEqual(await client.next("event"), [1]);
    // In the other modes rooms have channels of their own, and a server subscribes to one only after a socket has joined.
  }, { dialects: /classic|static/ }),

  fromEach("disconnect-sockets disconnects from the namespace, or closes the whole connection", async (t, first) => {
    const clients = await t.crowd();
    const [caller, [one, two]] = split(clients, first);
    const beside = await t.connect(two.server, { nsp: t.namespace(), over: two });
    await caller.result("disconnect-sockets", { target: { rooms: [one.id, two.id], except: [two.id] } });
    assert.equal(await one.disconnected(), "io server disconnect");
    await caller.fence(two);
    assert.equal(await two.ask("echo", "still here"), "still here");
    await caller.result("disconnect-sockets", { target: { broadcast: true }, close: true });
    assert.equal(await two.disconnected(), "io server disconnect");
    assert.match(await beside.disconnected(), /^(io server disconnect|transport close)$/);
    assert.equal(await caller.ask("echo", "still here"), "still here");
    await eventually(async () => (await caller.result("fetch-sockets")).length === 1, "the caller to be alone");
  }),

  fromEach("fetch-sockets returns ids, rooms, data and auth", async (t, first) => {
    const nsp = t.namespace();
    const clients = await t.crowd({ nsp, auth: { token: "é 😀", n: [1] } });
    const data = { name: "é 😀", list: [1.5, { deep: null }] };
    for (const client of clients) {
      await client.join("x#", client.server.name);
      await client.ask("set-data", data);
    }
    const described = ({ id, server }) => {
      return { id, rooms: [id, "x#", server.name].sort(), data, handshake: { auth: { token: "é 😀", n: [1] } } };
    };
    const [caller, [one, two]] = split(clients, first);
    const fetch = (target) => caller.result("fetch-sockets", { target });
    assert.deepEqual(await fetch({}), clients.map(described).sort(byId));
    assert.deepEqual(await fetch({ rooms: ["x#"], except: [two.server.name] }), [caller, one].map(described).sort(byId));
    assert.deepEqual(await fetch({ rooms: [one.id, two.server.name] }), [one, two].map(described).sort(byId));
    assert.deepEqual(await fetch({ broadcast: true }), [one, two].map(described).sort(byId));
    assert.deepEqual(await fetch({ rooms: ["nobody is in it"] }), []);
    assert.deepEqual(await fetch({ local: true }), [described(caller)]);
    if (caller.server.kind === "roomcast") {
      assert.equal(await caller.result("count"), 3);
      assert.equal(await caller.result("count", { target: { rooms: ["x#"], except: [one.id] } }), 2);
    }
  }),

  fromEach("emit-with-ack gets the answer of every client, binary ones too", async (t, first) => {
    const clients = await t.crowd();
    const [caller, [one, two]] = split(clients, first);
    const answer = (client) => ({ from: client.server.name, é: "😀", bytes: Buffer.from(client.id) });
    const asked = new Map(clients.map((client) => [client, []]));
    for (const client of clients) {
      client.answers("question", (...args) => {
        asked.get(client).push(args);
        return answer(client);
      });
    }
    const question = async (target) => {
      const answers = await caller.result("emit-with-ack", { target: { timeout: 5_000, ...target }, event: "question", args: VALUES });
      return [...answers].sort((a, b) => (a.from < b.from ? -1 : 1));
    };
    const sorted = (...from) => from.map(answer).sort((a, b) => (a.from < b.from ? -1 : 1));
    assert.deepEqual(await question({}), sorted(...clients));
    assert.deepEqual(await question({ broadcast: true }), sorted(one, two));
    assert.deepEqual(await question({ rooms: [one.id, caller.id], except: [caller.id] }), sorted(one));
    assert.deepEqual(await question({ rooms: ["nobody is in it"] }), []);
    assert.deepEqual(asked.get(one), [VALUES, VALUES, VALUES]);
    assert.deepEqual(asked.get(caller), [VALUES]);
  }),

  fromEach("emit-with-ack that a client does not answer is an error with the other answers", async (t, first) => {
    const clients = await t.crowd();
    const [caller, [one, two]] = split(clients, first);
    for (const client of [caller, one]) client.answers("question", () => client.server.name);
    const { error, answers } = await caller.call("emit-with-ack", { target: { timeout: 600 }, event: "question", args: [] });
    assert.equal(error, "operation has timed out");
    assert.deepEqual([...answers].sort(), [caller, one].map(({ server }) => server.name).sort());
    assert.equal((await two.next("question")).length, 0);
  }),

  // Only for a roomcast server, because Node refuses the CONNECT as a second one. The server's only socket of the namespace ends, and a new
  // one connects in the same step.
  scenario("a client that leaves a dynamic namespace and joins it again in one write receives events of other servers", async (t) => {
    const [server] = t.of("roomcast");
    const nsp = t.namespace();
    const others = t.servers.filter((other) => other !== server);
    const clients = await Promise.all(others.map((other) => t.connect(other, { nsp })));
    const socket = await RawSocket.open(server.url);
    try {
      await socket.connect(`40${nsp},`);
      await t.met(clients);
      for (const client of clients) {
        await client.emitTo({}, "before");
        assert.equal(await socket.next(), `42${nsp},["before"]`);
      }
      socket.sendAtOnce(`41${nsp},`, `40${nsp},`);
      assert.match(await socket.next(), /^40\/dyn-\d+,\{"sid":/);
      for (const [number, client] of clients.entries()) {
        const hears = async () => {
          await client.emitTo({}, "after", number);
          return socket.takeAll().includes(`42${nsp},["after",${number}]`);
        };
        await eventually(hears, `an event of ${client.server.name}'s client`);
      }
    } finally {
      socket.close();
    }
  }, { parsers: /default/ }),
];

const VALUES = ["é 😀", { bytes: [Buffer.from([1, 2])] }, null, 7];
