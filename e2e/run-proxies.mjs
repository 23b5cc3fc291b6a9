// Runs what docs/examples/ says to put in front of two servers: node run-proxies.mjs [--only nginx|haproxy]. Each proxy gets
// two roomcast servers on a Redis of their own. Exits with 0 only if all checks passed.
// ROOMCAST_PROGRAM names the built program `roomcast`; without it cargo builds it. It is the program and not the example
// `conformance`, as HAProxy's health check asks for its page.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startRedis } from "./cluster/redis.mjs";
import { ServerProcess } from "./lib/server.mjs";
import { eventually, within } from "./lib/wait.mjs";
import { Guest } from "./proxies/guest.mjs";
import { startProxy } from "./proxies/proxy.mjs";

/** Guests of each kind. All of 20 on one of two servers by chance: once in 500,000 runs. */
const GUESTS = 20;

/** Questions that a polling guest asks, each a request or two: by turns between two servers none would get through. */
const QUESTIONS = 5;

/** Time that clients of a stopped server have to come back. HAProxy's three checks come every 2 s. */
const BACK_MS = 15_000;

const POLLING = { transport: "polling" };
const UPGRADE = { transport: "upgrade" };
const WANDERING = { wanders: true };

/** Sessions go on for so long beside a stopped server: nginx tries it again after 10 s, at the cost of whose request it is. */
const BESIDE_MS = 12_000;

/** Between two questions of each of them, which leaves the machine time for others. */
const PACE_MS = 100;

/** For each proxy: its guests, and the lines without which some of them must fail. */
const PROXIES = {
  nginx: {
    guests: [POLLING, UPGRADE, { transport: "websocket" }],
    needed: [{ without: [/^\s*hash /], fails: POLLING }],
  },
  haproxy: {
    guests: [POLLING, UPGRADE, { transport: "websocket" }, { ...POLLING, ...WANDERING }, { ...UPGRADE, ...WANDERING }],
    needed: [
      { without: [/^\s*balance /, /^\s*hash-type /], fails: POLLING },
      { without: [/^\s*cookie /], fails: { ...POLLING, ...WANDERING } },
    ],
  },
};

const { values: options } = parseArgs({ options: { only: { type: "string", default: "" } } });
const program = process.env.ROOMCAST_PROGRAM ?? build();
let rounds = 0;
const counts = { passed: 0, failed: 0 };
// Both at once: most of the time is spent waiting for health checks.
await Promise.all(Object.keys(PROXIES).filter((kind) => kind.includes(options.only)).map(runProxy));
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 && counts.passed > 0 ? 0 : 1);

async function runProxy(kind) {
  const { guests: kinds, needed } = PROXIES[kind];
  const redis = await startRedis();
  const servers = [serverOn(redis), serverOn(redis)];
  const guests = [];
  await Promise.all(servers.map((server) => server.start()));
  for (const { without, fails } of needed) {
    await check(`${kind} without ${without.map(({ source }) => source).join(" and ")}: sessions break`, async () => {
      const proxy = await startProxy(kind, servers, { without });
      try {
        assert.ok((await breaks(proxy, fails)) > GUESTS / 2);
      } finally {
        proxy.stop();
      }
    });
  }
  let proxy;
  await check(`${kind}: the documented configuration starts`, async () => (proxy = await startProxy(kind, servers)));
  if (!proxy) return;
  await check(`${kind}: sessions stay on their server, and upgrade`, async () => {
    for (const each of kinds) for (let count = 0; count < GUESTS; count += 1) guests.push(new Guest(proxy.url, each));
    const lasting = guests.map((guest) => guest.lasts(QUESTIONS));
    await within(Promise.all(lasting), "all guests to be answered or to break", BACK_MS);
    assert.deepEqual(guests.filter(({ breaks: count }) => count > 0).map(({ reason }) => reason), []);
    for (const { transport, manager } of guests) {
      assert.equal(manager.engine.transport.name, transport === "polling" ? "polling" : "websocket");
    }
  });
  await check(`${kind}: a broadcast reaches all, once`, () => everybodyHears(guests));
  await check(`${kind}: a stopped server is taken out, its clients come back, the others notice nothing`, async () => {
    assert.deepEqual(await servers[0].end(), { code: 0, signal: null });
    // Exactly the stopped server's guests have lost their connection: so both servers had some.
    await eventually(() => guests.some(({ breaks: count }) => count > 0), "a break");
    const left = () => guests.every(({ socket }) => socket.connected);
    await eventually(left, "all guests to be connected", BACK_MS);
    const moved = guests.filter(({ breaks: count }) => count > 0);
    assert.ok(moved.length < guests.length, "the servers shared the guests");
    for (const guest of moved) await guest.ask("join", "everybody");
    await everybodyHears(guests);
    const before = guests.map(({ breaks: count }) => count);
    for (const end = Date.now() + BESIDE_MS; Date.now() < end; ) {
      await Promise.all(guests.map((guest) => guest.ask("join", "everybody")));
      await new Promise((resolve) => setTimeout(resolve, PACE_MS));
    }
    guests.forEach((guest, position) => assert.equal(guest.breaks, before[position], guest.reason));
    for (const guest of guests) if (!moved.includes(guest)) assert.equal(guest.breaks, 0, guest.reason);
    console.log(`     ${kind}: ${moved.length} of ${guests.length} guests moved`);
  });
  for (const guest of guests) guest.close();
  proxy.stop();
  await check(`${kind}: the other server ends after SIGTERM`, async () => {
    assert.deepEqual(await servers[1].end(), { code: 0, signal: null });
  });
  redis.stop();
}

function serverOn(redis) {
  return new ServerProcess(`"${program}"`, { NODE_ENV: "production", REDIS_URL: redis.url, RUST_LOG: "info" });
}

/** How many of the guests do not last. */
async function breaks(proxy, kind) {
  const guests = Array.from({ length: GUESTS }, () => new Guest(proxy.url, { ...kind, reconnection: false }));
  const lasted = await within(Promise.all(guests.map((guest) => guest.lasts(QUESTIONS))), "all guests to last or break");
  for (const guest of guests) guest.close();
  return lasted.filter((each) => !each).length;
}

async function everybodyHears(guests) {
  const round = ++rounds;
  assert.deepEqual(await guests[0].ask("publish", "everybody", "round", round), { ok: true });
  for (const guest of guests) assert.deepEqual(await guest.next("round"), [round]);
  // A second copy of the round would be unread, and came before this.
  await guests[0].ask("publish", "everybody", "end", round);
  for (const guest of guests) assert.deepEqual(await guest.next("end"), [round]);
  for (const guest of guests) assert.deepEqual(guest.takeAll("round"), []);
}

async function check(name, run) {
  const error = await run().then(() => undefined, (failure) => failure);
  counts[error ? "failed" : "passed"] += 1;
  console.log(`${error ? "FAIL" : "ok  "} ${name}`);
  if (error) console.log((error.stack ?? String(error)).replace(/^/gm, "     "));
}

function build() {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..");
  const command = ["build", "--release", "--quiet", "-p", "roomcast", "--bin", "roomcast"];
  if (spawnSync("cargo", command, { cwd: root, stdio: ["ignore", 2, 2] }).status !== 0) {
    throw new Error("the program roomcast does not build");
  }
  return join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "release", "roomcast");
}
