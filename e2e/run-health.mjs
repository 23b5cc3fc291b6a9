// Tests what the program tells load balancers: node run-health.mjs [--only PATTERN]. Servers of the program are on Redis servers of their
// own, which are frozen, or are replicas, in both dialects. Exits with 0 only if all checks have passed. ROOMCAST_PROGRAM is the path of
// the built program `roomcast`; without it cargo builds the program.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { request as send } from "node:http";
import { parseArgs } from "node:util";
import { startRedis } from "./cluster/redis.mjs";
import { Client } from "./lib/client.mjs";
import { check, end } from "./lib/checks.mjs";
import { program } from "./lib/program.mjs";
import { ServerProcess, freePort } from "./lib/server.mjs";
import { eventually, within } from "./lib/wait.mjs";

/** The promise: a server tells within this time that it is cut off, and that it is not any more, in ms. */
const NOTICED_MS = 10_000;

/** How long it takes until a server has given up its connections to a frozen Redis, and has failed to make others, in ms. */
const GIVEN_UP_MS = 20_000;

/** Limit of one check, in ms. */
const CHECK_MS = 60_000;

const { values: options } = parseArgs({ options: { only: { type: "string", default: "" } } });
const path = program();

await checkWith("each method on each listener", methods);
for (const dialect of ["classic", "sharded"]) {
  await checkWith(`${dialect}: while Redis is frozen servers are not ready, and deliver to their own clients`, (t) => frozen(dialect, t));
  await checkWith(`${dialect}: a server whose Redis is a replica is not ready`, (t) => replica(dialect, t));
  await checkWith(`${dialect}: a server whose password is wrong is not ready`, (t) => wrongPassword(dialect, t));
}
await checkWith("with --health-require-redis false a server that is cut off is ready", notRequired);
end();

/** GET, HEAD and OPTIONS as health checks send them, and what is refused, on both listeners, with and without a reason to fail. */
async function methods({ server, redis }) {
  const one = await redis();
  const cut = await server(one, "classic");
    await becomes(cut, 200);
  for (const base of [cut.url, cut.internal]) await allMethods(base, 200);
  one.freeze();
  await becomes(cut, 503);
  for (const base of [cut.url, cut.internal]) await allMethods(base, 503);
  one.thaw();
}

async function allMethods(base, ready) {
  for (const [path, status] of [["/healthz", 200], ["/readyz", ready], ["/readyz?from=balancer", ready]]) {
    const get = await raw(base, "GET", path);
    const what = `${base}${path}`;
    assert.equal(get.status, status, what);
    assert.equal(get.headers["content-type"], "application/json", what);
    assert.equal(get.headers["cache-control"], "no-store", what);
    const health = JSON.parse(get.body);
    assert.equal(health.ready, ready === 200, what);
    assert.deepEqual(health.checks.server, { ok: true, required: true, reason: "accepts clients" });
    assert.deepEqual([health.checks.cluster.ok, health.checks.cluster.required], [ready === 200, true]);
    assert.ok(health.checks.cluster.reason.length > 0, what);
    const head = await raw(base, "HEAD", path);
    // The reasons count seconds, so the length may differ by a few digits.
    assert.deepEqual([head.status, head.body, head.headers["content-type"]], [status, "", "application/json"], what);
    assert.ok(Math.abs(head.headers["content-length"] - get.body.length) < 5, what);
    const asked = await raw(base, "OPTIONS", path);
    assert.deepEqual([asked.status, asked.body, asked.headers.allow], [status, "", "GET, HEAD, OPTIONS"], what);
    for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
      const refused = await raw(base, method, path);
      assert.deepEqual([refused.status, refused.headers.allow], [405, "GET, HEAD, OPTIONS"], `${method} ${what}`);
    }
  }
}

async function frozen(dialect, { server, redis, client }) {
  const one = await redis();
  const servers = [await server(one, dialect), await server(one, dialect)];
  for (const each of servers) await becomes(each, 200);
  const [speaker, neighbour, far] = [await client(servers[0]), await client(servers[0]), await client(servers[1])];
  for (const each of [speaker, neighbour, far]) await each.ask("join", "lobby");
  await says(speaker, [neighbour, far], "before");

  const talk = chatter(speaker, neighbour);
  one.freeze();
  const gone = await Promise.all(servers.map((each) => becomes(each, 503)));
  for (const each of servers) {
    assert.equal((await raw(each.url, "GET", "/healthz")).status, 200, "a restart would not help");
    const { cluster } = JSON.parse((await raw(each.url, "GET", "/readyz")).body).checks;
    assert.match(cluster.reason, /no message/);
  }
  // Until the connections are given up, and new ones have failed too.
  const failing = ({ log }) => /cannot connect to Redis|is not connected to a Redis node/.test(log);
  await eventually(() => servers.every(failing), "failed attempts to connect", GIVEN_UP_MS);
  one.thaw();
  const back = await Promise.all(servers.map((each) => becomes(each, 200)));
  const said = await talk.end();
  assert.ok(said > 10, `only ${said} messages were exchanged meanwhile`);
  await eventually(() => says(speaker, [neighbour], "after").then(() => true), "local delivery");
  await eventually(async () => {
    await speaker.ask("publish", "lobby", "reaches", 1);
    return far.takeAll("reaches").length > 0;
  }, "delivery between the servers");
  const slowest = (times) => `${(Math.max(...times) / 1000).toFixed(1)} s`;
  console.log(`     ${dialect}: 503 after ${slowest(gone)}, 200 after ${slowest(back)}; ${said} local messages meanwhile`);
}

async function replica(dialect, { server, redis, client }) {
  const primary = await redis();
  const copy = await redis(["--replicaof", "127.0.0.1", primary.port]);
  const [right, wrong] = [await server(primary, dialect), await server(copy, dialect)];
  await becomes(right, 200);
  const health = await staysNotReady(wrong, /is a replica, not the primary/);
  assert.equal(health.checks.cluster.ok, false);
  // Redis is watched, and /readyz says what is wrong with it.
  const reason = async () => JSON.parse((await raw(wrong.url, "GET", "/readyz")).body).checks.redis.reason;
  await eventually(async () => (await reason()).startsWith("a replica is used as the primary"), "the reason in /readyz");
  const [speaker, neighbour] = [await client(wrong), await client(wrong)];
  await neighbour.ask("join", "lobby");
  await says(speaker, [neighbour], "local");
  assert.deepEqual(await command(wrong.port), { code: 1, ready: false });
  assert.deepEqual(await command(right.port), { code: 0, ready: true });
}

async function wrongPassword(dialect, { server, redis }) {
  const one = await redis(["--requirepass", "right"]);
  const wrong = await server({ url: one.url.replace("://", "://:secret-word@") }, dialect);
  const health = await staysNotReady(wrong, /refuses the user or password/);
  assert.ok(!JSON.stringify(health).includes("secret-word"));
  assert.ok(!wrong.log.includes("secret-word"));
}

async function notRequired({ server, redis }) {
  const one = await redis();
  const tolerant = await server(one, "classic", { ROOMCAST_HEALTH_REQUIRE_REDIS: "false" });
  const health = async () => JSON.parse((await raw(tolerant.url, "GET", "/readyz")).body);
  await eventually(async () => (await health()).checks.cluster.ok, "the cluster", NOTICED_MS);
  one.freeze();
  await eventually(async () => !(await health()).checks.cluster.ok, "the server to notice", NOTICED_MS);
  const { ready, checks } = await health();
  assert.deepEqual([ready, checks.cluster.required], [true, false]);
  assert.equal((await raw(tolerant.url, "GET", "/readyz")).status, 200);
  one.thaw();
}

/** Resolves to the time until `/readyz` answers with `status`. */
async function becomes(server, status) {
  const begun = Date.now();
  await eventually(async () => (await raw(server.url, "GET", "/readyz")).status === status, `${status} from /readyz`, NOTICED_MS);
  return Date.now() - begun;
}

/** A server that cannot be ready is not, from its first answer until the log has said the cause. Resolves to its health. */
async function staysNotReady(server, cause) {
  for (const end = Date.now() + NOTICED_MS / 2; Date.now() < end; ) {
    const { status, body } = await raw(server.url, "GET", "/readyz");
    assert.equal(status, 503, body);
    if (cause.test(server.log)) return JSON.parse(body);
  }
  throw new Error(`the log does not say why the server is not ready:\n${server.log}`);
}

async function says(speaker, listeners, word) {
  assert.deepEqual(await speaker.ask("publish", "lobby", "says", word), { ok: true });
  for (const listener of listeners) assert.deepEqual(await listener.next("says"), [word]);
}

/** Sends one message after the other to a client of the same server. `end()` resolves to their number. */
function chatter(speaker, neighbour) {
  let over = false;
  let count = 0;
  const talking = (async () => {
    while (!over) {
      await says(speaker, [neighbour], `chatter ${count}`);
      count += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return count;
  })();
  talking.catch(() => {});
  return { end: () => ((over = true), talking) };
}

/** An HTTP request on a connection of its own. Resolves to `{ status, headers, body }`. */
function raw(base, method, path) {
  const answer = new Promise((resolve, reject) => {
    const asked = send(new URL(path, base), { method, agent: false }, async (response) => {
      const chunks = await response.toArray();
      resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() });
    });
    asked.once("error", reject).end();
  });
  return within(answer, `${method} ${base}${path}`);
}

/** What `roomcast health --ready` says of a server. */
function command(port) {
  return new Promise((resolve) => {
    execFile(path, ["health", "--ready"], { env: { PORT: String(port) } }, (error, output) => {
      resolve({ code: error?.code ?? 0, ready: JSON.parse(output).ready });
    });
  });
}

/** Runs a check with makers of servers, Redis servers and clients, all of which are ended after it. */
async function checkWith(name, run) {
  if (!new RegExp(options.only, "i").test(name)) return;
  const ends = [];
  const made = (thing, end) => (ends.unshift(end), thing);
  const makers = {
    async redis(more) {
      const one = await startRedis(more);
      return made(one, () => one.stop());
    },
    async server({ url }, dialect, env = {}) {
      const port = await freePort();
      const settings = { NODE_ENV: "production", REDIS_URL: url, REDIS_DIALECT: dialect, RUST_LOG: "info" };
      const one = new ServerProcess(`"${path}"`, { ...settings, ROOMCAST_INTERNAL_LISTEN: `127.0.0.1:${port}`, ...env });
      await one.start();
      one.internal = `http://127.0.0.1:${port}`;
      return made(one, () => one.kill());
    },
    async client(server) {
      const one = new Client(server.url);
      await one.connected();
      return made(one, () => one.close());
    },
  };
  await check(name, () => within(run(makers), name, CHECK_MS).finally(() => ends.forEach((end) => end())));
}
