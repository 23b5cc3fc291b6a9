// The chat page of the program roomcast, as people use it.

import assert from "node:assert/strict";
import { program } from "../lib/program.mjs";
import { ServerProcess } from "../lib/server.mjs";

const ADDRESS = "https://example.org/a(b)?c=d&e";

// Signs that a page has what it waits for.
const LIVE = '#state[data-state="live"]';
const NOT_LIVE = '#state:not([data-state="live"])';
const text = (words) => `.message .text:has-text("${words}")`;

export default [
  ["chat page: two pages talk", async (visit) => {
    const server = await visit.server(new ServerProcess(`"${program()}"`));
    const [ann, bob] = [await enter(visit, server.url, "Ann"), await enter(visit, server.url, "Bob")];
    await ann.waitForSelector('.note:has-text("Bob joined")');
    await ann.waitForSelector('#room-count:has-text("2 here")');
    await say(ann, "hello, is anybody there?");
    await bob.waitForSelector(text("hello, is anybody there?"));
    assert.deepEqual(await all(bob, ".message .who b"), ["Ann"]);
    await say(bob, "<b>yes</b> & é 😀\nsecond line");
    await ann.waitForSelector(text("second line"));
    assert.equal((await all(ann, ".message .text")).at(-1), "<b>yes</b> & é 😀\nsecond line");
    assert.equal(await ann.locator(".message .text b").count(), 0, "markup is text");
    await ann.waitForSelector('.message.mine[data-fate="sent"]');
  }],

  ["chat page: addresses are links, which open in a tab that cannot reach the chat", async (visit) => {
    const server = await visit.server(new ServerProcess(`"${program()}"`));
    const [ann, bob] = [await enter(visit, server.url, "Ann"), await enter(visit, server.url, "Bob")];
    await say(ann, `look (${ADDRESS}), it is here: javascript:alert(1)`);
    const link = bob.locator(".message .text a");
    await link.waitFor();
    assert.deepEqual(await all(bob, ".message .text a"), [ADDRESS]);
    await bob.context().route("https://example.org/**", (route) => {
      route.fulfill({ contentType: "text/html", body: "<title>there</title><script>document.title = `opener ${window.opener}`</script>" });
    });
    const [tab] = await Promise.all([bob.context().waitForEvent("page"), link.click()]);
    await tab.waitForLoadState();
    assert.equal(tab.url(), ADDRESS);
    assert.equal(await tab.title(), "opener null");
  }],

  ["chat page: others see who is typing", async (visit) => {
    const server = await visit.server(new ServerProcess(`"${program()}"`));
    const [ann, bob] = [await enter(visit, server.url, "Ann"), await enter(visit, server.url, "Bob")];
    await ann.locator("#text").pressSequentially("wai");
    await bob.waitForSelector('#typing:has-text("Ann is typing")');
    assert.equal(await ann.locator("#typing").textContent(), "", "one does not see oneself typing");
    await ann.locator("#text").press("Enter");
    await bob.waitForSelector(text("wai"));
    await bob.waitForFunction(() => document.getElementById("typing").textContent === "");
  }],

  ...["SIGTERM", "SIGKILL"].map((signal) => [`chat page: a restart after ${signal} loses nothing that was written meanwhile`, async (visit) => {
    const server = await visit.server(new ServerProcess(`"${program()}"`));
    // Ann's way to the server opens when Bob is back: what nobody is there to hear is not kept.
    const door = await visit.gate(server);
    const [ann, bob] = [await enter(visit, door.url, "Ann"), await enter(visit, server.url, "Bob")];
    await say(ann, "before");
    await bob.waitForSelector(text("before"));
    visit.away = true;
    door.shut();
    await server.end(signal);
    for (const page of [ann, bob]) await page.waitForSelector(NOT_LIVE);
    for (const number of [1, 2, 3]) await say(ann, `meanwhile ${number}`);
    await ann.waitForSelector('.message.mine .fate:has-text("waits for the connection")');
    await server.start();
    await live(bob);
    await door.open();
    await live(ann);
    await bob.waitForSelector(text("meanwhile 3"));
    await say(bob, "after");
    await ann.waitForSelector(text("after"));
    assert.deepEqual(await all(bob, ".message .text"), ["before", "meanwhile 1", "meanwhile 2", "meanwhile 3", "after"]);
    assert.equal(await ann.locator('.message.mine:not([data-fate="sent"])').count(), 0, "all were sent");
  }]),
];

/** A page of somebody who is in the lobby. */
async function enter(visit, url, name) {
  const page = await visit.page(url);
  await page.fill("#hello-name", name);
  await page.fill("#hello-room", "lobby");
  await page.click("#hello-go");
  await page.waitForSelector(LIVE);
  await page.waitForSelector('.note:has-text("You joined lobby")');
  return page;
}

async function say(page, words) {
  await page.fill("#text", words);
  await page.press("#text", "Enter");
}

/** Waits until the page is connected again, and does not wait for its timers, which grow with each attempt. */
async function live(page) {
  await page.waitForFunction(() => {
    const retry = document.getElementById("retry");
    if (!retry.hidden) retry.click();
    return document.getElementById("state").dataset.state === "live";
  }, undefined, { polling: 100 });
}

function all(page, selector) {
  return page.locator(selector).allTextContents();
}
