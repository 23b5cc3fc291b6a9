// Engine.IO over HTTP, written by hand: the handshake, refusals, and a polling session from beginning to end.

import assert from "node:assert/strict";
import { endpoint, request, SEPARATOR } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const UNKNOWN_SESSION = '{"code":1,"message":"Session ID unknown"}';

const REFUSALS = [
  ["no transport", {}, {}, '{"code":0,"message":"Transport unknown"}'],
  ["an unknown transport", { transport: "carrier-pigeon" }, {}, '{"code":0,"message":"Transport unknown"}'],
  ["a property of every object", { transport: "constructor" }, {}, '{"code":0,"message":"Transport unknown"}'],
  ["an unknown session", { transport: "polling", sid: "A".repeat(20) }, {}, UNKNOWN_SESSION],
  ["__proto__ as the session", { transport: "polling", sid: "__proto__" }, {}, UNKNOWN_SESSION],
  ["a POST to an unknown session", { transport: "polling", sid: "nope" }, { method: "POST", body: "40" }, UNKNOWN_SESSION],
  ["a handshake by POST", { transport: "polling" }, { method: "POST", body: "" }, '{"code":2,"message":"Bad handshake method"}'],
  ["a handshake by OPTIONS", { transport: "polling" }, { method: "OPTIONS" }, '{"code":2,"message":"Bad handshake method"}'],
  ["websocket without an upgrade", { transport: "websocket" }, {}, '{"code":3,"message":"Bad request"}'],
  ["protocol 3", { EIO: "3", transport: "polling" }, {}, '{"code":5,"message":"Unsupported protocol version"}'],
  ["protocol 5", { EIO: "5", transport: "polling" }, {}, '{"code":5,"message":"Unsupported protocol version"}'],
];

// Asserts that the session no longer exists.
async function assertClosed(session) {
  const { status, body } = await session.get();
  assert.deepEqual([status, body], [400, UNKNOWN_SESSION]);
}

export default theme("raw http", {}, [
  scenario("the handshake has the right fields, in order, and the right headers", async (t) => {
    const { answer, open } = await t.rawPolling();
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get("content-type"), /^text\/plain; charset=utf-8$/i);
    assert.equal(answer.headers.get("cache-control"), "no-store");
    assert.equal(answer.headers.get("content-length"), String(answer.body.length));
    assert.equal(answer.headers.get("set-cookie"), null);
    assert.equal(answer.headers.get("access-control-allow-origin"), null);
    assert.equal(answer.body[0], "0");
    assert.deepEqual(Object.keys(open), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
    const { sid, ...rest } = open;
    assert.match(sid, /^[\w-]{20}$/);
    assert.deepEqual(rest, {
      upgrades: ["websocket"],
      pingInterval: 25_000,
      pingTimeout: 20_000,
      maxPayload: 1_000_000,
    });
  }),

  scenario("the Engine.IO id is not the Socket.IO id", async (t) => {
    const session = await t.rawPolling();
    const answer = await session.connect();
    const { sid, ...rest } = JSON.parse(answer.slice(2));
    assert.match(sid, /^[\w-]{20}$/);
    assert.notEqual(sid, session.open.sid);
    assert.deepEqual(rest, {});
  }),

  ...REFUSALS.map(([name, query, options, body]) =>
    scenario(`refused: ${name}`, async (t) => {
      const answer = await request(endpoint(t.url, query), options);
      assert.deepEqual([answer.status, answer.body], [400, body]);
      assert.equal(answer.headers.get("content-type"), "application/json");
    }),
  ),

  scenario("other paths are not served", async (t) => {
    for (const path of ["/", "/socket.io?EIO=4&transport=polling", "/socket.io-admin/?EIO=4&transport=polling"]) {
      assert.equal((await request(t.url + path)).status, 404, path);
    }
    assert.equal((await request(`${t.url}/socket.io/deeper?EIO=4&transport=polling`)).status, 200);
  }),

  scenario("a POST is answered with ok, a GET with the queued packets", async (t) => {
    const session = await t.rawPolling();
    const posted = await session.post("40");
    assert.deepEqual([posted.status, posted.body], [200, "ok"]);
    assert.equal(posted.headers.get("content-type"), "text/html");
    assert.equal(posted.headers.get("cache-control"), "no-store");
    assert.match(await session.next(), /^40\{"sid":"[\w-]{20}"\}$/);
    assert.equal(await session.next(), '42["auth",{}]');
  }),

  scenario("several packets in one payload are handled in order", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    await session.post(['421["echo",1]', '422["echo","é 😀"]', '423["echo",3]'].join(SEPARATOR));
    assert.deepEqual(
      [await session.next(), await session.next(), await session.next()],
      ['431[1]', '432["é 😀"]', '433[3]'],
    );
  }),

  scenario("binary data is sent as base64 in both directions", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    await session.post(['451-1["echo",{"_placeholder":true,"num":0}]', "bAAH/gA=="].join(SEPARATOR));
    assert.deepEqual(
      [await session.next(), await session.next()],
      ['461-1[{"_placeholder":true,"num":0}]', "bAAH/gA=="],
    );
  }),

  ...["", "x", SEPARATOR, "9", "é"].map((body) =>
    scenario(`a malformed payload is answered with ok and closes the session: ${JSON.stringify(body)}`, async (t) => {
      const session = await t.rawPolling();
      await session.connect();
      const answer = await session.post(body);
      assert.deepEqual([answer.status, answer.body], [200, "ok"]);
      await assertClosed(session);
    }),
  ),

  scenario("octet-stream is refused and closes the session", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    const answer = await session.post("40", { "content-type": "application/octet-stream" });
    assert.deepEqual([answer.status, answer.body], [400, ""]);
    await assertClosed(session);
  }),

  scenario("other methods are answered with 500 and do not affect the session", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    for (const method of ["PUT", "DELETE", "OPTIONS"]) {
      const { status, body } = await request(session.address, { method });
      assert.deepEqual([status, body], [500, ""], method);
    }
    await session.post('421["echo","still here"]');
    assert.equal(await session.next(), '431["still here"]');
  }),

  scenario("of two polls at the same time one is answered with 400, the other with a close", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    const answers = await Promise.all([session.get(), session.get()]);
    const seen = answers.map(({ status, body }) => `${status} ${body}`).sort();
    assert.deepEqual(seen, ["200 1", "400 "]);
    await assertClosed(session);
  }),

  scenario("a request of a session with another protocol version is refused", async (t) => {
    const session = await t.rawPolling();
    const { status, body } = await request(session.address.replace("EIO=4", "EIO=3"));
    assert.deepEqual([status, body], [400, '{"code":3,"message":"Bad request"}']);
  }),

  scenario("a close packet of the client closes the session", async (t) => {
    const nsp = t.namespace();
    const session = await t.rawPolling();
    await session.connect(`40${nsp},`);
    assert.equal((await session.post("1")).body, "ok");
    await assertClosed(session);
  }),

  scenario("a close by the server arrives as a DISCONNECT, then as a close with the next poll", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    await session.post('42["call",{"do":"disconnect-self","close":true}]');
    assert.equal(await session.next(), "41");
    assert.deepEqual([await session.next(), await session.next()], ["6", "1"]);
    await assertClosed(session);
  }),

  scenario("a ping of the client closes the session", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    assert.equal((await session.post("2")).body, "ok");
    await assertClosed(session);
  }),

  scenario("open, upgrade, noop and pong packets of the client are ignored", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    for (const packet of ["0", "5", "6", "3"]) assert.equal((await session.post(packet)).body, "ok");
    await session.post('421["echo","still here"]');
    assert.equal(await session.next(), '431["still here"]');
  }),
]);
