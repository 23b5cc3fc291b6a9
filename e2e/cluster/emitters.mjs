// Emitters, which are not servers: Node's official one and roomcast's.

import { spawn } from "node:child_process";
import assert from "node:assert/strict";
import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";
import { eventually, within } from "../lib/wait.mjs";
import { scenario } from "./context.mjs";

/** The official emitter. It takes the same requests as roomcast's: see crates/roomcast-redis/examples/emitter.rs. */
async function official(t) {
  const redis = new Redis(t.redis.url);
  await redis.ping();
  const root = new Emitter(redis);
  return {
    send({ do: what, namespace = "/", rooms = [], except = [], volatile, compress, event, args = [], names, close }) {
      let target = root.of(namespace);
      // Calls on a namespace keep no state. `except` returns an operator, which does.
      target = target.except(except);
      for (const room of rooms) target = target.to(room);
      if (volatile) target = target.volatile;
      if (compress !== undefined) target = target.compress(compress);
      switch (what) {
        case "emit":
          return target.emit(event, ...args);
        case "sockets-join":
          return target.socketsJoin(names);
        case "sockets-leave":
          return target.socketsLeave(names);
        case "disconnect-sockets":
          return target.disconnectSockets(close);
        case "server-side-emit":
          return root.of(namespace).serverSideEmit(event, ...args);
      }
    },
    binary: (bytes) => bytes,
    close: () => redis.disconnect(),
  };
}

/** roomcast's emitter: a program that reads a request per line. Bytes are written `{"$bytes": [..]}`. */
async function ours(t) {
  const child = spawn(t.settings.emitter, [t.redis.url, t.settings.dialect], { stdio: ["pipe", "pipe", "inherit"] });
  const ready = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.stdout.once("data", resolve);
  });
  await within(ready, "the emitter to be ready");
  return {
    send: (request) => child.stdin.write(`${JSON.stringify(request)}\n`),
    binary: (bytes) => ({ $bytes: [...bytes] }),
    close: () => child.kill(),
  };
}

async function reachesAll(t, open) {
  const clients = await t.crowd();
  const namespace = clients[0].socket.nsp;
  const emitter = await open(t);
  try {
    const bytes = Buffer.from([0, 255, 7]);
    const send = (request) => emitter.send({ namespace, ...request });
    const receive = async (event) => Promise.all(clients.map((client) => client.next(event)));

    send({ do: "emit", event: "é 😀", args: ["é 😀", 1.5, { a: [null] }, emitter.binary(bytes), { deep: emitter.binary(bytes) }] });
    assert.deepEqual(await receive("é 😀"), clients.map(() => ["é 😀", 1.5, { a: [null] }, bytes, { deep: bytes }]));

    for (const client of clients) await client.join("x#", client.server.name);
    send({ do: "emit", rooms: ["x#"], event: "room", args: [] });
    assert.deepEqual(await receive("room"), clients.map(() => []));
    const [first, ...others] = clients;
    send({ do: "emit", rooms: ["x#", first.id], except: [first.server.name], compress: false, event: "except", args: [1] });
    send({ do: "emit", event: "fence", args: [] });
    await receive("fence");
    assert.deepEqual(clients.map((client) => client.takeAll("except")), [[], ...others.map(() => [[1]])]);

    send({ do: "sockets-join", rooms: ["x#"], names: ["joined", "é"] });
    send({ do: "sockets-leave", rooms: ["joined"], except: [first.id], names: ["x#"] });
    for (const client of clients) {
      const kept = client === first ? ["x#"] : [];
      const expected = [client.id, client.server.name, "joined", "é", ...kept].sort().join();
      await eventually(async () => (await client.ask("whoami")).rooms.sort().join() === expected, `${expected}`);
    }

    send({ do: "server-side-emit", event: "told", args: ["é", { a: 1 }] });
    const told = (client) => client.next("server-event");
    for (const client of clients) assert.deepEqual(await told(client), [client.server.name, "told", "é", { a: 1 }]);

    assert.equal(await first.result("server-count"), clients.length, "an emitter does not count as a server");
    send({ do: "disconnect-sockets", except: [first.id], close: true });
    for (const client of others) assert.equal(await client.disconnected(), "io server disconnect");
    assert.equal(await first.ask("echo", "still here"), "still here");
  } finally {
    emitter.close();
  }
}

export default [
  scenario("the official emitter reaches clients and servers of every kind", (t) => reachesAll(t, official), { dialects: /classic/ }),
  scenario("roomcast's emitter reaches clients and servers of every kind", (t) => reachesAll(t, ours)),
];
