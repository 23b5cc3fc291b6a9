// nginx, HAProxy or Traefik as a child process, with a configuration of docs/examples/. Only the ports, and the folders that nginx writes to, differ
// from the documented text.

import { spawn } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../lib/server.mjs";
import { eventually } from "../lib/wait.mjs";

const EXAMPLES = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "docs", "examples");

/** Debian installs both programs in folders that an ordinary user's path lacks. */
const PATH = `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin`;

/** The user `nobody`. If this process runs as root, proxies of Debian run as this user, without root's privileges. */
const NOBODY = 65_534;

/** How much of the end of the proxy's output is kept, in characters. */
const LOG_LENGTH = 4_000;

/** How each proxy is started with its example. `front`: the port that the example listens on. `program`: its name, if it is not the kind's. */
const KINDS = {
  nginx: {
    example: "nginx.conf",
    front: 8080,
    write: (text, folder) => text.replace("http {", `http {\n${nginxFolders(folder)}`),
    arguments: (file, folder) => [
      ["-p", folder, "-c", file, "-e", join(folder, "error.log")],
      ["-g", `daemon off; pid ${join(folder, "pid")}; error_log stderr;`],
    ],
  },
  haproxy: {
    example: "haproxy.cfg",
    front: 8081,
    write: (text) => text,
    arguments: (file) => [["-db", "-f", file]],
  },
  traefik: {
    example: "traefik.yml",
    front: 8082,
    // No package of Debian's has it. `cargo xtask setup` installs it under the build directory.
    program: process.env.ROOMCAST_TRAEFIK,
    write: (text) => text,
    arguments: (file) => [[`--configFile=${file}`]],
  },
};

/**
 * Starts a proxy in front of two servers and resolves to `{ url, stop }`. `without` is a list of patterns: lines of the example that match
 * one are removed. Each pattern has to match a line. `uncomment` is a pattern for one line that is a comment in the example.
 */
export async function startProxy(kind, servers, { without = [], uncomment } = {}) {
  const { example, front, program, write, arguments: options } = KINDS[kind];
  const folder = mkdtempSync(join(tmpdir(), `roomcast-e2e-${kind}-`));
  const file = join(folder, example);
  const port = await freePort();
  let text = readFileSync(join(EXAMPLES, example), "utf8");
  for (const pattern of without) text = changed(text, pattern, "", example);
  if (uncomment) text = text.split("\n").map((line) => (uncomment.test(line) ? line.replace("# ", "") : line)).join("\n");
  const ports = [[front, port], [3001, servers[0].port], [3002, servers[1].port]];
  for (const [from, to] of ports) text = changed(text, new RegExp(`127\\.0\\.0\\.1:${from}\\b`), `127.0.0.1:${to}`, example);
  writeFileSync(file, write(text, folder));

  // A program below the build directory may be out of reach for the user nobody.
  const asNobody = process.getuid() === 0 && !program ? { uid: NOBODY, gid: NOBODY } : {};
  if (asNobody.uid) for (const path of [folder, file]) chownSync(path, NOBODY, NOBODY);
  const child = spawn(program ?? kind, options(file, folder).flat(), {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH },
    // HAProxy changes back to the folder in which it was started, and the user nobody cannot enter root's home. Traefik looks there for
    // its dynamic configuration.
    cwd: folder,
    ...asNobody,
  });
  let log = "";
  let ended;
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log = (log + data).slice(-LOG_LENGTH)));
  child.once("error", (error) => (ended = `cannot be started; run cargo xtask setup, which installs it: ${error.message}`));
  child.once("exit", (code, signal) => (ended ??= `has exited (${signal ?? code})`));
  const stop = () => {
    // At SIGTERM both stop immediately, together with their workers. nginx's workers would survive a SIGKILL.
    child.kill("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  };
  process.on("exit", stop);
  await eventually(() => {
    if (ended) throw new Error(`${kind} ${ended}\n${log}`);
    return serves(port);
  }, `${kind} to serve`);
  return { url: `http://127.0.0.1:${port}`, stop };
}

// Replaces `pattern` in all lines that match it, or removes these lines if `to` is empty. It is an error if no line matches, because then
// the example has changed.
function changed(text, pattern, to, example) {
  const lines = text.split("\n");
  const found = lines.filter((line) => pattern.test(line) && !line.trim().startsWith("#"));
  if (found.length === 0) throw new Error(`no line of docs/examples/${example} matches ${pattern}; update run-proxies.mjs or proxy.mjs`);
  const all = lines.map((line) => (found.includes(line) ? (to ? line.replace(pattern, to) : null) : line));
  return all.filter((line) => line !== null).join("\n");
}

// The default folders of Debian's nginx are writable only for root.
function nginxFolders(folder) {
  const names = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return names.map((name) => `    ${name}_temp_path ${join(folder, name)};`).join("\n");
}

/** Whether a server answers through the proxy. Traefik listens before it knows where requests go, and answers 404 until then. */
async function serves(port) {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
  await answer?.arrayBuffer();
  return answer?.status === 200;
}
