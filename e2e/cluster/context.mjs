// What a cluster scenario is given: the servers, clients on each of them, and names that nobody else uses.

import { Client } from "../lib/client.mjs";
import { eventually } from "../lib/wait.mjs";

let names = 0;

export class ClusterContext {
  #open = [];

  /** `servers` are running ServerProcesses, each with its `kind` and `name`; `settings` those of the run. */
  constructor(servers, redis, settings) {
    this.servers = servers;
    this.redis = redis;
    this.settings = settings;
  }

  /** The kinds of the servers are `roomcast` and `twin`. */
  of(kind) {
    return this.servers.filter((server) => server.kind === kind);
  }

  /** A connected client of one server. For the options see Client. */
  async connect(server, options) {
    const client = new Client(server.url, options);
    this.#open.push(client);
    await client.connected();
    client.server = server;
    return client;
  }

  /** One connected client on each server, once every server counts all the others in the namespace. */
  async crowd(options = {}) {
    const { nsp = this.namespace(), ...rest } = options;
    const clients = [];
    for (const server of this.servers) clients.push(await this.connect(server, { nsp, ...rest }));
    await this.met(clients);
    return clients;
  }

  /** Resolves when each client's server counts as many servers as there are. */
  async met(clients, servers = this.servers.length) {
    for (const client of clients) {
      const count = () => client.result("server-count");
      await eventually(async () => (await count()) === servers, `${client.server.name} to count all servers`);
    }
  }

  room() {
    return `room-${++names}`;
  }

  namespace() {
    return `/dyn-${++names}`;
  }

  close() {
    for (const client of this.#open.splice(0)) client.close();
  }
}

/** A scenario of the whole cluster, in the dialects that match; `onCluster`: on a Redis Cluster too. */
export function scenario(name, run, { ms = 30_000, dialects = /./, onCluster = true } = {}) {
  return { name, ms, dialects, onCluster, run: () => [{ name, ms, run }] };
}

/** The same scenario once for each server, which begins what is done: `run(t, first)` with its position. */
export function fromEach(name, run, { ms = 30_000, dialects = /./, onCluster = true } = {}) {
  const one = (server, first) => ({ name: `${name}, from ${server.name}`, ms, run: (t) => run(t, first) });
  return { name, ms, dialects, onCluster, run: (servers) => servers.map(one) };
}

/** `clients` with the one at `first` taken out: `[it, the others]`. */
export function split(clients, first) {
  return [clients[first], clients.filter((_, position) => position !== first)];
}

/** What each client has unread of an event, after a fence of `caller`, which published it. */
export async function heard(caller, clients, event) {
  await caller.fence(...clients);
  return clients.map((client) => client.takeAll(event));
}
