// The context that is passed to a cluster scenario: the servers, clients on each of them, and unique names.

import { Client } from "../lib/client.mjs";
import { startFaultProxy } from "../lib/fault-proxy.mjs";
import { eventually } from "../lib/wait.mjs";

let names = 0;

export class ClusterContext {
  #open = [];

  /** `servers`: running ServerProcesses, each with its `kind` and `name`. `settings`: those of the run. */
  constructor(servers, redis, settings) {
    this.servers = servers;
    this.redis = redis;
    this.settings = settings;
  }

  /** The servers of a kind, `roomcast` or `twin`. */
  of(kind) {
    return this.servers.filter((server) => server.kind === kind);
  }

  /** A connected client of a server. `through`: a proxy to it. For the other options see Client. */
  async connect(server, { through, ...options } = {}) {
    const client = new Client((through ?? server).url, { ...this.settings.client, ...options });
    this.#open.push(client);
    await client.connected();
    client.server = server;
    return client;
  }

  /** A connected client on each server, as soon as every server counts all servers in the namespace. */
  async crowd(options = {}) {
    const { nsp = this.namespace(), ...rest } = options;
    const clients = [];
    for (const server of this.servers) clients.push(await this.connect(server, { nsp, ...rest }));
    await this.met(clients);
    return clients;
  }

  /** Resolves when the server of each client counts `servers` servers, by default all of the cluster. */
  async met(clients, servers = this.servers.length) {
    for (const client of clients) {
      const count = () => client.result("server-count");
      await eventually(async () => (await count()) === servers, `${client.server.name} to count all servers`);
    }
  }

  /** A fault proxy before a server. */
  async proxyTo(server) {
    const proxy = await startFaultProxy(server.url);
    this.#open.push(proxy);
    return proxy;
  }

  room() {
    return `room-${++names}`;
  }

  namespace() {
    return `/dyn-${++names}`;
  }

  close() {
    for (const each of this.#open.splice(0)) each.close();
  }
}

/**
 * A scenario of the whole cluster. `dialects`, `parsers`: the dialects and parsers that it is for. `onCluster`: it is for a Redis Cluster
 * too.
 */
export function scenario(name, run, { ms = 30_000, dialects = /./, parsers = /./, onCluster = true } = {}) {
  return { name, ms, dialects, parsers, onCluster, run: () => [{ name, ms, run }] };
}

/**
 * A scenario that runs once for each server, from which it acts: `run(t, first)` gets the position of that server. `besides`: not for the
 * first server.
 */
export function fromEach(name, run, { ms = 30_000, dialects = /./, parsers = /./, onCluster = true, besides = false } = {}) {
  const one = (server, first) => ({ name: `${name}, from ${server.name}`, ms, run: (t) => run(t, first) });
  return { name, ms, dialects, parsers, onCluster, run: (servers) => servers.map(one).slice(besides ? 1 : 0) };
}

/** Splits `clients` into the one at position `first` and the others: `[client, others]`. */
export function split(clients, first) {
  return [clients[first], clients.filter((_, position) => position !== first)];
}

/** The unread events of a name of each client, after a fence of `caller`, which has published them. */
export async function heard(caller, clients, event) {
  await caller.fence(...clients);
  return clients.map((client) => client.takeAll(event));
}
