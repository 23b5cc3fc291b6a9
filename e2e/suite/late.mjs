// /late: a middleware waits, as a login does, and only the connection handler registers what the socket hears. A client that
// emits at once on connecting is heard all the same, and is told nothing before it is told that it is in.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

/** Clients of each transport, all in all. */
const CLIENTS = 1_000;

/** Of them so many at the same time: descriptors suffice, and the server is busy enough for its threads to meet. */
const BATCH = 50;

/** The middleware waits for less than this, each client's for another time, in ms. */
const WAITS = 40;

/** Raw connections that come while somebody else emits to everyone. */
const NEWCOMERS = 1_000;

/** Emits of that somebody under way. */
const EMITS = 50;

/** Time for a scenario with so many clients, in ms: some seconds on two quiet cores. */
const CROWD_MS = 180_000;

const inLate = (number) => ({ nsp: "/late", auth: { wait: (number * 7) % WAITS } });

// Runs `step` for the numbers below `count`, a batch at a time.
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
    scenario(`${transport}: whoever emits at once on connecting is answered`, async (t) => {
      await inBatches(CLIENTS, async (number) => {
        const client = t.client({ ...inLate(number), transport });
        // The official client keeps these until it is told that it is connected, and then sends them at once.
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

  // On Node a DISCONNECT takes effect before the events in front of it that were read with it.
  scenario("whoever leaves right after its first events was heard", async (t) => {
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

  scenario("a namespace under way does not hold up the others of its connection", async (t) => {
    const root = await t.connect();
    const late = t.client({ nsp: "/late", over: root, auth: { wait: 500 } });
    const answered = late.ask("echo", "late");
    assert.equal(await root.ask("echo", "meanwhile"), "meanwhile");
    assert.equal(late.socket.connected, false);
    assert.equal(await answered, "late");
  }),

  scenario("a client that goes while the middleware waits leaves nobody behind", async (t) => {
    const witness = await t.connect(inLate(0));
    await inBatches(BATCH, async (number) => {
      const socket = await t.rawSocket();
      await socket.next(); // the handshake
      socket.send(`40/late,{"wait":${(number * 7) % WAITS}}`);
      socket.close();
    });
    const alone = async () => (await witness.result("fetch-sockets")).length === 1;
    // Those whose middleware still waits are let in for a moment at most.
    await witness.ask("echo", "they are gone or on their way");
    await eventually(alone, "the witness to be alone");
  }),

  scenario("nothing of the namespace comes before the answer to the CONNECT", async (t) => {
    const speaker = await t.connect(inLate(0));
    let over = false;
    const speaking = (async () => {
      // One emit to everyone each, as fast as they are answered.
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
