// TCP between a server and Redis on which a connection can be made half-open. The Rust tests have a larger one:
// crates/roomcast-redis/tests/common/fault_proxy.rs.

import { connect, createServer } from "node:net";

/** Resolves to `{ url, halfOpenSubscribers, close }` when it accepts; it passes all on to the Redis of `redisUrl`. */
export async function startFaultProxy(redisUrl) {
  const upstream = Number(new URL(redisUrl).port);
  const connections = new Set();
  const proxy = createServer((client) => carry(client, connect(upstream, "127.0.0.1"), connections));
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    url: `redis://127.0.0.1:${proxy.address().port}`,

    /** From now on these carry nothing, and neither end is told. Returns how many there were. New ones are passed on. */
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
      // Read all the same, so that the sender's buffers do not tell it.
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
