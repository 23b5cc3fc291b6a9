// Engine.IO over WebSocket, written by hand: the handshake, refusals, and the steps of an upgrade.

import assert from "node:assert/strict";
import { RawSocket } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";

// A polling session that has joined "/" and read everything, and the WebSocket for its upgrade.
async function halfway(t) {
  const session = await t.rawPolling();
  await session.connect();
  assert.equal(await session.next(), '42["auth",{}]');
  const socket = await t.rawSocket({ sid: session.open.sid });
  return { session, socket };
}

// Asserts that the polling session still handles events. Noops that arrive before the answer are skipped.
async function assertPolls(session) {
  await session.post('429["echo","still polling"]');
  let packet;
  while ((packet = await session.next()) === "6");
  assert.equal(packet, '439["still polling"]');
}

export default theme("raw websocket", {}, [
  scenario("the handshake has the right fields, in order", async (t) => {
    const socket = await t.rawSocket();
    const frame = await socket.next();
    assert.equal(frame[0], "0");
    const open = JSON.parse(frame.slice(1));
    assert.deepEqual(Object.keys(open), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
    assert.deepEqual(open.upgrades, []);
    assert.equal(open.maxPayload, 1_000_000);
  }),

  scenario("an unknown transport and an unknown session are refused", async (t) => {
    const unknown = { status: 400, body: "Session ID unknown" };
    assert.deepEqual(await RawSocket.refused(t.url, { sid: "A".repeat(20) }), unknown);
    assert.deepEqual(await RawSocket.refused(t.url, { sid: "__proto__" }), unknown);
    assert.deepEqual(await RawSocket.refused(t.url, { transport: "nope" }), { status: 400, body: "Transport unknown" });
  }),

  scenario("binary frames are bytes, text frames are text", async (t) => {
    const socket = await t.rawSocket();
    await socket.connect();
    await socket.next(); // "auth"
    socket.send('451-1["echo",{"_placeholder":true,"num":0}]', Buffer.from([0, 255]));
    assert.deepEqual([await socket.next(), await socket.next()], [
      '461-1[{"_placeholder":true,"num":0}]',
      Buffer.from([0, 255]),
    ]);
  }),

  scenario("a WebSocket ping is answered", async (t) => {
    const socket = await t.rawSocket();
    const pong = new Promise((resolve) => socket.ws.once("pong", resolve));
    socket.ws.ping("payload");
    assert.equal((await pong).toString(), "payload");
  }),

  scenario("close and noop packets of the client are ignored", async (t) => {
    const socket = await t.rawSocket();
    await socket.connect();
    await socket.next(); // "auth"
    socket.send("1", "6", "0", "5", "3", '421["echo","still here"]');
    assert.equal(await socket.next(), '431["still here"]');
  }),

  ...["2", "2probe", "x", "9", ""].map((frame) =>
    scenario(`closes: the frame ${JSON.stringify(frame)}`, async (t) => {
      const socket = await t.rawSocket();
      await socket.connect();
      socket.send(frame);
      assert.equal(await socket.closed(), 1005);
    }),
  ),

  scenario("an upgrade step by step", async (t) => {
    const { session, socket } = await halfway(t);
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    socket.send("5", '421["whoami"]');
    const answer = await socket.next();
    assert.match(answer, /^431\[/);
    assert.equal(JSON.parse(answer.slice(3))[0].transport, "websocket");
    const { status, body } = await session.get();
    assert.deepEqual([status, body], [400, '{"code":3,"message":"Bad request"}']);
  }),

  scenario("a poll that is pending when the upgrade begins is answered with a noop", async (t) => {
    const { session, socket } = await halfway(t);
    const held = session.get();
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    assert.equal((await held).body, "6");
    socket.send("5", '421["echo","after"]');
    assert.equal(await socket.next(), '431["after"]');
  }),

  scenario("packets that are queued at the upgrade leave over the WebSocket", async (t) => {
    const { session, socket } = await halfway(t);
    await session.post('421["echo","before"]');
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    socket.send("5");
    assert.equal(await socket.next(), '431["before"]');
  }),

  ...["3probe", "2", "42[]", '40', "rubbish", Buffer.from([1])].map((frame) =>
    scenario(`an invalid probe closes only the WebSocket: ${JSON.stringify(frame)}`, async (t) => {
      const { session, socket } = await halfway(t);
      socket.send(frame);
      assert.equal(await socket.closed(), 1005);
      await assertPolls(session);
    }),
  ),

  scenario("the session keeps polling if the probe disconnects", async (t) => {
    const { session, socket } = await halfway(t);
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    socket.close();
    await assertPolls(session);
  }),

  scenario("a second WebSocket of a session is closed", async (t) => {
    const { session, socket } = await halfway(t);
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    const second = await t.rawSocket({ sid: session.open.sid });
    assert.ok([1005, 1006].includes(await second.closed()));
    assert.deepEqual(second.takeAll(), []);
    socket.send("5", '421["echo","first"]');
    assert.equal(await socket.next(), '431["first"]');
    const third = await t.rawSocket({ sid: session.open.sid });
    assert.ok([1005, 1006].includes(await third.closed()));
    socket.send('422["echo","still first"]');
    assert.equal(await socket.next(), '432["still first"]');
  }),
]);
