// A Node server for the fault report: node fault-server.mjs REDIS_URL NAME [PLAN]. Its sockets are only what the adapter writes to, and
// record what they receive. There is one socket, or those of the plan, which has their rooms and the targets of the messages.
// Standard input: `talk` starts emitting, `hush` stops it. Standard output: `{"meets":2}` as soon as the server counts two servers, or as
// many as the plan has, and then ten times a second what has happened:
// `{"emitted":[[at, took]..],"received":[[publisher, number, at, socket]..]}`. All times are in microseconds, `at` of the wall
// clock. See crates/roomcast-redis/examples/fault_report/main.rs.

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { Server } from "socket.io";
import { openAdapter } from "./lib/redis-adapters.mjs";

/** Time between two messages, in ms. */
const TICK_MS = 10;

/** Time between two reports, in ms. */
const REPORT_MS = 100;

/** Emits before the measurement: the first ones of a process run code that is not compiled yet. */
const WARM_UP = 2_000;

/** The default plan: two servers with a socket each, and every message is for all sockets. */
const TWO = { servers: 2, sockets: [[]], targets: [{ rooms: [], except: [] }] };

const [redisUrl, name, planned] = process.argv.slice(2);
const plan = planned ? JSON.parse(planned) : TWO;
const padding = planned ? ["x".repeat(plan.padding)] : [];
// ioredis has its default settings here, and "error" handlers.
const { ADAPTER = "classic", SUBSCRIPTION_MODE } = process.env;
const { adapter } = await openAdapter({ ADAPTER, SUBSCRIPTION_MODE, REDIS_URL: redisUrl });
const io = new Server({ adapter });
const namespace = io.of("/");

let emitted = [];
let received = [];
let number = 0;
let next = Infinity;

// A packet counts as received within the call that emits it, as with the roomcast server: the path to a client's connection is not
// measured.
const socket = (index) => ({
  client: {
    writeToEngine([packet]) {
      const [publisher, number] = JSON.parse(packet.slice(packet.indexOf("[")));
      received.push([publisher, number, now(), index]);
    },
  },
});
await warmUp();
plan.sockets.forEach((rooms, index) => insert(namespace, `recorder-${index}`, rooms, index));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    next = line === "talk" ? performance.now() : Infinity;
    emitDue();
  })
  .on("close", () => process.exit(0));
process.on("exit", report);
setInterval(report, REPORT_MS);

while ((await namespace.adapter.serverCount()) !== plan.servers) {
  await new Promise((resolve) => setTimeout(resolve, TICK_MS));
}
say({ meets: plan.servers, emitted: [], received: [] });

function insert(into, id, rooms, index) {
  into.sockets.set(id, socket(index));
  into.adapter.addAll(id, new Set([id, ...rooms]));
}

// In a namespace of its own, which has none of the measured sockets.
async function warmUp() {
  const elsewhere = io.of("/warm-up");
  insert(elsewhere, "recorder", [], 0);
  for (let times = 0; times < WARM_UP; times += 1) {
    elsewhere.emit(name, times);
    if (times % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  // The sharded adapter delivers to this server's sockets only after Redis has answered.
  while (received.length < WARM_UP) await new Promise((resolve) => setTimeout(resolve, 1));
  await elsewhere.adapter.close();
  received = [];
}

// After a late tick the missed messages are emitted at once, as with tokio's `interval`.
function emitDue() {
  for (; performance.now() >= next; next += TICK_MS) {
    const at = now();
    number += 1;
    const { rooms, except } = plan.targets[(number - 1) % plan.targets.length];
    io.to(rooms).except(except).emit(name, number, ...padding);
    emitted.push([at, now() - at]);
  }
  if (next < Infinity) setTimeout(emitDue, next - performance.now());
}

function report() {
  if (emitted.length + received.length > 0) say({ emitted, received });
  [emitted, received] = [[], []];
}

function say(what) {
  // Synchronous, so that the last report is written even if the process ends because of an error.
  writeSync(1, `${JSON.stringify(what)}\n`);
}

function now() {
  return Math.round((performance.timeOrigin + performance.now()) * 1_000);
}
