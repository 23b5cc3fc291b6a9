// Uploads and downloads in chunks.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { eventually } from "../lib/wait.mjs";

/** More than the kernel holds for a connection whose client does not read. */
const LARGE = 24 * 1024 * 1024;

/** What may wait in the server for a client: half the soft bound of the outbox, a chunk, and a little for the frames. */
const MOST_WAITING = 640 * 1024;

export default {
  name: "upload",
  checks: {
    async "what was uploaded is what others download"({ connect }) {
      const [ann, bob] = [await connect(), await connect({ transport: "polling" })];
      for (const size of [0, 1, 65_536, 1_000_001]) {
        const bytes = randomBytes(size);
        const id = await upload(ann, bytes);
        for (const one of [ann, bob]) assert.ok(bytes.equals(await download(one, id, size)), `${size} bytes`);
      }
    },

    async "what does not fit is refused, and what is not completed is forgotten"({ connect }) {
      const [ann, bob] = [await connect(), await connect()];
      assert.match((await ann.ask("begin", 2 ** 30)).error, /at most/);
      const { id, chunk } = await ann.ask("begin", 100_000);
      const error = async (client, ...args) => (await client.ask("chunk", ...args)).error;
      assert.equal(await error(ann, id, 5, Buffer.alloc(1)), "expected are the bytes from 0");
      assert.equal(await error(bob, id, 0, Buffer.alloc(1)), "expected are the bytes from 0");
      assert.equal(await error(ann, id, 0, Buffer.alloc(chunk + 1)), "more than was announced");
      assert.equal(await ann.ask("chunk", id, 0, Buffer.alloc(10)), 10);
      assert.equal((await ann.ask("download", id)).error, "the upload is not complete");
      assert.equal((await bob.ask("progress", id)).received, 10);
      for (let more = 0; more < 3; more += 1) assert.ok((await ann.ask("begin", 1)).id);
      assert.match((await ann.ask("begin", 1)).error, /at the same time/);
      ann.close();
      await eventually(async () => (await bob.ask("progress", id)).error === "there is no such file", "the end of the upload");
    },

    async "for a client that reads slowly little waits in the server"({ connect }) {
      const [ann, slow] = [await connect(), await connect()];
      const bytes = randomBytes(LARGE);
      const id = await upload(ann, bytes);
      const socket = slow.manager.engine.transport.ws._socket;
      const got = download(slow, id, LARGE);
      socket.pause();
      let before = -1;
      const stuck = await eventually(async () => {
        const { sent, waiting } = await ann.ask("progress", id);
        const stands = sent > 0 && sent === before && { sent, waiting };
        before = sent;
        return stands;
      }, "the download to wait for its client");
      assert.ok(stuck.sent < LARGE, `all ${stuck.sent} bytes were sent`);
      assert.ok(stuck.waiting <= MOST_WAITING, `${stuck.waiting} bytes wait`);
      socket.resume();
      assert.ok(bytes.equals(await got), "the bytes");
    },
  },
};

async function upload(client, bytes) {
  const { id, chunk } = await client.ask("begin", bytes.length);
  for (let offset = 0; offset < bytes.length; offset += chunk) {
    const end = Math.min(offset + chunk, bytes.length);
    assert.equal(await client.ask("chunk", id, offset, bytes.subarray(offset, end)), end);
  }
  return id;
}

async function download(client, id, size) {
  const received = Buffer.alloc(size);
  const part = (of, offset, bytes) => of === id && bytes.copy(received, offset);
  client.socket.on("part", part);
  const sent = new Promise((resolve) => client.socket.emit("download", id, resolve));
  assert.equal(await sent, size);
  client.socket.off("part", part);
  client.takeAll("part");
  return received;
}
