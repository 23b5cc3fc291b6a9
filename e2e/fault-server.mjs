// One Node server for the fault report: node fault-server.mjs REDIS_URL NAME. Its one socket, which is what the adapter
// writes to and no more, notes what it gets. On the standard input it hears `talk` and `hush`; on the standard output it
// says `{"meets":2}` when it counts two servers, and then ten times a second what has happened:
// `{"emitted":[[at, took]..],"received":[[publisher, number, at]..]}`, all times in microseconds, `at` of the wall clock.
// See crates/roomcast-redis/examples/fault_report/main.rs.

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { Server } from "socket.io";
import { openAdapter } from "./lib/redis-adapters.mjs";

/** Between two messages, in ms. */
const TICK_MS = 10;

/** Between two reports, in ms. */
const REPORT_MS = 100;

/** Emits before anything is measured: the first of a process run code that is not compiled yet. */
const WARM_UP = 2_000;

const [redisUrl, name] = process.argv.slice(2);
// ioredis with the settings that it has by itself, and with "error" handlers.
const { adapter } = await openAdapter({ ADAPTER: "classic", REDIS_URL: redisUrl });
const io = new Server({ adapter });
const namespace = io.of("/");

let emitted = [];
let received = [];
let number = 0;
let next = Infinity;

// Within the call that emits, as at a roomcast server: the way to a client's connection is no part of it.
const socket = {
  client: {
    writeToEngine([packet]) {
      received.push([...JSON.parse(packet.slice(packet.indexOf("["))), now()]);
    },
  },
};
await warmUp();
namespace.sockets.set("recorder", socket);
namespace.adapter.addAll("recorder", new Set(["recorder"]));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    next = line === "talk" ? performance.now() : Infinity;
    emitDue();
  })
  .on("close", () => process.exit(0));
process.on("exit", report);
setInterval(report, REPORT_MS);

while ((await namespace.adapter.serverCount()) !== 2) await new Promise((resolve) => setTimeout(resolve, TICK_MS));
say({ meets: 2 });

// Where no socket of the measurement is.
async function warmUp() {
  const elsewhere = io.of("/warm-up");
  elsewhere.sockets.set("recorder", socket);
  elsewhere.adapter.addAll("recorder", new Set(["recorder"]));
  for (let times = 0; times < WARM_UP; times += 1) {
    elsewhere.emit(name, times);
    if (times % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await elsewhere.adapter.close();
  received = [];
}

// A tick that comes late is made good, as tokio's `interval` does.
function emitDue() {
  for (; performance.now() >= next; next += TICK_MS) {
    const at = now();
    number += 1;
    io.emit(name, number);
    emitted.push([at, now() - at]);
  }
  if (next < Infinity) setTimeout(emitDue, next - performance.now());
}

function report() {
  if (emitted.length + received.length > 0) say({ emitted, received });
  [emitted, received] = [[], []];
}

function say(what) {
  // Synchronous, so that the last words of a process that ends by an error come out.
  writeSync(1, `${JSON.stringify(what)}\n`);
}

function now() {
  return Math.round((performance.timeOrigin + performance.now()) * 1_000);
}
