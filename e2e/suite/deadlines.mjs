// Two timeouts: for the first namespace of a connection, and for an upgrade that was begun. heartbeat.mjs has the third.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";

export default theme("deadlines", { env: { CONNECT_TIMEOUT_MS: "700", UPGRADE_TIMEOUT_MS: "700" } }, [
  scenario("websocket: a connection that joins no namespace is closed", async (t) => {
    const socket = await t.rawSocket();
    assert.equal(await socket.closed(), 1005);
    assert.equal(socket.takeAll().length, 1);
  }),

  scenario("polling: a connection that joins no namespace is closed", async (t) => {
    const session = await t.rawPolling();
    assert.equal(await session.next(), "1");
    assert.equal((await session.get()).body, '{"code":1,"message":"Session ID unknown"}');
  }),

  scenario("a connection whose only namespace refused it is closed", async (t) => {
    const socket = await t.rawSocket();
    assert.equal(await socket.connect("40/nope,"), '44/nope,{"message":"Invalid namespace"}');
    assert.equal(await socket.closed(), 1005);
  }),

  scenario("a connection that has joined a namespace is not closed", async (t) => {
    const [joined, empty] = [await t.rawSocket(), await t.rawSocket()];
    await joined.connect();
    await joined.next(); // "auth"
    // Both were opened at the same time. When the one without a namespace is closed, the timeout of the other has passed too, or passes
    // within the time that this answer takes.
    await empty.closed();
    joined.send('421["echo","still here"]');
    assert.equal(await joined.next(), '431["still here"]');
    const later = await t.rawSocket();
    await later.closed();
    joined.send('422["echo","still here"]');
    assert.equal(await joined.next(), '432["still here"]');
  }),

  scenario("an upgrade that is not completed is given up, and the polling session continues", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    const socket = await t.rawSocket({ sid: session.open.sid });
    socket.send("2probe");
    assert.equal(await socket.next(), "3probe");
    assert.equal(await socket.closed(), 1005);
    await session.post('421["echo","still here"]');
    let packet;
    while ((packet = await session.next()) === "6");
    assert.equal(packet, '431["still here"]');
  }),
]);
