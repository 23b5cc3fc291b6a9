// The chat under axum: a login by HTTP, a token for the sockets, messages in a database.

import assert from "node:assert/strict";
import { join } from "node:path";
import { request } from "../lib/raw.mjs";

/** How many messages one who joins gets, as examples/chat/main.rs says. */
const HISTORY = 50;

export default {
  name: "chat",
  env: (files) => ({ SECRET: "only for this test", DATABASE: join(files, "chat.redb") }),
  checks: {
    async "a login is needed, by HTTP and by the socket"({ server, client, connect }) {
      for (const name of ["", "x".repeat(33)]) assert.equal((await login(server, name)).status, 422);
      const refusal = { message: "not authorized", data: { login: "/login" } };
      const token = await tokenOf(server, "ann");
      const [head, body, mark] = token.split(".");
      // Signed with another key, and not signed at all.
      const unsigned = `${Buffer.from('{"alg":"none","typ":"JWT"}').toString("base64url")}.${body}.`;
      const forged = `${head}.${body}.${mark.startsWith("A") ? "B" : "A"}${mark.slice(1)}`;
      for (const auth of [undefined, { token: "" }, { token: forged }, { token: unsigned }]) {
        const { message, data } = await client({ auth }).refused();
        assert.deepEqual({ message, data }, refusal);
        assert.equal((await history(server, "lobby", auth?.token)).status, 401);
      }
      await connect({ auth: { token } });
      assert.equal((await history(server, "lobby", token)).status, 200);
    },

    async "what is said is heard, kept, and read by HTTP too"({ server, connect }) {
      const [ann, bob] = [await enter(server, connect, "ann"), await enter(server, connect, "bob", "polling")];
      assert.deepEqual(await ann.ask("say", "garden", "too early"), { ok: false, error: "join the room first" });
      assert.deepEqual(await ann.ask("join", "garden"), []);
      assert.deepEqual(await bob.ask("join", "garden"), []);
      const { at, ...said } = await ann.ask("say", "garden", "é 😀");
      assert.deepEqual(said, { number: 1, from: "ann", text: "é 😀" });
      assert.ok(Math.abs(Date.now() - at) < 60_000, "the time of the message");
      assert.deepEqual(await bob.next("said"), ["garden", { ...said, at }]);
      assert.equal((await bob.ask("say", "garden", "")).ok, false);
      assert.equal((await bob.ask("say", "garden", "x".repeat(2001))).ok, false);
      assert.equal((await bob.ask("say", "garden", "yes")).number, 2);
      assert.equal((await ann.next("said"))[1].from, "bob");
      const read = JSON.parse((await history(server, "garden", ann.socket.auth.token)).body);
      assert.deepEqual(read.map(({ text }) => text), ["é 😀", "yes"]);
      assert.deepEqual(JSON.parse((await history(server, "elsewhere", ann.socket.auth.token)).body), []);
    },

    async "whoever comes later gets the last messages, also after a restart"({ server, connect }) {
      const ann = await enter(server, connect, "ann", "websocket", { reconnection: true, reconnectionDelay: 10 });
      await ann.ask("join", "hall");
      for (let number = 1; number <= HISTORY + 10; number += 1) await ann.ask("say", "hall", `message ${number}`);
      await server.end();
      await server.start();
      await ann.reconnected();
      const last = await ann.ask("join", "hall");
      assert.deepEqual(last.map(({ number }) => number), Array.from({ length: HISTORY }, (_, i) => i + 11));
      assert.equal(last.at(-1).text, `message ${HISTORY + 10}`);
      assert.equal((await ann.ask("say", "hall", "back")).number, HISTORY + 11);
    },
  },
};

const login = (server, name) =>
  request(`${server.url}/login`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) });

async function tokenOf(server, name) {
  return JSON.parse((await login(server, name)).body).token;
}

function history(server, room, token) {
  return request(`${server.url}/history/${room}`, { headers: token === undefined ? {} : { Authorization: `Bearer ${token}` } });
}

async function enter(server, connect, name, transport = "websocket", options = {}) {
  return connect({ auth: { token: await tokenOf(server, name) }, transport, ...options });
}
