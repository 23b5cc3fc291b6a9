// A TCP proxy between a server and Redis that can make connections half-open. The Rust tests have one that can do more:
// crates/roomcast-redis/tests/common/fault_proxy.rs.

import { connect, createServer } from "node:net";

/** Resolves to `{ url, halfOpenSubscribers, close }` when it accepts connections. It forwards them to the Redis of `redisUrl`. */
export async function startFaultProxy(redisUrl) {
  const upstream = Number(new URL(redisUrl).port);
  const connections = new Set();
  const proxy = createServer((client) => carry(client, connect(upstream, "127.0.0.1"), connections));
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${proxy.address().port}`,

    /**
     * From now on the connections of subscribers forward nothing, without either end noticing. Returns how many there are. New connections
     * are forwarded.
     */
    halfOpenSubscribers() {
      const chosen = [...connections].filter(({ subscribes, halfOpen }) => subscribes && !halfOpen);
      for (const connection of chosen) connection.halfOpen = true;
      return chosen.length;
    },

    close() {
      proxy.close();
      for (const { ends } of connections) ends.forEach((end) => end.destroy());
    },
  };
}

function carry(client, server, connections) {
  const connection = { ends: [client, server], subscribes: false, halfOpen: false };
  connections.add(connection);
  for (const [from, to] of [[client, server], [server, client]]) {
    from.setNoDelay(true);
    from.on("data", (data) => {
      if (from === client && data.includes("SUBSCRIBE\r\n")) connection.subscribes = true;
      // The data is read in any case, so that the sender does not notice by full buffers.
      if (!connection.halfOpen) to.write(data);
    });
    from.on("error", () => {});
    // The other end of a half-open connection stays until the proxy is closed.
    from.on("close", () => {
      if (connection.halfOpen) return;
      to.destroy();
      connections.delete(connection);
    });
  }
}
