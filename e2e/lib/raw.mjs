// Engine.IO written by hand, for packets that the official client would never send.

import { WebSocket } from "ws";
import { Mailbox, WAIT_MS, within } from "./wait.mjs";

/** The separator of packets in a polling payload. */
export const SEPARATOR = "\x1e";

/** An HTTP request with a time limit. Resolves to `{ status, headers, body }`. */
export async function request(url, options = {}) {
  const response = await fetch(url, { signal: AbortSignal.timeout(WAIT_MS), ...options });
  return { status: response.status, headers: response.headers, body: await response.text() };
}

/** The URL of the Engine.IO endpoint with a query. */
export function endpoint(url, query) {
  return `${url}/socket.io/?${new URLSearchParams({ EIO: "4", ...query })}`;
}

/** A polling session. */
export class RawPolling {
  #unread = [];

  static async open(url) {
    const session = new RawPolling();
    session.answer = await request(endpoint(url, { transport: "polling" }));
    session.open = JSON.parse(session.answer.body.slice(1));
    session.address = endpoint(url, { transport: "polling", sid: session.open.sid });
    return session;
  }

  get() {
    return request(this.address);
  }

  post(body, headers = {}) {
    return request(this.address, { method: "POST", body, headers });
  }

  /** Resolves to the next packet. Polls when all received packets have been read. */
  async next() {
    while (this.#unread.length === 0) {
      const { status, body } = await this.get();
      if (status !== 200) throw new Error(`the poll was answered with ${status} ${body}`);
      this.#unread = body.split(SEPARATOR);
    }
    return this.#unread.shift();
  }

  /** Joins a namespace (`/` by default) and resolves to the server's answer. */
  async connect(packet = "40") {
    await this.post(packet);
    return this.next();
  }
}

/** A WebSocket connection. Text frames are strings, binary frames are Buffers. */
export class RawSocket {
  #mail = new Mailbox();

  /** Resolves when the WebSocket is open. With `sid` it is the WebSocket of an upgrade. */
  static async open(url, query = {}) {
    const raw = new RawSocket(url, query);
    await within(new Promise((resolve, reject) => raw.ws.once("open", resolve).once("error", reject)), "a WebSocket");
    return raw;
  }

  /** Resolves to the `{ status, body }` with which the server refuses the WebSocket. */
  static refused(url, query) {
    const { ws } = new RawSocket(url, query);
    const answer = new Promise((resolve, reject) => {
      ws.once("open", () => reject(new Error("the WebSocket was accepted")));
      ws.once("unexpected-response", async (_request, response) => {
        const chunks = await response.toArray();
        resolve({ status: response.statusCode, body: Buffer.concat(chunks).toString() });
      });
    });
    return within(answer, "a refusal").finally(() => ws.terminate());
  }

  constructor(url, query) {
    this.ws = new WebSocket(endpoint(url.replace(/^http/, "ws"), { transport: "websocket", ...query }));
    this.ws.on("message", (data, isBinary) => this.#mail.put("frame", isBinary ? data : data.toString()));
    this.ws.on("close", (code) => this.#mail.put("close", code));
    this.ws.on("error", () => {});
  }

  send(...frames) {
    for (const frame of frames) this.ws.send(frame);
  }

  /** Like `send`, but in one write, so that the server most likely reads the frames together. */
  sendAtOnce(...frames) {
    const { _socket: stream } = this.ws;
    stream.cork();
    this.send(...frames);
    stream.uncork();
  }

  next() {
    return this.#mail.next("frame", "a frame");
  }

  takeAll() {
    return this.#mail.takeAll("frame");
  }

  /** Resolves to the close code. */
  closed() {
    return this.#mail.next("close", "the end of the WebSocket");
  }

  /** Reads the open packet, joins a namespace (`/` by default), and resolves to the server's answer. */
  async connect(packet = "40") {
    await this.next();
    this.send(packet);
    return this.next();
  }

  close() {
    this.ws.terminate();
  }
}
