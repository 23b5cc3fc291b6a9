// A gate before a server. While it is shut, connections are refused, as if the server were away.

import { connect, createServer } from "node:net";
import { freePort } from "../lib/server.mjs";

/** Resolves to `{ url, open, shut, close }`. It is open. */
export async function gate(upstream) {
  const port = await freePort();
  const ends = new Set();
  let server;

  const carry = (client) => {
    const onward = connect(upstream, "127.0.0.1");
    for (const [from, to] of [[client, onward], [onward, client]]) {
      ends.add(from);
      from.pipe(to);
      from.on("error", () => {});
      from.on("close", () => {
        ends.delete(from);
        to.destroy();
      });
    }
  };
  const shut = () => {
    server?.close();
    for (const each of ends) each.destroy();
  };
  const open = () => {
    server = createServer(carry);
    return new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  };
  await open();
  return { url: `http://127.0.0.1:${port}`, open, shut, close: shut };
}
