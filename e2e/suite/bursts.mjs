// `burst`: many events emitted in one synchronous step. A client that reads receives all of them, in order and before the answer.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

/** Pairs of a number of events and their size in characters: large events, few very large ones, many small ones. */
const BURSTS = [
  [100, 20_000],
  [3, 600_000],
  [3_000, 10],
];

/** Bursts of each kind during upgrades, so that they fall into different moments of the upgrade. */
const UPGRADES = 5;

/** The number of events that a connection handler may well send, such as the messages of a chat's history. */
const HISTORY = 1_100;

/** Clients that receive bursts at the same time. */
const READERS = 10;

async function burst(client, count, bytes) {
  assert.equal(await client.ask("burst", count, bytes), count);
  check(client.takeAll("burst"), count, bytes);
}

// The answer comes after all events, so they have arrived by now.
function check(events, count, bytes) {
  assert.deepEqual(
    events.map(([number]) => number),
    Array.from({ length: count }, (_, i) => i),
  );
  const text = "x".repeat(bytes);
  assert.ok(events.every(([, each]) => each === text));
}

export default theme("bursts", {}, [
  ...Object.keys(TRANSPORTS).flatMap((transport) => [
    ...BURSTS.map(([count, bytes]) =>
      scenario(`${transport}: ${count} events of ${bytes} characters`, async (t) => {
        const client = await t.connect({ transport });
        for (let times = 0; times < 3; times += 1) await burst(client, count, bytes);
      }),
    ),

    scenario(`${transport}: ${HISTORY} events as the first of a new socket`, async (t) => {
      for (const nsp of ["/", "/late"]) {
        const client = t.client({ nsp, transport });
        await burst(client, HISTORY, 100);
      }
    }),

    scenario(`${transport}: bursts of several handlers of one connection at the same time`, async (t) => {
      const client = await t.connect({ transport });
      const counts = BURSTS.map(([count]) => count);
      assert.deepEqual(await Promise.all(BURSTS.map(([count, bytes]) => client.ask("burst", count, bytes))), counts);
      const events = client.takeAll("burst");
      for (const [count, bytes] of BURSTS) check(events.splice(0, count), count, bytes);
      assert.deepEqual(events, []);
    }),
  ]),

  ...BURSTS.map(([count, bytes]) =>
    scenario(`during an upgrade: ${count} events of ${bytes} characters`, async (t) => {
      for (let round = 0; round < UPGRADES; round += 1) {
        const client = t.client({ transport: "upgrade" });
        // The first burst leaves with the polls before the upgrade, the second when the client begins the upgrade.
        const asked = [client.ask("burst", count, bytes)];
        client.manager.engine.once("upgrading", () => asked.push(client.ask("burst", count, bytes)));
        await client.connected();
        assert.deepEqual(await Promise.all(asked), [count, count]);
        const events = client.takeAll("burst");
        for (let times = 0; times < asked.length; times += 1) check(events.splice(0, count), count, bytes);
        assert.deepEqual(events, []);
        assert.equal((await client.ask("whoami")).transport, "websocket");
        client.close();
      }
    }),
  ),

  ...BURSTS.map(([count, bytes]) =>
    scenario(`between two polls: ${count} events of ${bytes} characters`, async (t) => {
      const session = await t.rawPolling();
      await session.connect();
      await session.next(); // "auth"
      // There is no pending GET while the events are emitted.
      await session.post(`421["burst",${count},${bytes}]`);
      const text = "x".repeat(bytes);
      for (let number = 0; number < count; number += 1) {
        assert.ok((await session.next()) === `42["burst",${number},"${text}"]`, `event ${number}`);
      }
      assert.equal(await session.next(), `431[${count}]`);
    }),
  ),

  scenario("several clients at the same time, over all transports", async (t) => {
    const names = Object.keys(TRANSPORTS);
    const clients = await Promise.all(
      Array.from({ length: READERS }, (_, i) => t.connect({ transport: names[i % names.length] })),
    );
    for (const [count, bytes] of BURSTS) await Promise.all(clients.map((client) => burst(client, count, bytes)));
  }),

  scenario("events for other clients arrive meanwhile", async (t) => {
    const room = t.room();
    const [speaker, reader] = await t.connectMany(2);
    await reader.join(room);
    const bursting = burst(reader, 3_000, 100);
    for (let seq = 0; seq < 500; seq += 1) speaker.send("pub", room, seq, "beside it");
    await bursting;
    for (let seq = 0; seq < 500; seq += 1) assert.deepEqual(await reader.next("msg"), [seq, "beside it"]);
  }),
]);
