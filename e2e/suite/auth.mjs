// The auth payload and the middleware of /guarded.

import assert from "node:assert/strict";
import { TRANSPORTS } from "../lib/client.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const REFUSED = [undefined, {}, { token: "wrong" }, { token: "Secret" }, { token: ["secret"] }, { token: null }];

export default theme("auth", {}, [
  scenario("the payload arrives as the client gave it", async (t) => {
    for (const auth of [{}, { token: "t" }, { a: { b: [1, null, "é 😀"] }, "": true }, { big: "x".repeat(10_000) }]) {
      const client = await t.connect({ auth });
      assert.deepEqual(await client.next("auth"), [auth]);
    }
  }),

  scenario("without a payload the server has an empty object", async (t) => {
    const client = await t.connect();
    assert.deepEqual(await client.next("auth"), [{}]);
  }),

  scenario("each namespace of a connection has a payload of its own", async (t) => {
    const root = await t.connect({ auth: { for: "/" } });
    const custom = await t.connect({ nsp: "/custom", over: root, auth: { for: "/custom" } });
    assert.deepEqual(await root.next("auth"), [{ for: "/" }]);
    assert.deepEqual(await custom.next("auth"), [{ for: "/custom" }]);
  }),

  scenario("a function for the payload is called for each connection", async (t) => {
    let count = 0;
    const client = await t.connect({ auth: (give) => give({ count: ++count }) });
    assert.deepEqual(await client.next("auth"), [{ count: 1 }]);
    client.socket.disconnect();
    await client.reconnect();
    assert.deepEqual(await client.next("auth"), [{ count: 2 }]);
  }),

  ...Object.keys(TRANSPORTS).map((transport) =>
    scenario(`${transport}: the middleware refuses with data, then accepts the right token`, async (t) => {
      const client = t.client({ nsp: "/guarded", transport, auth: { token: "wrong" } });
      const error = await client.refused();
      assert.equal(error.message, "not authorized");
      assert.deepEqual(error.data, { code: 401 });
      client.socket.auth = { token: "secret" };
      await client.reconnect();
      assert.equal(await client.ask("echo", "inside"), "inside");
    }),
  ),

  scenario("the middleware refuses everything except the right token", async (t) => {
    for (const auth of REFUSED) {
      const error = await t.client({ nsp: "/guarded", auth }).refused();
      assert.deepEqual([error.message, error.data], ["not authorized", { code: 401 }], JSON.stringify(auth));
    }
  }),

  scenario("the middleware of a dynamic namespace refuses a token, even if the namespace has other sockets", async (t) => {
    const nsp = t.namespace();
    for (const inside of [undefined, await t.connect({ nsp, auth: { token: "yes" } })]) {
      const error = await t.client({ nsp, auth: { token: "no" } }).refused();
      assert.deepEqual([error.message, error.data], ["not authorized", { code: 401 }]);
      if (inside) assert.equal((await inside.result("fetch-sockets")).length, 1);
    }
  }),

  scenario("a refused client is in no room and not listed", async (t) => {
    const inside = await t.connect({ nsp: "/guarded", auth: { token: "secret" } });
    const outside = t.client({ nsp: "/guarded", auth: { token: "wrong" } });
    await outside.refused();
    const ids = (await inside.result("fetch-sockets")).map(({ id }) => id);
    assert.deepEqual(ids, [inside.id]);
    await inside.emitTo({}, "for members");
    assert.deepEqual(await inside.next("for members"), []);
    assert.deepEqual(outside.takeAll("for members"), []);
  }),
]);
