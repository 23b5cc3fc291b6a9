// The examples with the official client in a browser: two pages talk, and are back after a restart of the server.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { examples } from "../lib/program.mjs";
import { request } from "../lib/raw.mjs";
import { ServerProcess } from "../lib/server.mjs";

const BUNDLE = new URL("../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url);

// Each: its environment, the `auth` of somebody by name, and how one of two pages is heard by the other.
const APPLICATIONS = {
  chat: {
    env: (files) => ({ SECRET: "only for this test", DATABASE: join(files, "browser.redb") }),
    async auth({ url }, name) {
      const headers = { "Content-Type": "application/json" };
      const { body } = await request(`${url}/login`, { method: "POST", headers, body: JSON.stringify({ name }) });
      return JSON.parse(body);
    },
    async talk(ann, bob) {
      for (const page of [ann, bob]) await ask(page, "join", "garden");
      await ask(ann, "say", "garden", "hello");
      assert.equal((await next(bob, "said"))[1].text, "hello");
    },
  },
  game: {
    async talk(ann, bob) {
      const [{ id }] = [await ask(ann, "play", "Ann"), await ask(bob, "play", "Bob")];
      const [, places] = await next(bob, "state");
      assert.ok(places.some(([who]) => who === id));
    },
  },
  presence: {
    auth: (_server, name) => ({ name }),
    async talk(ann, bob) {
      for (const page of [ann, bob]) await ask(page, "join", "garden");
      await tell(ann, "typing", "garden", true);
      assert.deepEqual(await next(bob, "typing"), ["garden", "Ann", true]);
    },
  },
  upload: {
    async talk(ann, bob) {
      const { id } = await ask(ann, "begin", 3);
      const sent = ann.evaluate((id) => window.ask("chunk", id, 0, new Uint8Array([1, 2, 255])), id);
      assert.equal(await sent, 3);
      assert.equal(await ask(bob, "download", id), 3);
      const [part] = await bob.evaluate(() => window.heard.get("part"));
      assert.equal(part[0], id);
      assert.deepEqual(await bob.evaluate(() => [...new Uint8Array(window.heard.get("part")[0][2])]), [1, 2, 255]);
    },
  },
};

export default (files) =>
  Object.entries(APPLICATIONS).map(([name, { env, auth, talk }]) => [`${name}: two pages talk, also after a restart`, async (visit) => {
    const server = await visit.server(new ServerProcess(`"${join(examples(), name)}"`, env?.(files)));
    const [ann, bob] = await Promise.all(["Ann", "Bob"].map((who) => enter(visit, server, auth?.(server, who))));
    await talk(ann, bob);
    visit.away = true;
    await server.end();
    for (const page of [ann, bob]) await page.waitForFunction(() => !window.socket.connected);
    await server.start();
    for (const page of [ann, bob]) await page.waitForFunction(() => window.socket.connected);
    for (const page of [ann, bob]) await page.evaluate(() => window.heard.clear());
    await talk(ann, bob);
  }]);

/** A page of the server's origin with the official client, connected. */
async function enter(visit, server, auth) {
  const [bundle, payload] = [await readFile(BUNDLE, "utf8"), await auth];
  const page = await visit.page(`${server.url}/page`, (page) =>
    page.route("**/page", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><link rel=icon href=data:,>" })));
  await page.addScriptTag({ content: bundle });
  await page.evaluate((auth) => {
    window.heard = new Map();
    window.socket = window.io({ auth, reconnectionDelay: 50, reconnectionDelayMax: 200 });
    window.socket.onAny((event, ...args) => window.heard.set(event, [...(window.heard.get(event) ?? []), args]));
    window.ask = (...args) => window.socket.timeout(5_000).emitWithAck(...args);
  }, payload);
  await page.waitForFunction(() => window.socket.connected);
  return page;
}

const ask = (page, ...args) => page.evaluate((args) => window.ask(...args), args);
const tell = (page, ...args) => page.evaluate((args) => void window.socket.emit(...args), args);

/** Resolves to the first event of that name. */
async function next(page, event) {
  const heard = await page.waitForFunction((event) => window.heard.get(event)?.[0], event);
  return heard.jsonValue();
}
