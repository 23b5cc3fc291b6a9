// The server under test, as a child process.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { within } from "./wait.mjs";

/** How long a server may take until it listens, in ms. */
const START_MS = 20_000;

/** How long a server may take to exit after SIGTERM, in ms. */
const STOP_MS = 10_000;

/** How much of the end of the server's output is kept, in characters. */
const LOG_LENGTH = 4_000;

// Servers are killed when this process exits, for whatever reason.
const running = new Set();
process.on("exit", () => running.forEach((server) => server.kill()));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

export class ServerProcess {
  #child;
  #ended;

  /** `command`: a shell command line. `settings`: added to the environment. */
  constructor(command, settings) {
    this.command = command;
    this.settings = settings;
    this.log = "";
  }

  /** Starts the server and resolves when it accepts connections. A second start uses the same port as the first. */
  async start() {
    this.port ??= await freePort();
    const child = spawn(`exec ${this.command}`, {
      shell: true,
      env: { ...process.env, ...this.settings, HOST: "127.0.0.1", PORT: String(this.port) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
    const listening = new Promise((resolve) => {
      let output = "";
      // The program roomcast writes it to its log, which goes to standard error.
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (data) => {
          output = (output + data).slice(-LOG_LENGTH);
          const found = /listening on (http:\/\/\S+)\s/.exec(output);
          if (found) resolve(found[1]);
        });
      }
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => (this.log = (this.log + data).slice(-LOG_LENGTH)));
    }
    const tooEarly = this.#ended.then(({ code, signal }) => {
      throw new Error(`the server exited before it listened (${signal ?? code})\n${this.log}`);
    });
    tooEarly.catch(() => {});
    running.add(this);
    this.url = await within(Promise.race([listening, tooEarly]), `"listening on" of ${this.command}`, START_MS);
  }

  get alive() {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** Sends a signal to the server, waits until it has exited, for `limit` ms at most, and resolves to `{ code, signal }`. */
  async end(signal = "SIGTERM", limit = STOP_MS) {
    if (this.alive) this.#child.kill(signal);
    running.delete(this);
    try {
      return await within(this.#ended, `the end of the server after ${signal}`, limit);
    } catch (error) {
      this.kill();
      throw error;
    }
  }

  /** Kills the server and does not wait until it has exited. */
  kill() {
    if (this.alive) this.#child.kill("SIGKILL");
  }
}

/**
 * A free port below the range that the system uses for outgoing connections. Otherwise, while a server is down, one of its reconnecting
 * clients could get the server's port, and would connect to itself.
 */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await new Promise((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
