// The official client, with a limit on every wait. It keeps all events until they are read.

import { Manager } from "socket.io-client";
import { Mailbox, WAIT_MS, within } from "./wait.mjs";

/** The transports of the official client, by the name that scenarios use. */
export const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

let fences = 0;

export class Client {
  #events = new Mailbox();
  #life = new Mailbox();

  /**
   * Starts to connect. `nsp`: the namespace. `auth`: the auth payload, as the official client takes it. `transport`: one of TRANSPORTS.
   * `over`: another Client, whose connection is shared. The rest are options of the Manager. It does not reconnect by default.
   */
  constructor(url, { nsp = "/", auth, transport = "websocket", over, ...options } = {}) {
    this.transport = transport;
    this.manager =
      over?.manager ??
      new Manager(url, { transports: TRANSPORTS[transport], reconnection: false, timeout: WAIT_MS, ...options });
    this.socket = this.manager.socket(nsp, { auth });
    this.socket.onAny((name, ...args) => this.#events.put(name, args.filter((arg) => typeof arg !== "function")));
    for (const change of ["connect", "connect_error", "disconnect"]) {
      this.socket.on(change, (detail) => this.#life.put(change, detail));
    }
    this.socket.on("connect_error", (error) => this.#life.put("connect", error));
  }

  get id() {
    return this.socket.id;
  }

  /** Resolves to this client when it is connected and, with the transport "upgrade", has upgraded. */
  async connected() {
    const refused = await this.#life.next("connect", `the connection to ${this.socket.nsp}`);
    if (refused) throw refused;
    if (this.transport === "upgrade") await this.#upgraded();
    return this;
  }

  /** Resolves to the error with which the server, or the network, refused the connection. */
  refused() {
    return this.#life.next("connect_error", `a refusal by ${this.socket.nsp}`);
  }

  /** Resolves to the reason of the next disconnection. */
  disconnected() {
    return this.#life.next("disconnect", `the end of ${this.socket.nsp}`);
  }

  /** Resolves when the official client has reconnected by itself, after any number of failed attempts. */
  async reconnected() {
    while (await this.#life.next("connect", "the reconnection"));
    return this;
  }

  /** Connects again. */
  reconnect() {
    this.#life.takeAll("connect");
    this.socket.connect();
    return this.connected();
  }

  /** Resolves to the arguments of the oldest unread event of this name. */
  next(event) {
    return this.#events.next(event, `the event "${event}"`);
  }

  /** Returns the arguments of all unread events of this name, which then count as read. */
  takeAll(event) {
    return this.#events.takeAll(event);
  }

  send(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /** Emits with an acknowledgement and resolves to its arguments. */
  askAll(event, ...args) {
    const answer = new Promise((resolve) => this.socket.emit(event, ...args, (...answers) => resolve(answers)));
    return within(answer, `the acknowledgement of "${event}"`);
  }

  /** Emits with an acknowledgement and resolves to its first argument. */
  async ask(event, ...args) {
    return (await this.askAll(event, ...args))[0];
  }

  /** Runs a server-side call and resolves to its whole answer, `{ ok }` or `{ error, ... }`. */
  call(name, request = {}) {
    return this.ask("call", { do: name, ...request });
  }

  /** Runs a server-side call that has to succeed, and resolves to its result. */
  async result(name, request = {}) {
    const answer = await this.call(name, request);
    if (!("ok" in answer)) throw new Error(`call ${name} answered ${JSON.stringify(answer)}`);
    return answer.ok;
  }

  /** Has the server emit to a target, seen from this client's namespace. */
  emitTo(target, event, ...args) {
    return this.result("emit", { target, event, args });
  }

  async join(...rooms) {
    for (const room of rooms) await this.ask("join", room);
  }

  /** Acknowledges each event of this name with the result of `answer` for its arguments. */
  answers(event, answer) {
    this.socket.on(event, (...args) => args.pop()(answer(...args)));
  }

  /**
   * Resolves when every given client of this namespace has received everything that the server sent to it before this call. An event that
   * is not among the unread ones then was not sent.
   */
  async fence(...clients) {
    const token = ++fences;
    await this.emitTo({ rooms: clients.map(({ id }) => id) }, "fence", token);
    for (const client of clients) {
      while ((await client.next("fence"))[0] !== token);
    }
  }

  /** Closes the transport without a disconnect, as a broken network would. */
  cut() {
    this.manager.engine.close();
  }

  close() {
    this.socket.disconnect();
  }

  #upgraded() {
    const { engine } = this.manager;
    if (engine.transport.name === "websocket") return;
    return within(new Promise((resolve) => engine.once("upgrade", resolve)), "the upgrade");
  }
}
