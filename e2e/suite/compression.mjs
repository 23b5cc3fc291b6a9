// Compression of both transports, and the files of the client.

import assert from "node:assert/strict";
import { get } from "node:http";
import { endpoint, request } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";

const env = { PER_MESSAGE_DEFLATE: "1", HTTP_COMPRESSION: "1", SERVE_CLIENT: "1" };

/** Text that becomes much smaller. */
const LONG = JSON.stringify(Array.from({ length: 2_000 }, (_, id) => ({ id, name: `user ${id}`, online: true })));

/** The bytes that the server sends while `act` runs. */
async function received({ ws }, act) {
  const { _socket: stream } = ws;
  const before = stream.bytesRead;
  await act();
  return stream.bytesRead - before;
}

/** Has the server emit the long text, with or without the flag. */
async function emitLong(socket, compress) {
  socket.send(`422["call",${JSON.stringify({ do: "emit", target: { compress }, event: "long", args: [LONG] })}]`);
  assert.equal(await socket.next(), `42["long",${JSON.stringify(LONG)}]`);
  await socket.next(); // the acknowledgement
}

function file(t, name) {
  return `${t.url}${new URL(name, endpoint(t.url, {})).pathname}`;
}

export default theme("compression", { env }, [
  scenario("the official client agrees, and gets what was sent", async (t) => {
    const client = await t.connect({ perMessageDeflate: { threshold: 1024 } });
    assert.match(client.manager.engine.transport.ws.extensions, /permessage-deflate/);
    const bytes = Buffer.alloc(50_000, "abc");
    for (const value of [LONG, "short", "", { list: [LONG, 1], nothing: null }, bytes, [bytes, LONG, Buffer.from("x")], "é€😀".repeat(10_000)]) {
      assert.deepEqual(await client.ask("echo", value), value);
    }
  }),

  scenario("a message is smaller on the wire", async (t) => {
    const socket = await t.rawSocket();
    assert.match(socket.ws.extensions, /permessage-deflate/);
    await socket.connect();
    await socket.next(); // "auth"
    const echo = await received(socket, async () => {
      socket.send(`421["echo",${JSON.stringify(LONG)}]`);
      assert.equal(await socket.next(), `431[${JSON.stringify(LONG)}]`);
    });
    assert.ok(echo < LONG.length / 4, `${echo} bytes`);
    const emit = await received(socket, () => emitLong(socket, true));
    assert.ok(emit < LONG.length / 4, `${emit} bytes`);
  }),

  scenario(
    "an event that must not be compressed is not",
    async (t) => {
      const socket = await t.rawSocket();
      await socket.connect();
      await socket.next(); // "auth"
      const emit = await received(socket, () => emitLong(socket, false));
      assert.ok(emit > LONG.length, `${emit} bytes`);
    },
    { differs: true },
  ),

  scenario("each recipient of a broadcast gets it in their form", async (t) => {
    const nsp = t.namespace();
    const clients = await Promise.all([
      t.connect({ nsp }),
      t.connect({ nsp }),
      t.connect({ nsp, perMessageDeflate: false }),
      t.connect({ nsp, query: { b64: "1" } }),
      t.connect({ nsp, transport: "polling" }),
      t.connect({ nsp, transport: "upgrade" }),
    ]);
    const bytes = Buffer.alloc(20_000, "abc");
    await clients[0].emitTo({}, "both", LONG, bytes);
    for (const client of clients) assert.deepEqual(await client.next("both"), [LONG, bytes]);
  }),

  scenario("a message that inflates to more than maxHttpBufferSize closes the connection", async (t) => {
    const socket = await t.rawSocket();
    await socket.connect();
    socket.send(`42["message","${"x".repeat(1_000_001)}"]`);
    assert.equal(await socket.closed(), 1009);
  }),

  scenario("RSV1 on a ping closes the connection", async (t) => {
    const socket = await t.rawSocket();
    await socket.connect();
    socket.ws._socket.write(Buffer.from([0xc9, 0x80, 0, 0, 0, 0]));
    assert.equal(await socket.closed(), 1002);
  }),

  scenario("an offer that is no list of extensions is refused", async (t) => {
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      "Sec-WebSocket-Extensions": ",;permessage-deflate",
    };
    const answer = new Promise((resolve, reject) => {
      const asked = get(endpoint(t.url, { transport: "websocket" }), { headers });
      asked.once("upgrade", () => reject(new Error("the WebSocket was accepted"))).once("error", reject);
      asked.once("response", async (response) => {
        resolve([response.statusCode, Buffer.concat(await response.toArray()).toString()]);
      });
    });
    assert.deepEqual(await answer, [400, "Invalid or unacceptable Sec-WebSocket-Extensions header"]);
  }),

  ...[
    ["gzip", "gzip, deflate, br"],
    ["deflate", "deflate"],
    ["deflate", "deflate, gzip"],
    ["deflate", "gzip;q=0.1, deflate;q=0.9"],
    ["gzip", "*"],
    [null, "br"],
    [null, "gzip;q=0"],
    [null, "identity"],
  ].map(([encoding, accepted]) =>
    scenario(`a long answer to a poll that accepts ${accepted}`, async (t) => {
      const session = await t.rawPolling();
      await session.connect();
      await session.next(); // "auth"
      for (const [text, compressed] of [[LONG, encoding], ["x".repeat(100), null]]) {
        await session.post(`421["echo",${JSON.stringify(text)}]`);
        const { headers, body } = await request(session.address, { headers: { "Accept-Encoding": accepted } });
        assert.equal(body, `431[${JSON.stringify(text)}]`);
        assert.equal(headers.get("content-encoding"), compressed);
        assert.equal(headers.get("cache-control"), "no-store");
      }
      await session.post(`422["call",${JSON.stringify({ do: "emit", target: { compress: false }, event: "long", args: [LONG] })}]`);
      const { headers } = await request(session.address, { headers: { "Accept-Encoding": accepted } });
      // The acknowledgement may leave in the same answer, and may be compressed.
      assert.ok([null, encoding].includes(headers.get("content-encoding")));
      await session.post("41");
    }),
  ),

  ...["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"].map((name) =>
    scenario(`${name} and its map are served`, async (t) => {
      const script = await request(file(t, name), { headers: { "Accept-Encoding": "identity" } });
      assert.deepEqual([script.status, script.headers.get("content-type")], [200, "application/javascript; charset=utf-8"]);
      assert.match(script.body, /^\/\*!\n \* Socket\.IO v4/);
      const map = await request(file(t, `${name}.map`));
      assert.deepEqual([map.status, map.headers.get("content-type")], [200, "application/json; charset=utf-8"]);
      assert.equal(JSON.parse(map.body).version, 3);
      assert.equal(script.headers.get("cache-control"), "public, max-age=0");
      const etag = script.headers.get("etag");
      assert.match(etag, /^".+"$/);
      for (const known of [etag, `W/${etag}`]) {
        const again = await request(file(t, `${name}?v=1`), { headers: { "If-None-Match": known } });
        assert.deepEqual([again.status, again.body], [304, ""]);
      }
      const other = await request(file(t, name), { headers: { "If-None-Match": '"other"', "Accept-Encoding": "gzip" } });
      assert.deepEqual([other.status, other.headers.get("content-encoding")], [200, "gzip"]);
      assert.equal(other.body, script.body);
      const head = await request(file(t, name), { method: "HEAD" });
      assert.deepEqual([head.status, head.headers.get("etag"), head.body], [200, etag, ""]);
    }),
  ),

  scenario("other names below the path are not served", async (t) => {
    for (const name of ["package.json", "socket.io.js.gz", "x/socket.io.js", "socket.io.js%00"]) {
      const { status, body } = await request(file(t, name));
      assert.deepEqual([status, JSON.parse(body)], [400, { code: 0, message: "Transport unknown" }], name);
    }
  }),
]);
