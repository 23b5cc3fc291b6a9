// What compression costs and saves: CPU of the server for an emit, and bytes on the wire for each recipient, with and without
// permessage-deflate, for Node's server and ours: node measure-compression.mjs COMMAND-OF-OUR-SERVER
//
// One client asks the server to emit JSON to a room; recipients are bare TCP connections that only count bytes. CPU is that of the server's
// process, which is read before and after.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const SERVERS = { node: `exec "${process.execPath}" "${join(here, "reference-server.mjs")}"`, ours: `exec ${process.argv[2]}` };

/** Records as an application sends them. */
function json(bytes, seed) {
  const words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima"];
  let state = seed;
  const next = (most) => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) % most;
  const records = [];
  let length = 2;
  while (length < bytes) {
    const text = Array.from({ length: 8 }, () => words[next(words.length)]).join(" ");
    const record = { id: next(1e9), user: `user-${next(5_000)}`, text, at: 1_760_000_000_000 + next(1e9), tags: [words[next(12)], words[next(12)]], read: next(2) === 1 };
    records.push(record);
    length += JSON.stringify(record).length + 1;
  }
  return records;
}

function frame(text) {
  const payload = Buffer.from(text);
  const head = payload.length < 126 ? [0x81, 0x80 | payload.length]
    : payload.length < 65_536 ? [0x81, 0xfe, payload.length >> 8, payload.length & 255]
    : [0x81, 0xff, 0, 0, 0, 0, payload.length >>> 24, (payload.length >> 16) & 255, (payload.length >> 8) & 255, payload.length & 255];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}

/** A WebSocket that offers the extension, joins the room, and counts what it receives. */
async function recipient(port, room) {
  const stream = connect(port, "127.0.0.1").setNoDelay();
  stream.resume();
  // Node closes a connection whose events come in the same read as its CONNECT.
  const step = async (bytes) => {
    stream.write(bytes);
    await quiet(stream);
  };
  await step(
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n`,
  );
  await step(frame("40"));
  await step(frame(`420["join","${room}"]`));
  return stream;
}

/** Resolves when something has been received, and nothing more for a while. */
async function quiet(stream) {
  for (let before = -1; before !== stream.bytesRead || before === 0; ) {
    before = stream.bytesRead;
    await sleep(60);
  }
}

function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000; // microseconds, of ticks of 10 ms
}

async function settled(streams) {
  const sum = () => streams.reduce((sum, { bytesRead }) => sum + bytesRead, 0);
  for (let before = -1; before !== sum(); ) {
    before = sum();
    await sleep(400);
  }
  return sum();
}

async function measure(name, deflate, kilobytes, recipients, port) {
  const env = { ...process.env, PORT: String(port), PER_MESSAGE_DEFLATE: deflate ? "1" : "0", PING_INTERVAL_MS: "600000", MAX_PAYLOAD: "10000000" };
  const child = spawn(SERVERS[name], { shell: true, env, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  try {
    const streams = await Promise.all(Array.from({ length: recipients }, () => recipient(port, "room")));
    const sender = await recipient(port, "other");
    // More than fits a window, or Node would compress a message to a reference to its last time.
    const emits = Array.from({ length: Math.ceil(1_000 / kilobytes) }, (_, seed) => {
      const request = { do: "emit", target: { rooms: ["room"] }, event: "records", args: [json(kilobytes * 1_000, seed + 1)] };
      return frame(`42${seed + 1}["call",${JSON.stringify(request)}]`);
    });
    const run = async (count) => {
      for (let number = 0; number < count; number += 1) {
        const answered = new Promise((resolve) => sender.once("data", resolve));
        sender.write(emits[number % emits.length]);
        await answered;
      }
      return settled(streams);
    };
    const started = await run(32);
    const count = Math.max(100, Math.ceil(10_000 / kilobytes / Math.sqrt(recipients)));
    const before = cpu(child.pid);
    const bytes = (await run(count)) - started;
    const spent = cpu(child.pid) - before;
    return { cpu: spent / count, bytes: Math.round(bytes / count / recipients) };
  } finally {
    child.kill();
    await new Promise((resolve) => child.once("exit", resolve));
  }
}

const sizes = (process.argv[3] ?? "1,10,100").split(",").map(Number);
let port = 24_100 + (process.pid % 500);
for (const recipients of [1, 100]) {
  for (const kilobytes of sizes) {
    const row = [`${kilobytes} kB to ${recipients}`];
    for (const deflate of [false, true]) {
      for (const name of ["node", "ours"]) {
        const { cpu, bytes } = await measure(name, deflate, kilobytes, recipients, (port += 1));
        row.push(`${name}${deflate ? " deflate" : ""}: ${cpu.toFixed(0)} us, ${bytes} bytes`);
      }
    }
    console.log(row.join(" | "));
  }
}
process.exit(0);
