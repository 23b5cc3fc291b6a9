// Headless Chromium, and the pages of one check.

import { chromium } from "playwright-core";
import { WAIT_MS, within } from "../lib/wait.mjs";
import { gate } from "./gate.mjs";

/** How long pages, or the browser, may take to close, in ms. A browser that hangs must not hold up the run. */
const END_MS = 10_000;

/** Starts the browser. */
export async function launch({ headless }) {
  // As root Chromium runs only without its sandbox. It opens nothing here but the pages of our own servers.
  const browser = await chromium.launch({ headless, executablePath: path(), args: ["--no-sandbox", "--disable-gpu"] });
  return { visit: () => new Visit(browser), close: () => within(browser.close(), "the end of the browser", END_MS).catch(console.error) };
}

/** The browser of Debian. */
const path = () => process.env.CHROMIUM || "/usr/bin/chromium";

/** The pages, servers and gates of one check. */
class Visit {
  #browser;
  #ends = [];
  /** Whether the server was away on purpose: pages may say then that they could not connect. */
  away = false;
  /** What the pages' consoles said that they should not have. */
  faults = [];

  constructor(browser) {
    this.#browser = browser;
  }

  /** Starts a server, which is ended with the check. */
  async server(server) {
    await server.start();
    this.#ends.push(() => server.kill());
    return server;
  }

  /** A gate before a server, which can be closed for the page behind it. */
  async gate(server) {
    const one = await gate(server.port);
    this.#ends.push(() => one.close());
    return one;
  }

  /** A page of somebody: with storage of its own, as on a device of its own. `prepare` is called before it is opened. */
  async page(url, prepare = () => {}) {
    const context = await this.#browser.newContext();
    this.#ends.push(() => context.close());
    // Pages that a check itself serves (`prepare`) are foreign to the browser, which would ask before they reach this machine.
    await context.grantPermissions(["local-network-access"]);
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    page.on("pageerror", (error) => this.faults.push(`${error.stack ?? error}`));
    page.on("console", (message) => {
      const expected = this.away && message.text().includes("net::ERR_CONNECTION_REFUSED");
      if (message.type() === "error" && !expected) this.faults.push(message.text());
    });
    await prepare(page);
    await page.goto(url);
    return page;
  }

  async end() {
    const ends = this.#ends.splice(0).map((each) => each());
    await within(Promise.all(ends), "the end of the pages", END_MS);
  }
}
