// Runs the cluster scenarios: node run-cluster.mjs [--mix [DIALECT[+msgpack|+recovery][@cluster]:]roomcast,twin,twin]... [--only PATTERN]
// [--requests N] [--restarts N] [--bail]. Each mix lists the kinds of its servers, which share a Redis that this run starts. DIALECT is
// classic (the default), sharded-static, sharded-dynamic or sharded-dynamic-private; with +msgpack servers and clients have the MessagePack
// parser, and only scenarios of clients run; with +recovery roomcast's servers keep the sessions of clients that lost their connection, the
// first server is one of those, and only scenarios about that run; with @cluster the dialect is spoken over a Redis Cluster. Exits with 0
// only if all scenarios have passed. ROOMCAST_CONFORMANCE and ROOMCAST_EMITTER are the paths of the built examples `conformance` and
// `emitter`; without them cargo builds the examples.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ClusterContext } from "./cluster/context.mjs";
import scenarios, { ofClients, recovery, RECOVERING } from "./cluster/index.mjs";
import { startRedis, startRedisCluster } from "./cluster/redis.mjs";
import { ServerProcess } from "./lib/server.mjs";
import { within } from "./lib/wait.mjs";
import msgpackParser from "socket.io-msgpack-parser";

const here = dirname(fileURLToPath(import.meta.url));

// With @cluster only sharded-static: if rooms have channels of their own, a Redis Cluster keeps no order between different channels, and
// many scenarios rely on that order.
const DEFAULT_MIXES = [
  "roomcast,twin,twin",
  "roomcast,roomcast,twin",
  "classic+msgpack:roomcast,twin,twin",
  "classic+recovery:roomcast,roomcast,twin",
  "sharded-dynamic:roomcast,twin,twin",
  "sharded-dynamic-private:roomcast,roomcast,twin",
  "sharded-dynamic-private+recovery:roomcast,roomcast,twin",
  "sharded-static@cluster:roomcast,twin,twin",
];

const { values: options } = parseArgs({
  options: {
    mix: { type: "string", multiple: true, default: DEFAULT_MIXES },
    only: { type: "string", default: "" },
    requests: { type: "string", default: "200" },
    restarts: { type: "string", default: "3" },
    bail: { type: "boolean", default: false },
  },
});
const only = new RegExp(options.only, "i");
const settings = {
  requests: Number(options.requests),
  restarts: Number(options.restarts),
  server,
  emitter: built("ROOMCAST_EMITTER", "roomcast-redis", "emitter"),
};
const commands = {
  twin: `"${process.execPath}" "${join(here, "reference-server.mjs")}"`,
  roomcast: `"${built("ROOMCAST_CONFORMANCE", "roomcast", "conformance")}"`,
};

// Unhandled rejections must not stop the run: for example, when several promises fail together, only the first is awaited.
const strays = [];
process.on("unhandledRejection", (error) => strays.push(error));

const counts = { passed: 0, failed: 0 };
const alone = await startRedis();
let cluster;
for (const mix of options.mix) {
  if (options.bail && counts.failed > 0) break;
  const [kinds, spoken = "classic"] = mix.split(":").reverse();
  const [language, layout] = spoken.split("@");
  const [dialect, feature = ""] = language.split("+");
  if (layout) cluster ??= await startRedisCluster();
  await runMix(kinds.split(","), dialect, feature, layout ? cluster : alone);
}
for (const redis of [alone, cluster]) redis?.stop();
console.log(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed === 0 && counts.passed > 0 ? 0 : 1);

// The path of a built example.
function built(variable, crate, example) {
  if (process.env[variable]) return process.env[variable];
  const root = join(here, "..");
  const build = ["build", "--release", "--quiet", "-p", crate, "--example", example];
  if (spawnSync("cargo", build, { cwd: root, stdio: ["ignore", 2, 2] }).status !== 0) {
    throw new Error(`the example ${example} of ${crate} does not build`);
  }
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  const path = join(target, "release", "examples", example);
  if (!existsSync(path)) throw new Error(`${path} does not exist; set ${variable} to its path`);
  return path;
}

// A server that is not started yet.
function server(kind, name, redisUrl, dialect, parser = "default", more = {}) {
  if (!commands[kind]) throw new Error(`${kind} is not a kind of server; the kinds are ${Object.keys(commands).join(", ")}`);
  const [adapter, ...mode] = dialect.split("-");
  const env = { ADAPTER: adapter, SUBSCRIPTION_MODE: mode.join("-"), REDIS_URL: redisUrl, SERVER_NAME: name, PARSER: parser, ...more };
  return Object.assign(new ServerProcess(commands[kind], env), { kind, name });
}

async function runMix(kinds, dialect, feature, redis) {
  if (!["", "msgpack", "recovery"].includes(feature)) throw new Error(`there is no +${feature}`);
  const [packed, recovers] = [feature === "msgpack", feature === "recovery"];
  const parser = packed ? "msgpack" : "default";
  const name = `${dialect}${feature && `+${feature}`}${redis === cluster ? "@cluster" : ""}: ${kinds.join(" + ")}`;
  const more = (kind) => (recovers && kind === "roomcast" ? RECOVERING : {});
  const servers = kinds.map((kind, position) => server(kind, `${kind}${position + 1}`, redis.url, dialect, parser, more(kind)));
  await Promise.all(servers.map((server) => server.start()));
  const offered = (packed ? ofClients : recovers ? recovery : scenarios).filter(({ parsers }) => parsers.test(parser));
  const spoken = offered.filter(({ dialects, onCluster }) => dialects.test(dialect) && (onCluster || redis !== cluster));
  const chosen = spoken.flatMap((each) => each.run(servers)).filter((each) => only.test(`${name}: ${each.name}`));
  for (const scenario of chosen) {
    report(`${name}: ${scenario.name}`, await runScenario(servers, scenario, redis, dialect, packed));
    if (options.bail && counts.failed > 0) break;
  }
  for (const server of servers) {
    const failure = await server.end().then(({ code }) => code !== 0 && new Error(`it exited with ${code}`), (error) => error);
    if (failure) report(`${name}: ${server.name} ends after SIGTERM`, failure);
  }
}

async function runScenario(servers, { run, ms }, redis, dialect, packed) {
  const context = new ClusterContext(servers, redis, { ...settings, dialect, client: packed ? { parser: msgpackParser } : {} });
  strays.length = 0;
  try {
    for (const server of servers) if (!server.alive) await server.start();
    await within(run(context), "the end of the scenario", ms);
    for (const server of servers) if (!server.alive) throw new Error(`${server.name} has exited\n${server.log}`);
    if (strays.length > 0) throw strays[0];
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    context.close();
  }
}

function report(title, failure) {
  counts[failure ? "failed" : "passed"] += 1;
  console.log(`${failure ? "FAIL" : "ok  "} ${title}`);
  if (failure) console.log((failure.stack ?? failure.message).replace(/^/gm, "     "));
}
