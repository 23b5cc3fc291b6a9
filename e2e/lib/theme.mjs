// What a suite file is made of: a theme, its scenarios, and the context that each scenario is given.

import { Client } from "./client.mjs";
import { RawPolling, RawSocket } from "./raw.mjs";

/** How long one whole scenario may take, in ms: several waits that each come close to their bound. */
const SCENARIO_MS = 30_000;

/** Scenarios that share one server, started with the settings in `env`. */
export function theme(name, { env = {} }, scenarios) {
  return { name, env, scenarios };
}

/**
 * One scenario. `adapters` names the values of ADAPTER for which its result is promised, if not for all. `differs` says that
 * Node's server does otherwise: docs/protocol.md, section 4, has a row for it.
 */
export function scenario(name, run, { ms = SCENARIO_MS, adapters, differs = false } = {}) {
  return { name, run, ms, adapters, differs };
}

let names = 0;

/** Opens what a scenario needs and closes it afterwards. */
export class Context {
  #open = [];

  constructor(server, { clients }) {
    this.server = server;
    this.crowd = clients;
  }

  get url() {
    return this.server.url;
  }

  /** A client that has only started to connect. For the options see Client. */
  client(options) {
    return this.#keep(new Client(this.url, options));
  }

  /** A connected client. */
  connect(options) {
    return this.client(options).connected();
  }

  /** Several connected clients with the same options. */
  connectMany(count, options) {
    return Promise.all(Array.from({ length: count }, () => this.connect(options)));
  }

  async rawSocket(query) {
    return this.#keep(await RawSocket.open(this.url, query));
  }

  rawPolling() {
    return RawPolling.open(this.url);
  }

  /** A room that no other scenario uses. */
  room() {
    return `room-${++names}`;
  }

  /** A dynamic namespace that no other scenario uses: exactly this scenario's sockets are in it. */
  namespace() {
    return `/dyn-${++names}`;
  }

  close() {
    for (const each of this.#open.splice(0)) each.close();
  }

  #keep(each) {
    this.#open.push(each);
    return each;
  }
}
