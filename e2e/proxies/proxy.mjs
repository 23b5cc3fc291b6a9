// nginx or HAProxy as a child process of this run, with a configuration of docs/examples/: the text is the documented one
// but for ports, and for the folders that nginx writes to.

import { spawn } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../lib/server.mjs";
import { eventually } from "../lib/wait.mjs";

const EXAMPLES = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "docs", "examples");

/** Debian keeps both outside of an ordinary user's path. */
const PATH = `${process.env.PATH}:/usr/local/sbin:/usr/sbin:/sbin`;

/** The user `nobody`: root's proxies give up its rights, as those of anybody else have none. */
const NOBODY = 65_534;

/** How much of the proxy's output is kept, in characters. */
const LOG_LENGTH = 4_000;

/** What each proxy is given besides the documented text. `front` is the port that its example listens on. */
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
};

/**
 * Starts a proxy before two servers and resolves to `{ url, stop }`. `without` is a list of patterns: a line of the example
 * that matches one is taken out, and each has to match.
 */
export async function startProxy(kind, servers, { without = [] } = {}) {
  const { example, front, write, arguments: options } = KINDS[kind];
  const folder = mkdtempSync(join(tmpdir(), `roomcast-e2e-${kind}-`));
  const file = join(folder, example);
  const port = await freePort();
  let text = readFileSync(join(EXAMPLES, example), "utf8");
  for (const pattern of without) text = changed(text, pattern, "", example);
  const ports = [[front, port], [3001, servers[0].port], [3002, servers[1].port]];
  for (const [from, to] of ports) text = changed(text, new RegExp(`127\\.0\\.0\\.1:${from}\\b`), `127.0.0.1:${to}`, example);
  writeFileSync(file, write(text, folder));

  const asNobody = process.getuid() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  if (asNobody.uid) for (const path of [folder, file]) chownSync(path, NOBODY, NOBODY);
  const child = spawn(kind, options(file, folder).flat(), {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH },
    // Whoever gives up root's rights may not look into root's home: HAProxy wants to come back to where it was started.
    cwd: folder,
    ...asNobody,
  });
  let log = "";
  let ended;
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (log = (log + data).slice(-LOG_LENGTH)));
  child.once("error", (error) => (ended = `cannot be started (cargo xtask setup installs it): ${error.message}`));
  child.once("exit", (code, signal) => (ended ??= `has ended (${signal ?? code})`));
  const stop = () => {
    // Both take SIGTERM as "stop now" and end their workers; nginx's would outlive a SIGKILL.
    child.kill("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  };
  process.on("exit", stop);
  await eventually(() => {
    if (ended) throw new Error(`${kind} ${ended}\n${log}`);
    return accepts(port);
  }, `${kind} to listen`);
  return { url: `http://127.0.0.1:${port}`, stop };
}

// An example that no longer has what is to be replaced must not pass unnoticed.
function changed(text, pattern, to, example) {
  const lines = text.split("\n");
  const found = lines.filter((line) => pattern.test(line) && !line.trim().startsWith("#"));
  if (found.length === 0) throw new Error(`no line of ${example} has ${pattern}`);
  const all = lines.map((line) => (found.includes(line) ? (to ? line.replace(pattern, to) : null) : line));
  return all.filter((line) => line !== null).join("\n");
}

// Debian's nginx has been built with folders that only root can write to.
function nginxFolders(folder) {
  const names = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return names.map((name) => `    ${name}_temp_path ${join(folder, name)};`).join("\n");
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => end(true)).once("error", () => end(false));
  });
}
