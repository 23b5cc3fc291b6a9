// Recovery in a cluster: a client of a roomcast server that keeps sessions comes back, to that server or to another one, after others have
// emitted, and after Redis was away. Node's servers of the cluster keep no sessions.

import assert from "node:assert/strict";
import { startFaultProxy } from "../lib/fault-proxy.mjs";
import { eventually } from "../lib/wait.mjs";
import { fromEach, scenario } from "./context.mjs";
import { startRedis } from "./redis.mjs";

/** Settings of servers that keep sessions. They notice a silent loss after 4 s. */
export const RECOVERING = { RECOVERY_MS: "60000", PING_INTERVAL_MS: "1500", PING_TIMEOUT_MS: "2500" };

/** How a client loses its connection, and how its server notices. */
const CUTS = {
  "is cut": async ({ client, witness }) => {
    client.cut();
    assert.equal(await client.disconnected(), "forced close");
    await isAway(witness);
  },
  "is lost silently, and is back before that is noticed": async ({ client, proxy }) => {
    assert.ok(proxy.halfOpen() > 0);
    client.cut();
    assert.equal(await client.disconnected(), "forced close");
  },
  "is lost silently, which is noticed": async ({ client, witness, proxy }) => {
    assert.ok(proxy.halfOpen() > 0);
    client.cut();
    assert.equal(await client.disconnected(), "forced close");
    await isAway(witness);
  },
};

// Resolves when the witness is the only one in its namespace on its server.
async function isAway(witness) {
  const here = () => witness.result("fetch-sockets", { target: { local: true } });
  await eventually(async () => (await here()).length === 1, "the server to notice the loss");
}

// A client of a server that keeps sessions, connected through a proxy, with a room for itself and one for all. It has received an event.
async function enter(t, server, clients, transport = "websocket") {
  const proxy = await t.proxyTo(server);
  const [alone, all] = [t.room(), t.room()];
  const { nsp } = clients[0].socket;
  const client = await t.connect(server, { nsp, transport, through: proxy });
  await client.join(alone, all);
  await client.ask("set-data", { kept: true });
  for (const other of clients) await other.join(all);
  const witness = clients.find((other) => other.server === server);
  await witness.emitTo({ rooms: [all] }, "news", 0);
  const [number, offset, ...more] = await client.next("news");
  assert.deepEqual([number, typeof offset, more], [0, "string", []]);
  for (const other of clients) assert.equal((await other.next("news"))[0], 0);
  return { client, id: client.id, witness, proxy, alone, all };
}

// Clients of servers that keep sessions get an offset as the last argument.
const numbersOf = (events) => events.map(([number]) => number);

async function missesNothing(t, caller, clients, cut, transport) {
  const [server] = t.servers;
  const state = await enter(t, server, clients, transport);
  const { client, id, witness, alone, all } = state;
  await CUTS[cut](state);
  const late = t.room();
  await caller.emitTo({ rooms: [all] }, "news", 1);
  await caller.emitTo({}, "news", 2);
  await caller.emitTo({ rooms: [alone] }, "news", 3);
  await caller.emitTo({ rooms: [id] }, "news", 4);
  await caller.emitTo({ except: [alone] }, "news", "not for it");
  await caller.emitTo({ rooms: [alone, all, id] }, "news", 5);
  // The others leave the room, and the session is the only one in it on any server.
  await caller.result("sockets-join", { target: { rooms: [all], except: [alone] }, rooms: [late] });
  await caller.result("sockets-leave", { target: { rooms: [late] }, rooms: [all] });
  await caller.fence(witness);
  const others = (await witness.ask("whoami")).rooms;
  assert.deepEqual([others.includes(all), others.includes(late)], [false, true]);
  await caller.emitTo({ rooms: [all] }, "news", 6);
  await caller.emitTo({ rooms: [alone] }, "news", 7);
  await caller.fence(witness);
  assert.deepEqual(numbersOf(witness.takeAll("news")), [1, 2, "not for it", 5]);
  await client.reconnect();
  assert.deepEqual([client.id, client.socket.recovered], [id, true]);
  const { recovered, rooms } = await client.ask("whoami");
  assert.deepEqual([recovered, [...rooms].sort()], [true, [id, alone, all].sort()]);
  const found = await caller.result("fetch-sockets", { target: { rooms: [alone] } });
  assert.deepEqual(found.map((socket) => [socket.id, socket.data]), [[id, { kept: true }]]);
  await caller.emitTo({ rooms: [alone] }, "news", 8);
  await caller.emitTo({ rooms: [all] }, "news", 9);
  await caller.fence(client);
  assert.deepEqual(numbersOf(client.takeAll("news")), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

// A cluster of two servers that keep sessions, on a Redis of its own, which the first one reaches through a proxy.
async function withOwnRedis(t, run) {
  const redis = await startRedis();
  const proxy = await startFaultProxy(redis.url);
  const server = (name, url) => t.settings.server("roomcast", name, url, t.settings.dialect, "default", RECOVERING);
  const servers = [server("own1", proxy.url), server("own2", redis.url)];
  try {
    for (const each of servers) await each.start();
    const nsp = t.namespace();
    const clients = [];
    for (const each of servers) clients.push(await t.connect(each, { nsp }));
    await t.met(clients, servers.length);
    const state = await enter(t, servers[0], clients);
    await run({ ...state, far: clients[1], clients, redis, proxyOfRedis: proxy });
  } finally {
    for (const each of servers) each.kill();
    proxy.close();
    redis.stop();
  }
}

// Resolves when an event of one client's server reaches another client: after an outage, or when a client has a new id whose channel its
// server does not hear yet.
async function hears(from, to) {
  let tries = 0;
  await eventually(async () => {
    await from.emitTo({ rooms: [to.id] }, "probe", (tries += 1));
    return to.takeAll("probe").length > 0;
  }, "messages to arrive again", 20_000);
  await from.fence(to);
}

export default [
  ...Object.keys(CUTS).map((cut) =>
    fromEach(`a client that ${cut} misses nothing`, async (t, first) => {
      const clients = await t.crowd();
      await missesNothing(t, clients[first], clients, cut);
    }),
  ),

  fromEach("a client that polls and is cut misses nothing", async (t, first) => {
    const clients = await t.crowd();
    await missesNothing(t, clients[first], clients, "is cut", "polling");
  }),

  scenario("what several servers emit comes in the order of each, repeatedly", async (t) => {
    const clients = await t.crowd();
    const state = await enter(t, t.servers[0], clients);
    const { client, id, witness, all } = state;
    let number = 0;
    for (let round = 0; round < 5; round += 1) {
      const [before, after] = [[], []].map(() => Array.from({ length: 20 }, () => (number += 1)));
      for (const each of before) for (const caller of clients) caller.send("pub", all, caller.server.name, each);
      await CUTS["is cut"](state);
      for (const each of after) for (const caller of clients) caller.send("pub", all, caller.server.name, each);
      if (round % 2 === 0) for (const caller of clients) await caller.fence(witness);
      await client.reconnect();
      assert.deepEqual([client.id, client.socket.recovered], [id, true]);
      for (const caller of clients) await caller.fence(client);
      const got = client.takeAll("msg");
      for (const { server } of clients) {
        const theirs = got.filter(([name]) => name === server.name).map(([, each]) => each);
        assert.deepEqual(theirs, [...before, ...after], server.name);
      }
    }
  }),

  fromEach("a client that comes back to another server gets a new session, and nothing twice", async (t, first) => {
    const clients = await t.crowd();
    const [home, other] = [t.servers[0], t.servers[first]];
    const state = await enter(t, home, clients);
    const { client, id, witness, proxy, all } = state;
    const [far] = clients.filter(({ server }) => server === other);
    await CUTS["is cut"](state);
    await far.emitTo({ rooms: [all] }, "news", "missed");
    await far.emitTo({ rooms: [id] }, "news", "missed");
    proxy.redirect(other.url);
    await client.reconnect();
    assert.notEqual(client.id, id);
    assert.ok(!client.socket.recovered);
    const { server, recovered, rooms } = await client.ask("whoami");
    assert.deepEqual([server, recovered, rooms], [other.name, false, [client.id]]);
    await client.join(all);
    for (const caller of [witness, far]) {
      await hears(caller, client);
      await caller.emitTo({ rooms: [all] }, "news", 1);
      await caller.emitTo({}, "news", 2);
      await caller.emitTo({ rooms: [id] }, "news", "for the former session");
      await caller.fence(client);
      assert.deepEqual(numbersOf(client.takeAll("news")), [1, 2]);
    }
    const ids = [...clients, client].map((each) => each.id).sort();
    for (const caller of [witness, far]) {
      assert.deepEqual((await caller.result("fetch-sockets")).map((socket) => socket.id), ids);
    }

    // On a server that keeps sessions it recovers there, although it still has the offset of the former server.
    const there = client.id;
    client.cut();
    await client.disconnected();
    await eventually(async () => (await far.result("fetch-sockets", { target: { local: true } })).length === 1, "the loss");
    await witness.emitTo({ rooms: [all] }, "news", 3);
    await witness.fence(far);
    await client.reconnect();
    const keeps = other.kind === "roomcast";
    // After an answer without a private id `recovered` is undefined.
    assert.deepEqual([client.id === there, client.socket.recovered ?? false], [keeps, keeps]);
    await hears(witness, client);
    assert.deepEqual(numbersOf(client.takeAll("news")), keeps ? [3] : []);

    // And the former server has nothing for it any more.
    client.cut();
    await client.disconnected();
    proxy.redirect(home.url);
    await client.reconnect();
    assert.ok(!client.socket.recovered);
    assert.ok(![id, there].includes(client.id));
    await hears(far, client);
    await far.emitTo({}, "news", 4);
    await far.fence(client);
    assert.deepEqual(numbersOf(client.takeAll("news")), [4]);
  }, { besides: true }),

  fromEach("an offset is for the clients of its own server", async (t, first) => {
    const clients = await t.crowd();
    const caller = clients[first];
    const bytes = Buffer.from([0, 255]);
    const check = async (event, args, target = {}) => {
      await caller.emitTo(target, event, ...args);
      const offsets = [];
      for (const client of clients) {
        const got = await client.next(event);
        if (client.server.kind === "twin") {
          assert.deepEqual(got, args, client.server.name);
        } else {
          assert.deepEqual(got.slice(0, -1), args, client.server.name);
          assert.match(got.at(-1), /^[\w-]{4}\.[\w-]{1,10}$/);
          offsets.push(got.at(-1));
        }
      }
      assert.equal(new Set(offsets).size, offsets.length, "each server has offsets of its own");
    };
    for (const args of [[], [1], ["text"], [bytes], [{ deep: bytes }, "text"], [null]]) await check("event", args);
    await check("private", ["text"], { rooms: clients.map(({ id }) => id) });

    // A volatile event has no offset, and with recovery it does not end in a string.
    await caller.emitTo({ volatile: true }, "volatile", "text");
    await caller.fence(...clients);
    for (const client of clients) {
      const expected = client.server.kind === "twin" ? ["text"] : ["text", null];
      for (const got of client.takeAll("volatile")) assert.deepEqual(got, expected, client.server.name);
    }

    // An event that wants an answer has none either: the clients answer with what they have got.
    for (const client of clients) client.answers("asked", (...args) => args);
    const answers = await caller.result("emit-with-ack", { target: { timeout: 5_000 }, event: "asked", args: ["text"] });
    assert.deepEqual(answers, clients.map(() => ["text"]));
    await caller.result("server-side-emit", { event: "told", args: ["text"] });
    for (const client of clients.filter((client) => client !== caller)) {
      const [server, event, text, ...offset] = await client.next("server-event");
      assert.deepEqual([server, event, text], [client.server.name, "told", "text"]);
      assert.equal(offset.length, client.server.kind === "twin" ? 0 : 1);
    }
  }),

  // A kept session is as good as a client that stays: it gets what has reached its server.
  scenario("Redis is restarted meanwhile: a client that comes back has what one has that was there", async (t) => {
    await withOwnRedis(t, async (state) => {
      const { client, id, witness, far, clients, redis, all } = state;
      await CUTS["is cut"](state);
      await far.emitTo({ rooms: [all] }, "news", 1);
      await far.fence(witness);
      redis.stop();
      await far.emitTo({ rooms: [all] }, "news", 2);
      await witness.emitTo({ rooms: [all] }, "news", 3);
      const again = await startRedis([], redis.port);
      try {
        await hears(far, witness);
        await far.emitTo({ rooms: [all] }, "news", 4);
        await far.fence(witness);
        await client.reconnect();
        assert.deepEqual([client.id, client.socket.recovered], [id, true]);
        await t.met(clients, 2);
        await far.emitTo({ rooms: [all] }, "news", 5);
        await far.fence(witness, client);
        const [stayed, cameBack] = [witness, client].map((each) => numbersOf(each.takeAll("news")));
        assert.deepEqual(cameBack, stayed);
        assert.deepEqual(stayed.filter((number) => number !== 2), [1, 3, 4, 5]);
      } finally {
        again.stop();
      }
    });
  }, { ms: 60_000 }),

  scenario("what a server has not heard is missing for a client that comes back as for one that was there", async (t) => {
    await withOwnRedis(t, async (state) => {
      const { client, id, witness, far, all, proxyOfRedis } = state;
      await CUTS["is cut"](state);
      assert.ok(proxyOfRedis.halfOpenSubscribers() > 0);
      await far.emitTo({ rooms: [all] }, "news", "lost");
      await witness.emitTo({ rooms: [all] }, "news", 1);
      await hears(far, witness);
      await far.emitTo({ rooms: [all] }, "news", 2);
      await far.fence(witness);
      await client.reconnect();
      assert.deepEqual([client.id, client.socket.recovered], [id, true]);
      await far.emitTo({ rooms: [all] }, "news", 3);
      await far.fence(witness, client);
      const [stayed, cameBack] = [witness, client].map((each) => numbersOf(each.takeAll("news")));
      assert.deepEqual([stayed, cameBack], [[1, 2, 3], [1, 2, 3]]);
    });
  }, { ms: 60_000 }),
];
