// A TCP proxy before Redis or a server, which can make connections half-open. The Rust tests have one that can do more:
// crates/roomcast-redis/tests/common/fault_proxy.rs.

import { connect, createServer } from "node:net";

/**
 * Resolves to `{ url, redirect, halfOpen, halfOpenSubscribers, close }` when it accepts connections. It forwards them to the port of
 * `target`, the URL of a Redis or of a server.
 */
export async function startFaultProxy(target) {
  const { protocol, port } = new URL(target);
  let upstream = Number(port);
  const connections = new Set();
  const cutOff = (chosen) => {
    for (const connection of chosen) connection.halfOpen = true;
    return chosen.length;
  };
  const proxy = createServer((client) => carry(client, connect(upstream, "127.0.0.1"), connections));
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    url: `${protocol}//127.0.0.1:${proxy.address().port}`,

    /** New connections are forwarded to the port of `another` URL. */
    redirect(another) {
      upstream = Number(new URL(another).port);
    },

    /** From now on the connections forward nothing, without either end noticing. Returns how many there are. New ones are forwarded. */
    halfOpen() {
      return cutOff([...connections].filter(({ halfOpen }) => !halfOpen));
    },

    /** The same for the connections to Redis that have subscribed. */
    halfOpenSubscribers() {
      return cutOff([...connections].filter(({ subscribes, halfOpen }) => subscribes && !halfOpen));
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
