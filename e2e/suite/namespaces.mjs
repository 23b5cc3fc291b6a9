// Fixed, guarded, dynamic and unknown namespaces, and several namespaces over one connection.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

export default theme("namespaces", {}, [
  scenario("a custom namespace", async (t) => {
    const client = await t.connect({ nsp: "/custom", auth: { user: "é 😀" } });
    assert.deepEqual(await client.next("auth"), [{ user: "é 😀" }]);
  }),

  scenario("dynamic namespaces are separate from each other", async (t) => {
    const [one, two] = [t.namespace(), t.namespace()];
    const [a, b] = [await t.connect({ nsp: one }), await t.connect({ nsp: two })];
    for (const client of [a, b]) await client.join("same name");
    a.send("pub", "same name", 1, "for one");
    assert.deepEqual(await a.next("msg"), [1, "for one"]);
    await b.fence(b);
    assert.deepEqual(b.takeAll("msg"), []);
    assert.deepEqual((await b.result("fetch-sockets")).map(({ id }) => id), [b.id]);
  }),

  unknown("/nope"),
  unknown("/dyn-"),
  unknown("/dyn-x"),
  unknown("/dyn-1x"),
  unknown("/x/dyn-1"),
  unknown("/custom/"),
  unknown("/Custom"),
  unknown("/é 😀"),

  scenario("several namespaces over one connection", async (t) => {
    const [one, two] = [t.namespace(), t.namespace()];
    const root = await t.connect();
    const others = await Promise.all([one, two, "/custom"].map((nsp) => t.connect({ nsp, over: root })));
    const ids = new Set([root, ...others].map(({ id }) => id));
    assert.equal(ids.size, 4);
    const bytes = Buffer.from([1, 2, 3]);
    for (const client of [root, others[0], others[1]]) {
      const mine = { nsp: client.socket.nsp, bytes };
      assert.deepEqual(await client.ask("echo", mine), mine);
    }
  }),

  scenario("a refusal does not affect the other namespaces of the connection", async (t) => {
    const root = await t.connect();
    const refused = t.client({ nsp: "/nope", over: root });
    assert.equal((await refused.refused()).message, "Invalid namespace");
    const guarded = t.client({ nsp: "/guarded", over: root });
    assert.equal((await guarded.refused()).message, "not authorized");
    assert.equal(await root.ask("echo", "still here"), "still here");
  }),

  scenario("leaving a namespace keeps the others, and joining it again gives a new id", async (t) => {
    const root = await t.connect();
    const other = await t.connect({ nsp: t.namespace(), over: root });
    const before = other.id;
    await other.join("room");
    other.socket.disconnect();
    assert.equal(await other.disconnected(), "io client disconnect");
    assert.equal(await root.ask("echo", "still here"), "still here");
    await other.reconnect();
    assert.notEqual(other.id, before);
    assert.deepEqual((await other.ask("whoami")).rooms, [other.id]);
  }),

  scenario("a client that leaves is no longer in its namespace", async (t) => {
    const nsp = t.namespace();
    const [stays, goes] = await t.connectMany(2, { nsp });
    goes.close();
    const left = await eventually(async () => {
      const sockets = await stays.result("fetch-sockets");
      return sockets.length === 1 && sockets;
    }, "the end of the other socket");
    assert.equal(left[0].id, stays.id);
  }),
]);

function unknown(nsp) {
  return scenario(`unknown: ${nsp}`, async (t) => {
    const error = await t.client({ nsp }).refused();
    assert.equal(error.message, "Invalid namespace");
    assert.equal(error.data, undefined);
  });
}
