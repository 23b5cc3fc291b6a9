// The parts of a suite file: a theme, its scenarios, and the context that is passed to each scenario.

import { Client } from "./client.mjs";
import { RawPolling, RawSocket } from "./raw.mjs";

/** How long a scenario may take, in ms: enough for several waits that each come close to their limit. */
const SCENARIO_MS = 30_000;

/** Scenarios that share a server. It is started with the settings in `env`. */
export function theme(name, { env = {} }, scenarios) {
  return { name, env, scenarios };
}

/**
 * A scenario. `adapters`: the values of ADAPTER for which its result is guaranteed, if not all. `differs`: Node's server behaves
 * differently, for which docs/protocol.md, section 4, has a row.
 */
export function scenario(name, run, { ms = SCENARIO_MS, adapters, differs = false } = {}) {
  return { name, run, ms, adapters, differs };
}

let names = 0;

/** Opens the connections of a scenario and closes them afterwards. */
export class Context {
  #open = [];

  constructor(server, { clients }) {
    this.server = server;
    this.crowd = clients;
  }

  get url() {
    return this.server.url;
  }

  /** A client that has started to connect. For the options see Client. */
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

  /** The name of a room that no other scenario uses. */
  room() {
    return `room-${++names}`;
  }

  /** The name of a dynamic namespace that no other scenario uses, so that only sockets of this scenario are in it. */
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
