// A private Redis or Redis Cluster: child processes on free ports that store nothing on disk.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { eventually } from "../lib/wait.mjs";

/** How long Redis may take until it answers, in ms. */
const START_MS = 20_000;

/** The first slot of each of three primaries, and the number of slots. */
const SLOTS = [0, 5461, 10923, 16384];

// Each is killed when this process exits, for whatever reason.
const stops = new Set();
process.on("exit", () => stops.forEach((stop) => stop()));

/** Starts a Redis Cluster of three primaries and resolves to `{ url, stop }` when it is up. */
export async function startRedisCluster() {
  const nodes = [];
  for (let number = 1; number < SLOTS.length; number += 1) {
    const bus = await freePort();
    nodes.push({ bus, ...(await startRedis(["--cluster-enabled", "yes", "--cluster-port", bus])) });
  }
  const [first, ...others] = nodes;
  const clients = nodes.map(({ url }) => new Redis(url));
  for (const [number, client] of clients.entries()) {
    await client.call("CLUSTER", "ADDSLOTSRANGE", SLOTS[number], SLOTS[number + 1] - 1);
    await client.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1);
  }
  for (const { port, bus } of others) await clients[0].call("CLUSTER", "MEET", "127.0.0.1", port, bus);
  const knowsAll = async (client) => {
    const known = await client.call("CLUSTER", "NODES");
    return known.trim().split("\n").length === nodes.length && (await client.call("CLUSTER", "INFO")).includes("cluster_state:ok");
  };
  for (const client of clients) await eventually(() => knowsAll(client), "the Cluster to be up", START_MS);
  for (const client of clients) client.disconnect();
  return {
    url: `redis+cluster://127.0.0.1:${first.port},127.0.0.1:${others[0].port}`,
    stop: () => nodes.forEach((node) => node.stop()),
  };
}

/**
 * Starts a Redis, by default on a free port, and resolves to `{ url, port, stop, freeze, thaw }` when it answers. It is killed when this process exits. A frozen Redis
 * does nothing, and its connections stay open.
 */
export async function startRedis(more = [], port = undefined) {
  port ??= await freePort();
  const directory = mkdtempSync(join(tmpdir(), "roomcast-e2e-redis-"));
  const options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory, ...more];
  const child = spawn("redis-server", options.map(String), { stdio: "ignore" });
  let failure;
  child.once("error", (error) => (failure = error));
  child.once("exit", (code, signal) => (failure ??= new Error(`redis-server has exited (${signal ?? code})`)));
  const stop = () => {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };
  stops.add(stop);
  await eventually(() => {
    if (failure) throw failure;
    return answers(port);
  }, "an answer of redis-server", START_MS);
  const [freeze, thaw] = ["SIGSTOP", "SIGCONT"].map((signal) => () => child.kill(signal));
  return { url: `redis://127.0.0.1:${port}`, port, stop, freeze, thaw };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    const end = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("error", () => end(false));
    socket.once("data", (data) => end(/^(\+PONG|-NOAUTH)/.test(String(data))));
  });
}
