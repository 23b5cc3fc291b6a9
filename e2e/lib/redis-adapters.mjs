// The adapter of the reference server, as ADAPTER, REDIS_URL, REDIS_KEY, SUBSCRIPTION_MODE and STREAM_COUNT say.

import { createAdapter as classic, createShardedAdapter as sharded } from "@socket.io/redis-adapter";
import { createAdapter as streams } from "@socket.io/redis-streams-adapter";
import { Cluster, Redis } from "ioredis";

/**
 * Resolves to `{ inMemory, adapter, close }` as soon as Redis answers. `adapter` is the value for the Server option of that name, and
 * undefined for the in-memory adapter.
 */
export async function openAdapter(env) {
  const { ADAPTER = "memory", REDIS_URL } = env;
  if (ADAPTER === "memory") return { inMemory: true, close() {} };
  const create = ADAPTERS[ADAPTER];
  if (!create) throw new Error(`unknown ADAPTER ${ADAPTER}`);
  if (!REDIS_URL) throw new Error(`ADAPTER=${ADAPTER} needs REDIS_URL`);

  const publisher = connect(REDIS_URL, { shardedSubscribers: ADAPTER !== "classic" });
  const subscriber = publisher.duplicate();
  const clients = [publisher, subscriber];
  for (const client of clients) client.on("error", (error) => console.error(`redis: ${error.message}`));
  await Promise.all(clients.map((client) => client.ping()));
  return {
    inMemory: false,
    adapter: create(publisher, subscriber, env),
    close() {
      for (const client of clients) client.disconnect();
    },
  };
}

/** The default key prefix or stream name of all three adapters. */
const KEY = "socket.io";

const ADAPTERS = {
  classic: (publisher, subscriber, { REDIS_KEY = KEY }) => classic(publisher, subscriber, { key: REDIS_KEY }),
  sharded: (publisher, subscriber, { REDIS_KEY = KEY, SUBSCRIPTION_MODE = "dynamic" }) =>
    sharded(publisher, subscriber, { channelPrefix: REDIS_KEY, subscriptionMode: SUBSCRIPTION_MODE }),
  // This adapter creates its readers and its subscriber from the one client.
  streams: (publisher, _subscriber, { REDIS_KEY = KEY, STREAM_COUNT = "1" }) =>
    streams(publisher, { streamName: REDIS_KEY, streamCount: Number(STREAM_COUNT) }),
};

function connect(url, clusterOptions) {
  const { scheme, hosts, path } = /^(?<scheme>[a-z+]+):\/\/(?<hosts>[^/]*)\/?(?<path>.*)$/.exec(url)?.groups ?? {};
  switch (scheme) {
    case "redis":
    case "rediss":
      return new Redis(url);
    case "redis+sentinel":
      return new Redis({ sentinels: hosts.split(",").map(address), name: path });
    case "redis+cluster":
      // Without sharded subscribers ioredis refuses SSUBSCRIBE on a Cluster.
      return new Cluster(hosts.split(",").map(address), clusterOptions);
    default:
      throw new Error(`REDIS_URL ${url} has an unknown form`);
  }
}

function address(text) {
  const { hostname: host, port } = new URL(`redis://${text}`);
  return { host, port: Number(port || 6379) };
}
