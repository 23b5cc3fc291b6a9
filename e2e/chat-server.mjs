// The chat of the program roomcast on the npm packages, for `cargo xtask cluster`: the same page and the same three events, in one
// cluster with roomcast servers on the same Redis. Environment: PORT, REDIS_URL.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const page = await readFile(new URL("../crates/roomcast/src/chat.html", import.meta.url));
const http = createServer((request, response) => {
  const found = request.url === "/";
  response.writeHead(found ? 200 : 404, { "Content-Type": "text/html; charset=utf-8" });
  response.end(found ? page : "");
});

const publisher = new Redis(process.env.REDIS_URL);
const io = new Server(http, { adapter: createAdapter(publisher, publisher.duplicate()) });

io.on("connection", (socket) => {
  const members = async (room) => ({ ok: true, room, members: (await io.in(room).fetchSockets()).length });
  const answer = (ack, outcome) =>
    Promise.resolve(outcome)
      .then((value) => ack?.(value))
      .catch((error) => ack?.({ ok: false, error: error.message }));

  socket.on("join", async (room, ack) => {
    await socket.join(room);
    answer(ack, members(room));
  });
  socket.on("leave", async (room, ack) => {
    await socket.leave(room);
    answer(ack, members(room));
  });
  socket.on("publish", (room, event, ...args) => {
    const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
    io.to(room).emit(event, ...args);
    answer(ack, { ok: true });
  });
});

http.listen(Number(process.env.PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${process.env.PORT}`));

for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
