// What is off by default: compression of both transports, and serving the client's script.

import assert from "node:assert/strict";
import { endpoint, request } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";

/** Longer than the size from which Node compresses. */
const LONG = "x".repeat(10_000);

export default theme("defaults", {}, [
  scenario("a long answer to a poll is not compressed", async (t) => {
    const session = await t.rawPolling();
    await session.connect();
    await session.next(); // "auth"
    await session.post(`421["echo","${LONG}"]`);
    const { headers, body } = await request(session.address, { headers: { "Accept-Encoding": "gzip, deflate" } });
    assert.equal(body, `431["${LONG}"]`);
    assert.equal(headers.get("content-encoding"), null);
    await session.post("41");
  }),

  scenario("compression that a WebSocket client offers is not used", async (t) => {
    const socket = await t.rawSocket();
    assert.equal(socket.ws.extensions, "");
    await socket.connect();
    await socket.next(); // "auth"
    socket.send(`421["echo","${LONG}"]`);
    assert.equal(await socket.next(), `431["${LONG}"]`);
  }),

  scenario("the client's script is not served", async (t) => {
    const { pathname } = new URL("socket.io.js", endpoint(t.url, {}));
    const { status, body } = await request(`${t.url}${pathname}`);
    assert.deepEqual([status, JSON.parse(body)], [400, { code: 0, message: "Transport unknown" }]);
  }),
]);
