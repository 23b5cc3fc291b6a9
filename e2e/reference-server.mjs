// The conformance server on the real npm packages. roomcast must behave as this server does.
// All settings come from the environment; README.md lists the names. MAX_OUTBOX_BYTES has no effect: Node has no bound.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { Server } from "socket.io";
import msgpackParser from "socket.io-msgpack-parser";
import { openAdapter } from "./lib/redis-adapters.mjs";
import { runCall } from "./lib/calls.mjs";

const env = process.env;
const host = env.HOST ?? "127.0.0.1";
const port = Number(env.PORT ?? 3000);
const serverName = env.SERVER_NAME ?? randomUUID();

/** Default for how long the middleware of /late waits, in ms. */
const LOOK_UP_MS = 20;

const cluster = await openAdapter(env);
const http = createServer((_request, response) => response.writeHead(404).end());
const io = new Server(http, serverOptions());

io.on("new_namespace", answerOtherServers);
io.of("/").on("connection", (socket) => {
  socket.emit("auth", socket.handshake.auth);
  serve(socket);
});
io.of("/custom").on("connection", (socket) => socket.emit("auth", socket.handshake.auth));
io.of("/guarded").use(onlyIf(({ token }) => token === "secret")).on("connection", serve);
io.of(/^\/dyn-\d+$/).use(onlyIf(({ token }) => token !== "no")).on("connection", serve);
io.of("/late").use(afterLookingUp).on("connection", serve);
for (const name of ["/", "/custom", "/guarded", "/late"]) answerOtherServers(io.of(name));

http.listen(port, host, () => console.log(`listening on http://${host}:${http.address().port}`));
process.on("SIGTERM", stop);
process.on("SIGINT", stop);

function serverOptions() {
  const milliseconds = (name, fallback) => Number(env[name] ?? fallback);
  const flag = (name, fallback = "0") => (env[name] ?? fallback) === "1";
  const options = {
    pingInterval: milliseconds("PING_INTERVAL_MS", 25_000),
    pingTimeout: milliseconds("PING_TIMEOUT_MS", 20_000),
    connectTimeout: milliseconds("CONNECT_TIMEOUT_MS", 45_000),
    upgradeTimeout: milliseconds("UPGRADE_TIMEOUT_MS", 10_000),
    maxHttpBufferSize: Number(env.MAX_PAYLOAD ?? 1_000_000),
  };
  if (env.CORS_ORIGIN) {
    const origins = env.CORS_ORIGIN.split(",");
    options.cors = { origin: origins.includes("*") ? "*" : origins };
  }
  const recovery = milliseconds("RECOVERY_MS", 0);
  if (recovery > 0) {
    const skipMiddlewares = flag("RECOVERY_SKIP_MIDDLEWARES", "1");
    options.connectionStateRecovery = { maxDisconnectionDuration: recovery, skipMiddlewares };
  }
  options.perMessageDeflate = flag("PER_MESSAGE_DEFLATE");
  options.serveClient = flag("SERVE_CLIENT");
  // `true` would compress answers of every size; by default Node compresses from 1,024 bytes.
  if (!flag("HTTP_COMPRESSION")) options.httpCompression = false;
  if (cluster.adapter) options.adapter = cluster.adapter;
  switch (env.PARSER ?? "default") {
    case "default":
      break;
    case "msgpack":
      options.parser = msgpackParser;
      break;
    default:
      throw new Error(`unknown PARSER ${env.PARSER}`);
  }
  return options;
}

function onlyIf(allows) {
  return (socket, next) => {
    if (allows(socket.handshake.auth)) return next();
    next(Object.assign(new Error("not authorized"), { data: { code: 401 } }));
  };
}

function afterLookingUp(socket, next) {
  setTimeout(next, socket.handshake.auth.wait ?? LOOK_UP_MS);
}

// Node has no listener for all events of other servers, so the method that receives them is replaced. If an event wants an answer, its
// last argument is the callback.
function answerOtherServers(namespace) {
  namespace._onServerSideEmit = ([event, ...args]) => {
    if (typeof args.at(-1) === "function") return args.at(-1)(serverName);
    namespace.local.emit("server-event", serverName, event, ...args);
  };
}

function serve(socket) {
  const { nsp: namespace } = socket;
  const on = (event, handler) => socket.on(event, handler);

  on("message", (...args) => socket.emit("message-back", ...args));
  on("message-with-ack", (...args) => args.pop()(...args));
  on("echo", (payload, ack) => ack(payload));
  on("join", async (room, ack) => {
    await socket.join(room);
    ack();
  });
  on("leave", async (room, ack) => {
    await socket.leave(room);
    ack();
  });
  on("pub", (room, seq, payload) => namespace.to(room).emit("msg", seq, payload));
  on("whoami", (ack) =>
    ack({
      server: serverName,
      id: socket.id,
      recovered: socket.recovered,
      transport: socket.conn.transport.name,
      rooms: [...socket.rooms],
    }),
  );
  on("burst", (count, bytes, ack) => {
    const text = "x".repeat(bytes);
    for (let number = 0; number < count; number += 1) socket.emit("burst", number, text);
    ack(count);
  });
  on("busy", (ms, ack) => {
    namespace.emit("busy");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    ack();
  });
  on("set-data", (value, ack) => {
    socket.data = value;
    ack();
  });
  on("call", async (request, ack) => {
    const answer = await runCall(socket, request, cluster);
    if (answer) ack(answer);
  });
}

async function stop() {
  await io.close();
  await cluster.close();
  process.exit(0);
}
