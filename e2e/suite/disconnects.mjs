// How connections end, and which reason the client gets.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

const perTransport = Object.keys(TRANSPORTS).flatMap((transport) => [
  scenario(`${transport}: disconnect-self leaves the connection open`, async (t) => {
    const client = await t.connect({ transport });
    const other = await t.connect({ nsp: t.namespace(), over: client });
    client.send("call", { do: "disconnect-self", close: false });
    assert.equal(await client.disconnected(), "io server disconnect");
    assert.equal(client.socket.active, false);
    assert.equal(await other.ask("echo", "still here"), "still here");
    await client.reconnect();
    assert.equal(await client.ask("echo", "back"), "back");
  }),

  scenario(`${transport}: disconnect-self with close closes all namespaces of the connection`, async (t) => {
    const client = await t.connect({ transport });
    const other = await t.connect({ nsp: t.namespace(), over: client });
    other.send("call", { do: "disconnect-self", close: true });
    assert.equal(await other.disconnected(), "io server disconnect");
    assert.equal(await client.disconnected(), "io server disconnect");
    await eventually(() => client.manager.engine.readyState === "closed", "the end of the connection");
  }),

  scenario(`${transport}: events that were sent before disconnect-self still arrive`, async (t) => {
    const client = await t.connect({ transport });
    for (let i = 0; i < 20; i += 1) client.send("message", i);
    client.send("call", { do: "disconnect-self", close: true });
    assert.equal(await client.disconnected(), "io server disconnect");
    assert.deepEqual(
      client.takeAll("message-back").map(([i]) => i),
      Array.from({ length: 20 }, (_, i) => i),
    );
  }),

  scenario(`${transport}: the client disconnects`, async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    const client = await t.connect({ nsp, transport });
    client.socket.disconnect();
    assert.equal(await client.disconnected(), "io client disconnect");
    await gone(witness);
    await client.reconnect();
    assert.equal(await client.ask("echo", "back"), "back");
  }),

  scenario(`${transport}: the client's transport breaks`, async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    const client = await t.connect({ nsp, transport });
    client.cut();
    assert.equal(await client.disconnected(), "forced close");
    await gone(witness);
    await client.reconnect();
    assert.equal(await client.ask("echo", "back"), "back");
  }),
]);

// Waits until the witness is alone in its namespace.
function gone(witness) {
  return eventually(async () => (await witness.result("fetch-sockets")).length === 1, "the witness to be alone");
}

export default theme("disconnects", {}, [
  ...perTransport,

  scenario("a request to a client that disconnects times out", async (t) => {
    const nsp = t.namespace();
    const [asker, victim] = await t.connectMany(2, { nsp });
    const request = { target: { rooms: [victim.id], timeout: 300 }, event: "question" };
    const answer = asker.call("emit-with-ack", request);
    await victim.next("question");
    victim.close();
    assert.deepEqual(await answer, { error: "operation has timed out", answers: [] });
  }),

  scenario("a client that the server disconnected does not reconnect by itself", async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    const client = await t.connect({ nsp, reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 10 });
    client.send("call", { do: "disconnect-self", close: false });
    assert.equal(await client.disconnected(), "io server disconnect");
    await gone(witness);
    assert.equal(client.socket.active, false);
  }),

  scenario("fifty connections that open and close immediately leave no sockets behind", async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    const clients = Array.from({ length: 50 }, (_, i) => {
      return t.client({ nsp, transport: Object.keys(TRANSPORTS)[i % 3] });
    });
    for (const client of clients.slice(0, 25)) client.close();
    await Promise.all(clients.slice(25).map((client) => client.connected()));
    for (const client of clients.slice(25)) client.close();
    await gone(witness);
  }),
]);
