// Tests the proxy configurations of docs/examples/: node run-proxies.mjs [--only nginx|haproxy|traefik]. Each proxy is in front of two roomcast
// servers on a Redis of their own. Exits with 0 only if all checks have passed.
// ROOMCAST_PROGRAM is the path of the built program `roomcast`; without it cargo builds the program. The example `conformance` would not
// do, because HAProxy's health check requests /readyz, and because the program drains.
// ROOMCAST_TRAEFIK is the path of the program traefik; without it the one of PATH is used.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { startRedis } from "./cluster/redis.mjs";
import { check, end } from "./lib/checks.mjs";
import { program } from "./lib/program.mjs";
import { ServerProcess } from "./lib/server.mjs";
import { eventually, within } from "./lib/wait.mjs";
import { Guest } from "./proxies/guest.mjs";
import { startProxy } from "./proxies/proxy.mjs";

/** Guests of each kind. All 20 are on the same one of two servers by chance only once in 500,000 runs. */
const GUESTS = 20;

/** Questions that a polling guest asks. Each takes one or two requests; with requests alternating between two servers none would succeed. */
const QUESTIONS = 5;

/** How long clients of a stopped server may take to reconnect. HAProxy needs three failed checks, one every 2 s. */
const BACK_MS = 15_000;

/** How long a server in production may take to exit after SIGTERM: 5 s of grace, a window of 10 s, 8.5 s to close, and a margin. */
const DRAIN_MS = 30_000;

const POLLING = { transport: "polling" };
const UPGRADE = { transport: "upgrade" };
const WANDERING = { wanders: true };

/** The lines of traefik.yml by which a cookie decides. */
const STICKY = [/^\s*sticky:/, /^\s*cookie:/, /^\s*name: roomcast$/, /^\s*httpOnly: /];

/** How long sessions continue while a server is stopped. nginx tries the stopped server again after 10 s, with a client's request. */
const BESIDE_MS = 12_000;

/** Pause between two questions of each guest, which leaves the machine time for other work. */
const PACE_MS = 100;

/**
 * For each proxy: the kinds of guests, and configuration lines without which guests of a kind must fail. `otherwise`: a change to the
 * example that its comments describe, and the guests that it is for.
 */
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
  traefik: {
    guests: [{ transport: "websocket" }, { ...POLLING, ...WANDERING }, { ...UPGRADE, ...WANDERING }],
    needed: [{ without: STICKY, fails: { ...POLLING, ...WANDERING } }],
    // By address, as a comment in the example says.
    otherwise: { without: STICKY, uncomment: /^\s*# strategy: hrw/, guests: [POLLING, UPGRADE] },
  },
};

const { values: options } = parseArgs({ options: { only: { type: "string", default: "" } } });
const path = program();
// Each proxy, server and Redis is stopped when this process ends.
process.setMaxListeners(40);
let rounds = 0;
// All proxies at the same time, because most of the time is spent waiting for health checks.
await Promise.all(Object.keys(PROXIES).filter((kind) => kind.includes(options.only)).map(runProxy));
end();

async function runProxy(kind) {
  const { guests: kinds, needed, otherwise } = PROXIES[kind];
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
  if (otherwise) {
    await check(`${kind} with ${otherwise.uncomment.source}: sessions stay on their server`, async () => {
      const proxy = await startProxy(kind, servers, otherwise);
      try {
        for (const guest of otherwise.guests) assert.equal(await breaks(proxy, guest), 0);
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
    await within(Promise.all(lasting), "answers for all guests, or breaks", BACK_MS);
    assert.deepEqual(guests.filter(({ breaks: count }) => count > 0).map(({ reason }) => reason), []);
    for (const { transport, manager } of guests) {
      assert.equal(manager.engine.transport.name, transport === "polling" ? "polling" : "websocket");
    }
  });
  await check(`${kind}: a broadcast reaches all guests once`, () => reachesAll(guests));
  await check(`${kind}: clients of a server that drains reconnect to the other, whose own clients are not disturbed`, async () => {
    assert.deepEqual(await servers[0].end("SIGTERM", DRAIN_MS), { code: 0, signal: null });
    // Only the guests of the stopped server lose their connection. Both servers must have had some.
    await eventually(() => guests.some(({ breaks: count }) => count > 0), "a break");
    const connected = () => guests.every(({ socket }) => socket.connected);
    await eventually(connected, "all guests to be connected", BACK_MS);
    const moved = guests.filter(({ breaks: count }) => count > 0);
    assert.ok(moved.length < guests.length, "all guests were on the stopped server");
    for (const guest of moved) await guest.ask("join", "everybody");
    await reachesAll(guests);
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
  await check(`${kind}: the other server exits after SIGTERM`, async () => {
    assert.deepEqual(await servers[1].end("SIGTERM", DRAIN_MS), { code: 0, signal: null });
  });
  redis.stop();
}

function serverOn(redis) {
  return new ServerProcess(`"${path}"`, { NODE_ENV: "production", REDIS_URL: redis.url, RUST_LOG: "info" });
}

/** How many of 20 guests of a kind have a break. */
async function breaks(proxy, kind) {
  const guests = Array.from({ length: GUESTS }, () => new Guest(proxy.url, { ...kind, reconnection: false }));
  const lasted = await within(Promise.all(guests.map((guest) => guest.lasts(QUESTIONS))), "all guests to be answered, or to break");
  for (const guest of guests) guest.close();
  return lasted.filter((each) => !each).length;
}

async function reachesAll(guests) {
  const round = ++rounds;
  assert.deepEqual(await guests[0].ask("publish", "everybody", "round", round), { ok: true });
  for (const guest of guests) assert.deepEqual(await guest.next("round"), [round]);
  // A second copy of the first event would arrive before this one, and would be unread now.
  await guests[0].ask("publish", "everybody", "end", round);
  for (const guest of guests) assert.deepEqual(await guest.next("end"), [round]);
  for (const guest of guests) assert.deepEqual(guest.takeAll("round"), []);
}
