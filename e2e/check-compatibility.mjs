// Checks docs/compatibility.md: node check-compatibility.mjs [--list]. Each public name of Node's server API, as the declarations of the
// npm packages have it, needs a row with a verdict: `have`, `differs: why` or `not: reason`. A row that says `have` names what tests it, and
// that must exist. --list prints the names. Exits with 0 only if nothing is wrong.

import { readFile } from "node:fs/promises";
import { EventEmitter } from "node:events";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import portScenarios from "./apps/quiz-scenarios.mjs";
import chat from "./examples/chat.mjs";
import game from "./examples/game.mjs";
import presence from "./examples/presence.mjs";
import upload from "./examples/upload.mjs";
import { membersOf } from "./lib/declarations.mjs";
import themes from "./suite/index.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const DOCUMENT = join(here, "..", "docs", "compatibility.md");

/** Section of the document: the declarations of which it has a row for each member. `also` are names that no declaration has. */
const SECTIONS = {
  "Server options": { of: [["socket.io/dist/index.d.ts", "ServerOptions"]] },
  "Engine options": {
    of: [["engine.io/build/server.d.ts", "AttachOptions"], ["engine.io/build/server.d.ts", "ServerOptions"]],
  },
  "Options of cors": { of: [["@types/cors/index.d.ts", "CorsOptions"]] },
  "Options of cookie": { of: [["engine.io/build/contrib/types.cookie.d.ts", "CookieSerializeOptions"]], also: ["name"] },
  Server: { of: [["socket.io/dist/index.d.ts", "Server"]] },
  "Server: events": { of: [["socket.io/dist/namespace.d.ts", "ServerReservedEventsMap"], ["socket.io/dist/namespace.d.ts", "NamespaceReservedEventsMap"]], also: ["events of other servers"] },
  Engine: {
    of: [["engine.io/build/server.d.ts", "BaseServer"], ["engine.io/build/server.d.ts", "Server"]],
    also: ["event connection", "event connection_error", "event drain", "event flush", "event headers", "event initial_headers"],
  },
  Namespace: { of: [["socket.io/dist/namespace.d.ts", "Namespace"]] },
  "Namespace: events": { of: [["socket.io/dist/namespace.d.ts", "NamespaceReservedEventsMap"]], also: ["events of other servers"] },
  ParentNamespace: { of: [["socket.io/dist/parent-namespace.d.ts", "ParentNamespace"]] },
  Socket: { of: [["socket.io/dist/socket.d.ts", "Socket"]], also: ["acknowledgement of an event"] },
  "Socket: events": { of: [["socket.io/dist/socket-types.d.ts", "SocketReservedEventsMap"]] },
  "socket.handshake": { of: [["socket.io/dist/socket-types.d.ts", "Handshake"]] },
  "socket.conn": {
    of: [["engine.io/build/socket.d.ts", "Socket"]],
    also: ["event close", "event data", "event drain", "event error", "event flush", "event heartbeat", "event message", "event open",
      "event packet", "event packetCreate", "event upgrade", "event upgrading"],
  },
  BroadcastOperator: { of: [["socket.io/dist/broadcast-operator.d.ts", "BroadcastOperator"]] },
  RemoteSocket: { of: [["socket.io/dist/broadcast-operator.d.ts", "RemoteSocket"]] },
  EventEmitter: { also: Object.getOwnPropertyNames(EventEmitter.prototype).filter((name) => !/^_|^constructor$/.test(name)) },
  Adapter: {
    of: [["socket.io-adapter/dist/in-memory-adapter.d.ts", "Adapter"]],
    also: ["event create-room", "event delete-room", "event join-room", "event leave-room"],
  },
};

const tests = await testTitles();
const wanted = new Map();
for (const [title, { of = [], also = [] }] of Object.entries(SECTIONS)) {
  const members = await Promise.all(of.map(([file, type]) => membersOf(join(here, "node_modules", file), type)));
  wanted.set(title, new Set([...members.flat(), ...also]));
}
if (process.argv.includes("--list")) {
  for (const [title, names] of wanted) console.log(`## ${title}\n${[...names].join(" ")}\n`);
  process.exit(0);
}

const faults = [];
const counts = { have: 0, differs: 0, not: 0 };
const rows = rowsOf(await readFile(DOCUMENT, "utf8"));
for (const [title, names] of wanted) {
  const found = new Set(rows.filter(({ section }) => section === title).flatMap((row) => row.names));
  for (const name of names) if (!found.has(name)) faults.push(`"${title}" has no row for \`${name}\``);
}
const seen = new Set();
for (const row of rows) await checkRow(row);
for (const fault of faults) console.log(`FAIL docs/compatibility.md: ${fault}`);
const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
console.log(`${counts.have} have, ${counts.differs} differ, ${counts.not} are not there`);
console.log(`${total} passed, ${faults.length} failed`);
process.exit(faults.length === 0 && total > 0 ? 0 : 1);

/** The rows of the document's tables: `{ section, line, names, ours, verdict, tested }`. */
function rowsOf(text) {
  const rows = [];
  let section;
  for (const [index, line] of text.split("\n").entries()) {
    section = /^## (.+)$/.exec(line)?.[1] ?? section;
    const cells = /^\| (.*) \|$/.exec(line)?.[1].split(/(?<!\\)\|/).map((cell) => cell.trim());
    const names = cells && [...cells[0].matchAll(/`([^`]+)`/g)].map(([, name]) => name);
    if (!names?.length) continue;
    const [, ours, verdict, tested] = cells;
    rows.push({ section, line: index + 1, names, ours, verdict, tested });
  }
  return rows;
}

async function checkRow({ section, line, names, ours, verdict, tested }) {
  const fault = (text) => faults.push(`line ${line}: ${text}`);
  for (const name of names) {
    if (!wanted.get(section)?.has(name)) fault(`"${section}" of Node's packages has no \`${name}\``);
    if (seen.has(`${section}: ${name}`)) fault(`\`${name}\` has a second row`);
    seen.add(`${section}: ${name}`);
    const kind = /^(have)$|^(differs|not): \S/.exec(verdict ?? "");
    if (!kind) fault(`the verdict on \`${name}\` is not "have", "differs: why" or "not: reason", but "${verdict}"`);
    else counts[kind[1] ?? kind[2]] += 1;
  }
  if (verdict !== undefined && !verdict.startsWith("not:") && !ours) fault(`${names.join(", ")}: what is ours?`);
  const titles = [...(tested ?? "").matchAll(/`([^`]+)`/g)].map(([, title]) => title);
  if (verdict === "have" && titles.length === 0) fault(`${names.join(", ")}: no test is named`);
  for (const title of titles) if (!(await exists(title))) fault(`there is no test \`${title}\``);
}

/** A scenario, or a Rust test as `path::name`. */
async function exists(title) {
  const [, path, name] = /^(\S+\.rs)::(\w+)$/.exec(title) ?? [];
  if (!path) return tests.has(title);
  const text = await readFile(join(here, "..", path), "utf8").catch(() => "");
  return text.includes(`fn ${name}(`);
}

/** The titles of all scenarios that clients play, most of them on both servers. */
async function testTitles() {
  const titles = themes.flatMap(({ name, scenarios }) => scenarios.map((scenario) => `${name}: ${scenario.name}`));
  titles.push(...portScenarios.map(({ title }) => `port: ${title}`));
  for (const { name, checks } of [chat, game, presence, upload]) titles.push(...Object.keys(checks).map((title) => `${name}: ${title}`));
  return new Set(titles);
}
