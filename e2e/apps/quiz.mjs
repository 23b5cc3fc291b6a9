// A pub quiz, as one writes it with socket.io: players in teams, a host, and tables to chat at, on one server or on several that share a
// Redis. Its port to Rust is examples/quiz/main.rs, docs/porting.md compares the two, and run-port.mjs runs the same scenarios on both.
//
// Environment: HOST, PORT, REDIS_URL, SERVER_NAME.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const { HOST = "127.0.0.1", PORT = "3000", REDIS_URL, SERVER_NAME = "quiz" } = process.env;

/** The longest name of a player or a team, in characters. */
const NAME_LENGTH = 20;

/** How long players may think about a question, and how long a whisper may take, in ms. */
const THINKING_MS = 1_000;
const WHISPER_MS = 500;

const http = createServer((_request, response) => response.writeHead(404).end());
const redis = REDIS_URL && new Redis(REDIS_URL);
const io = new Server(http, {
  path: "/quiz/",
  pingInterval: 10_000,
  maxHttpBufferSize: 100_000,
  cors: { origin: "http://quiz.example" },
  adapter: redis && createAdapter(redis, redis.duplicate()),
});

/** The points of each team. Every server has all of them: the server that gives points tells the others. */
const scores = new Map();

/** The tables at which somebody has been on this server. */
const used = new Set();

// --- players ---

io.use((socket, next) => {
  const { name, token } = socket.handshake.auth;
  if (token !== "player") return next(refusal("wrong token", 401));
  if (!isName(name)) return next(refusal(`a name has 1 to ${NAME_LENGTH} characters`, 400));
  socket.data = { name, language: socket.handshake.query.language ?? "en" };
  next();
});

io.use(async (socket, next) => {
  const namesakes = await io.in(`player ${socket.data.name}`).fetchSockets();
  next(namesakes.length > 0 ? refusal("the name is taken", 409) : undefined);
});

io.on("connection", (socket) => {
  const { name } = socket.data;
  let count = 0;
  socket.onAny(() => (count += 1));

  // A muted player's events are not handled, except these.
  socket.use(([event], next) => {
    const allowed = !socket.rooms.has("muted") || ["count", "quit"].includes(event);
    next(allowed ? undefined : new Error(`you are muted: ${event}`));
  });
  socket.on("error", (error) => socket.emit("refused", error.message));

  socket.join(`player ${name}`);
  socket.emit("welcome", { name, language: socket.data.language, scores: Object.fromEntries(scores) });
  socket.broadcast.emit("arrived", name);

  // Works once: a second "ready" is not answered.
  socket.once("ready", (ack) => ack("go"));

  socket.on("team", answering(async (team) => {
    if (!isName(team)) throw new Error(`a team's name has 1 to ${NAME_LENGTH} characters`);
    for (const room of teamsOf(socket)) socket.leave(room);
    await socket.join(`team ${team}`);
    socket.to(`team ${team}`).emit("teammate", name);
    const members = await io.in(`team ${team}`).fetchSockets();
    return { ok: true, members: members.map((member) => member.data.name).sort() };
  }));

  // Two handlers of one event. The first needs its `if`: to Node, a list without rooms means everybody.
  socket.on("say", (text) => {
    if (teamsOf(socket).length > 0) io.to(teamsOf(socket)).emit("said", name, text);
  });
  socket.on("say", (_text, ack) => ack?.(teamsOf(socket).length));

  socket.on("typing", () => {
    for (const team of teamsOf(socket)) socket.to(team).volatile.emit("typing", name);
  });

  socket.on("photo", (caption, bytes, ack) => {
    for (const team of teamsOf(socket)) socket.to(team).compress(false).emit("photo", name, caption, bytes);
    ack({ bytes: bytes.length });
  });

  // "quiet" players hear no shouts.
  socket.on("quiet", (on, ack) => {
    if (on) socket.join("quiet");
    else socket.leave("quiet");
    ack([...socket.rooms].filter((room) => room !== socket.id).sort());
  });
  socket.on("shout", (text) => io.except(["quiet", "muted"]).emit("shout", name, text));
  socket.on("shout to others", (text) => socket.except("quiet").emit("shout", name, text));

  socket.on("whisper", answering(async (to, text) => {
    try {
      const [answer] = await io.to(`player ${to}`).timeout(WHISPER_MS).emitWithAck("whisper", name, text);
      if (answer === undefined) throw new Error(`${to} is not here`);
      return { ok: true, answer };
    } catch (error) {
      throw error.responses ? new Error(`${to} does not answer`) : error;
    }
  }));

  // The server asks back before it lets a player go.
  socket.on("quit", async () => {
    const sure = await socket.timeout(WHISPER_MS).emitWithAck("sure?").catch(() => false);
    if (sure) socket.disconnect(true);
    else socket.emit("stays", name);
  });

  socket.on("count", (ack) => ack(count));
  socket.on("about me", (ack) => {
    const { headers, query, auth } = socket.handshake;
    ack({
      server: SERVER_NAME,
      transport: socket.conn.transport.name,
      connected: socket.connected,
      namespace: socket.nsp.name,
      client: headers["x-client"] ?? null,
      language: query.language ?? null,
      auth: Object.keys(auth).sort(),
      data: socket.data,
    });
  });

  socket.on("disconnecting", () => {
    for (const room of teamsOf(socket)) socket.to(room).emit("teammate left", name);
  });
  socket.on("disconnect", (reason) => io.emit("gone", name, reason));
});

io.on("new_namespace", ({ name }) => name.startsWith("/table-") && used.add(name));
io.on("scored", (team, points) => scores.set(team, points));
io.on("load", (answer) => answer({ server: SERVER_NAME, players: io.of("/").sockets.size }));

// --- the host ---

const host = io.of("/host");
host.use((socket, next) => next(socket.handshake.auth.token === "host" ? undefined : refusal("wrong token", 401)));
host.on("connection", (socket) => {
  // Asks all players and answers with what they say, also if some say nothing.
  socket.on("ask", answering(async (question) => {
    const players = io.timeout(THINKING_MS);
    const { answers, all } = await players.emitWithAck("question", question).then(
      (answers) => ({ answers, all: true }),
      (error) => ({ answers: error.responses, all: false }),
    );
    return { ok: true, answers: answers.sort(), all };
  }));

  socket.on("score", answering(async (team, points) => {
    if (!Number.isInteger(points)) throw new Error("points are whole numbers");
    scores.set(team, (scores.get(team) ?? 0) + points);
    if (redis) io.serverSideEmit("scored", team, scores.get(team));
    io.emit("scores", Object.fromEntries(scores));
    host.volatile.emit("scores", Object.fromEntries(scores));
    return { ok: true };
  }));

  // All of one team go over to another, wherever they are connected. They are told first: with Redis, they join a moment later.
  socket.on("merge", (from, to, ack) => {
    io.to([`team ${from}`, `team ${to}`]).emit("merged", from, to);
    io.in(`team ${from}`).socketsJoin(`team ${to}`);
    io.in(`team ${to}`).socketsLeave(`team ${from}`);
    ack();
  });

  socket.on("mute", answering(async (name) => {
    const [player] = await io.in(`player ${name}`).fetchSockets();
    if (!player) throw new Error(`${name} is not here`);
    const rooms = [...player.rooms].filter((room) => room !== player.id).sort();
    player.join("muted");
    player.emit("muted");
    return { ok: true, name: player.data.name, rooms };
  }));
  socket.on("unmute all", (ack) => {
    io.in("muted").socketsLeave("muted");
    ack();
  });

  socket.on("kick", answering(async (name) => {
    const players = await io.in(`player ${name}`).fetchSockets();
    for (const player of players) {
      player.emit("kicked");
      player.disconnect(true);
    }
    return { ok: true, kicked: players.length };
  }));
  socket.on("close team", (team, ack) => {
    io.in(`team ${team}`).disconnectSockets();
    ack();
  });

  // To some teams but not to one of their players, to the players of this server, to everybody.
  socket.on("tell teams", (teams, exceptFor, text, ack) => {
    io.to(teams.map((team) => `team ${team}`)).except(`player ${exceptFor}`).emit("told", text);
    ack();
  });
  socket.on("tell here", (text, ack) => {
    io.local.emit("told", text);
    ack();
  });
  socket.on("tell all", (text, ack) => {
    io.send(text);
    io.of("/").local.emit("told", text);
    ack();
  });

  socket.on("tell tables", (text, ack) => {
    tables.emit("told", text);
    ack();
  });

  // A player of this server is asked directly, without the cluster.
  socket.on("poke", answering(async (name) => {
    const player = [...io.of("/").sockets.values()].find(({ data }) => data.name === name);
    if (!player) throw new Error(`${name} is not on this server`);
    return { ok: true, answer: await player.timeout(WHISPER_MS).emitWithAck("poke") };
  }));

  socket.on("servers", answering(async () => {
    const others = redis ? await io.serverSideEmitWithAck("load") : [];
    const rooms = [...io.of("/").adapter.rooms.keys()].filter((room) => room.startsWith("team "));
    const here = { players: io.of("/").sockets.size, clients: io.engine.clientsCount, teams: rooms.sort(), tables: [...used].sort() };
    return { ok: true, others, here };
  }));
});

// --- tables: a namespace for each, which exists once somebody sits at it ---

const tables = io.of(/^\/table-\d{1,3}$/);
tables.use((socket, next) => next(socket.handshake.auth.name ? undefined : refusal("who are you?", 400)));
tables.on("connection", (socket) => {
  const { nsp: table } = socket;
  const { name } = socket.handshake.auth;
  table.emit("sits down", table.name, name);
  socket.on("message", (text) => socket.broadcast.emit("heard", name, text));
  socket.on("count", async (ack) => ack((await table.fetchSockets()).length));
  socket.on("stand up", () => socket.disconnect());
  socket.on("disconnect", (reason) => table.emit("stands up", name, reason));
});

// --- helpers ---

function isName(name) {
  return typeof name === "string" && name.length >= 1 && name.length <= NAME_LENGTH;
}

function teamsOf(socket) {
  return [...socket.rooms].filter((room) => room.startsWith("team ")).sort();
}

function refusal(message, code) {
  return Object.assign(new Error(message), { data: { code } });
}

/** A handler whose result, or error, is the acknowledgement. */
function answering(handler) {
  return async (...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : () => {};
    try {
      ack(await handler(...args));
    } catch (error) {
      ack({ ok: false, error: error.message });
    }
  };
}

// --- start and end ---

http.listen(Number(PORT), HOST, () => console.log(`listening on http://${HOST}:${http.address().port}`));
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, async () => {
    await io.close();
    process.exit(0);
  });
}
