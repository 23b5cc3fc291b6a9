// A client behind a proxy: the official one, from an address of its own, that remembers each break of its connection.

import { Agent } from "node:http";
import { connect } from "node:net";
import { Client } from "../lib/client.mjs";

let addresses = 0;

/** A loopback address that no guest has had, 127.1.0.1 first. Linux has them all without set-up. */
function nextAddress() {
  const number = ++addresses;
  return `127.1.${number >> 8}.${number & 255}`;
}

/** A connection for each request, so that nothing but the proxy's rule leads two requests to the same server. */
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
  /** How often the connection was lost or could not be made. */
  breaks = 0;

  /**
   * `wanders`: each request comes from another address, and the guest keeps cookies, so that a cookie alone can lead it
   * back. The rest are options of Client.
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

  /** Resolves to true when it is connected and was answered `times` times, to false at the first break. */
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
