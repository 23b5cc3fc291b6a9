// /late: a middleware waits, as a login does, and only the connection handler registers the socket's event handlers. Events that a client
// emits immediately after connecting are handled all the same, and the client receives nothing before the answer to its CONNECT.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

/** Clients of each transport in total. */
const CLIENTS = 1_000;

/** Clients at the same time: few enough for the limit of descriptors, and enough to keep several threads of the server busy. */
const BATCH = 50;

/** The middleware waits for less than this, in ms, with a different time for each client. */
const WAITS = 40;

/** Raw connections that are opened while another client emits to all sockets. */
const NEWCOMERS = 1_000;

/** Unanswered emits of that client at the same time. */
const EMITS = 50;

/** Limit for a scenario with so many clients, in ms. It takes some seconds on two quiet cores. */
const CROWD_MS = 180_000;

const inLate = (number) => ({ nsp: "/late", auth: { wait: (number * 7) % WAITS } });

// Runs `step` for all numbers below `count`, in batches.
async function inBatches(count, step) {
  for (let first = 0; first < count; first += BATCH) {
    const numbers = Array.from({ length: Math.min(BATCH, count - first) }, (_, i) => first + i);
    const outcomes = await Promise.allSettled(numbers.map(step));
    const failed = outcomes.filter(({ status }) => status === "rejected");
    if (failed.length > 0) throw new Error(`${failed.length} of ${numbers.length} clients: ${failed[0].reason.stack}`);
  }
}

export default theme("late", {}, [
  ...Object.keys(TRANSPORTS).map((transport) =>
    scenario(`${transport}: events that a client emits immediately after connecting are answered`, async (t) => {
      await inBatches(CLIENTS, async (number) => {
        const client = t.client({ ...inLate(number), transport });
        // The official client queues these until it is connected, and then sends them all.
        const answers = [client.ask("echo", number), client.ask("echo", `${number}`), client.ask("whoami")];
        client.send("message", "first");
        client.send("message", "second");
        const [one, two, { rooms }] = await Promise.all(answers);
        assert.deepEqual([one, two, rooms], [number, `${number}`, [client.id]]);
        assert.deepEqual([await client.next("message-back"), await client.next("message-back")], [["first"], ["second"]]);
        client.close();
      });
    }, { ms: CROWD_MS }),
  ),

  // On Node a DISCONNECT takes effect before events that precede it and were read together with it.
  scenario("the first events of a client that leaves right after them are handled", async (t) => {
    const room = t.room();
    const witness = await t.connect(inLate(0));
    await witness.join(room);
    await inBatches(CLIENTS / 10, async (number) => {
      const client = t.client(inLate(number));
      client.send("pub", room, number, "farewell");
      client.socket.once("connect", () => queueMicrotask(() => client.close()));
      assert.equal(await client.disconnected(), "io client disconnect");
    });
    const heard = new Set();
    while (heard.size < CLIENTS / 10) heard.add((await witness.next("msg"))[0]);
  }, { differs: true }),

  scenario("a namespace that is still connecting does not delay the others of its connection", async (t) => {
    const root = await t.connect();
    const late = t.client({ nsp: "/late", over: root, auth: { wait: 500 } });
    const answered = late.ask("echo", "late");
    assert.equal(await root.ask("echo", "meanwhile"), "meanwhile");
    assert.equal(late.socket.connected, false);
    assert.equal(await answered, "late");
  }),

  scenario("a client that disconnects while the middleware waits leaves no socket behind", async (t) => {
    const witness = await t.connect(inLate(0));
    await inBatches(BATCH, async (number) => {
      const socket = await t.rawSocket();
      await socket.next(); // the handshake
      socket.send(`40/late,{"wait":${(number * 7) % WAITS}}`);
      socket.close();
    });
    const alone = async () => (await witness.result("fetch-sockets")).length === 1;
    // Clients whose middleware still waits are connected for a moment at most.
    await witness.ask("echo", "they are gone or still waiting");
    await eventually(alone, "the witness to be alone");
  }),

  scenario("no events of the namespace arrive before the answer to the CONNECT", async (t) => {
    const speaker = await t.connect(inLate(0));
    let over = false;
    const speaking = (async () => {
      // Each request emits to all sockets. The next ones follow as soon as these are answered.
      while (!over) await Promise.all(Array.from({ length: EMITS }, () => speaker.ask("busy", 0)));
    })();
    try {
      await inBatches(NEWCOMERS, async (number) => {
        const socket = await t.rawSocket();
        const first = await socket.connect(`40/late,{"wait":${(number * 7) % WAITS}}`);
        assert.match(first, /^40\/late,\{"sid":/);
        socket.close();
      });
    } finally {
      over = true;
      await speaking;
    }
  }, { ms: CROWD_MS }),
]);
