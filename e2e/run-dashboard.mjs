// Draws docs/plots/dashboard.svg from a real run: node run-dashboard.mjs [SECONDS]. Two servers of the program on a Redis of their own, a
// Prometheus of its own that scrapes them, clients, and some trouble: Redis is stopped for eight seconds, one client does not read, and
// one server is replaced. Needs Debian's package prometheus; no test, as a run takes minutes.
// ROOMCAST_PROGRAM is the path of the built program `roomcast`.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Redis } from "ioredis";
import { io } from "socket.io-client";
import { startRedis } from "./cluster/redis.mjs";
import { ServerProcess, freePort } from "./lib/server.mjs";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const SECONDS = Number(process.argv[2] ?? 300);
const CLIENTS = 400;
const ROOMS = 40;
const PUBLISHES_PER_SECOND = 80;
const SCRAPE = "5s";

const program = process.env.ROOMCAST_PROGRAM ?? join(ROOT, "target/debug/roomcast");
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const redis = await startRedis(["--enable-debug-command", "yes"]);
const ports = [await freePort(), await freePort()];
const servers = ports.map((port) => {
  const settings = { NODE_ENV: "production", REDIS_URL: redis.url, ROOMCAST_INTERNAL_LISTEN: `127.0.0.1:${port}` };
  return new ServerProcess(program, settings);
});
await Promise.all(servers.map((server) => server.start()));

const folder = mkdtempSync(join(tmpdir(), "roomcast-prometheus-"));
const rules = join(ROOT, "deploy/prometheus/alerts.yml");
const targets = ports.map((port) => `"127.0.0.1:${port}"`).join(", ");
writeFileSync(
  join(folder, "prometheus.yml"),
  `global: {scrape_interval: ${SCRAPE}, evaluation_interval: ${SCRAPE}}
rule_files: ["${rules}"]
scrape_configs:
  - job_name: roomcast
    static_configs: [{targets: [${targets}]}]
`,
);
const prometheus = await freePort();
const scraper = spawn(
  "prometheus",
  [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${prometheus}`],
  { stdio: "ignore" },
);
process.on("exit", () => {
  scraper.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

const begun = Math.floor(Date.now() / 1000);
const clients = [];
for (let number = 0; number < CLIENTS; number += 1) {
  const transports = number % 10 === 0 ? ["polling"] : number % 10 === 1 ? ["polling", "websocket"] : ["websocket"];
  const socket = io(servers[number % 2].url, { transports, forceNew: true });
  socket.on("connect", () => socket.emit("join", [`room-${number % ROOMS}`, "all"], () => {}));
  clients.push(socket);
  if (number % 20 === 0) await sleep(0.2);
}
const text = "x".repeat(200);
let turn = 0;
const publishing = setInterval(() => {
  const socket = clients[(turn += 7) % CLIENTS];
  if (socket.connected) socket.emit("publish", turn % 400 === 0 ? "all" : `room-${turn % ROOMS}`, "said", text, turn, () => {});
  if (turn % 97 === 0) socket.emit("unknown");
}, 1000 / PUBLISHES_PER_SECOND);

await sleep(SECONDS * 0.35);
// A client that does not read: the slow one of the dashboard.
const slow = connect(servers[0].port, "127.0.0.1");
slow.write(
  "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
);
slow.pause();
slow.on("error", () => {});
slow.write(frame("40"));
slow.write(frame('42["join","flood"]'));
await sleep(1);
const flood = setInterval(() => clients[0].emit("publish", "flood", "said", text.repeat(400)), 50);
setTimeout(() => clearInterval(flood), SECONDS * 100);
await sleep(SECONDS * 0.15);
// Redis stands still.
const redisClient = new Redis(redis.url);
await redisClient.call("DEBUG", "SLEEP", "8");
redisClient.disconnect();
await sleep(SECONDS * 0.15);
await servers[1].end("SIGTERM", 30_000);
await servers[1].start();
while (Date.now() / 1000 < begun + SECONDS) await sleep(1);
clearInterval(publishing);

const out = join(ROOT, "docs/plots/dashboard.svg");
const version = /version = "([^"]+)"/.exec(readFileSync(join(ROOT, "Cargo.toml"), "utf8"))[1];
const title = `roomcast ${version}: two servers, ${CLIENTS} clients, drawn by deploy/grafana/render.mjs (not Grafana)`;
const dashboard = join(ROOT, "deploy/grafana/roomcast.json");
const drawn = spawnSync(
  process.execPath,
  [join(ROOT, "deploy/grafana/render.mjs"), dashboard, `http://127.0.0.1:${prometheus}`, begun, begun + SECONDS, out, title].map(String),
  { stdio: "inherit" },
);
process.exit(drawn.status ?? 1);

/** A text message of a client, masked with zeros. */
function frame(message) {
  return Buffer.concat([Buffer.from([0x81, 0x80 | message.length, 0, 0, 0, 0]), Buffer.from(message)]);
}
