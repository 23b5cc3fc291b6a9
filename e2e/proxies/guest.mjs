// A client behind a proxy: the official client, with an IP address of its own, which counts the breaks of its connection.

import { Agent } from "node:http";
import { connect } from "node:net";
import { Client } from "../lib/client.mjs";

let addresses = 0;

/** A loopback address that no guest has used yet, from 127.1.0.1 on. On Linux they need no configuration. */
function nextAddress() {
  const number = ++addresses;
  return `127.1.${number >> 8}.${number & 255}`;
}

/** Opens a connection for each request, so that only the proxy's rules can lead two requests to the same server. */
class FromAddress extends Agent {
  #address;

  constructor(address) {
    super({ keepAlive: false });
    this.#address = address;
  }

  createConnection(options, done) {
    return connect({ ...options, localAddress: this.#address() }, done);
  }
}

export class Guest extends Client {
  /** How often the connection was lost or could not be opened. */
  breaks = 0;

  /**
   * `wanders`: each request comes from a different address, and the guest keeps cookies, so that only a cookie can lead it to its server.
   * The rest are options of Client.
   */
  constructor(url, { wanders = false, ...options }) {
    const home = nextAddress();
    super(url, {
      agent: new FromAddress(wanders ? nextAddress : () => home),
      withCredentials: wanders,
      reconnection: true,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
      ...options,
    });
    this.manager.on("close", (reason) => this.#broke(reason));
    this.manager.on("error", (error) => this.#broke(error.message));
  }

  /** Resolves to true when the guest has connected and received `times` answers, or to false at the first break. */
  lasts(times) {
    const broken = new Promise((resolve) => (this.onbreak = () => resolve(false)));
    const lasting = async () => {
      await this.connected();
      for (let time = 0; time < times; time += 1) await this.ask("join", "everybody");
      return true;
    };
    return Promise.race([broken, lasting().catch(() => new Promise(() => {}))]);
  }

  #broke(reason) {
    this.breaks += 1;
    this.reason = reason;
    this.onbreak?.();
  }
}
