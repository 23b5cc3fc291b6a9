// A Redis of this run's own: a child process on a free port that keeps nothing on disk.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "../lib/wait.mjs";

/** How long it may take to answer, in ms. */
const START_MS = 20_000;

/** Starts it and resolves to `{ url, stop }` when it answers. It does not outlive this process. */
export async function startRedis() {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), "roomcast-e2e-redis-"));
  const options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory];
  const child = spawn("redis-server", options.map(String), { stdio: "ignore" });
  let failure;
  child.once("error", (error) => (failure = error));
  child.once("exit", (code, signal) => (failure ??= new Error(`redis-server has ended (${signal ?? code})`)));
  const stop = () => {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };
  process.on("exit", stop);
  await eventually(() => {
    if (failure) throw failure;
    return answers(port);
  }, "an answer of redis-server", START_MS);
  return { url: `redis://127.0.0.1:${port}`, stop };
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
    socket.once("data", (data) => end(String(data).startsWith("+PONG")));
  });
}
