// The game: a loop of volatile states, and coins that arrive for certain.

import assert from "node:assert/strict";
import { eventually } from "../lib/wait.mjs";
import { RawPolling, SEPARATOR } from "../lib/raw.mjs";

/** How many steps of the game a client without a poll misses. */
const MISSED = 20;

export default {
  name: "game",
  checks: {
    async "players see the same places at the same step"({ connect }) {
      const [ann, bob] = [await connect(), await connect({ transport: "polling" })];
      const { id, size } = await ann.ask("play", "ann");
      assert.deepEqual([id, size], [ann.id, 100]);
      assert.equal((await bob.ask("play", "bob")).id, bob.id);
      assert.deepEqual(await ann.next("came"), [bob.id, "bob"]);
      ann.send("steer", 1, 0);
      bob.send("steer", 0, 7);
      const seen = [new Map(), new Map()];
      await eventually(() => {
        for (const [number, client] of [ann, bob].entries()) {
          for (const [step, places] of client.takeAll("state")) seen[number].set(step, places);
        }
        const last = [...seen[0].keys()].pop();
        const places = last && Object.fromEntries(seen[0].get(last).map(([who, place]) => [who, place]));
        // Both are at the edge: ann went right, bob went down.
        return places && places[ann.id]?.[0] === 100 && places[bob.id]?.[1] === 100;
      }, "both players at the edge");
      const both = [...seen[0].keys()].filter((step) => seen[1].has(step));
      assert.ok(both.length > 0, "no step was seen by both");
      for (const step of both) assert.deepEqual(seen[0].get(step), seen[1].get(step), `step ${step}`);
      const steps = [...seen[0].keys()];
      assert.deepEqual(steps, [...steps].sort((one, other) => one - other), "steps in order");
      const gone = bob.id;
      bob.close();
      assert.deepEqual(await ann.next("left"), [gone, "bob"]);
    },

    async "who does not poll misses states, and no coin"({ server, connect }) {
      const ann = await connect();
      const { coin } = await ann.ask("play", "ann");
      const slow = await RawPolling.open(server.url);
      await slow.connect();
      await slow.post('420["play","slow"]');
      while (!(await slow.next()).startsWith("430")) { /* states that came before the answer */ }
      ann.socket.on("state", (_step, places) => {
        const [, place] = places.find(([who]) => who === ann.id);
        ann.send("steer", ...coin.map((goal, axis) => (Math.abs(goal - place[axis]) < 2 ? 0 : Math.sign(goal - place[axis]))));
      });
      const [, by, points] = await ann.next("coin");
      assert.deepEqual([by, points], [ann.id, 1]);
      ann.takeAll("state");
      for (let step = 0; step < MISSED; step += 1) await ann.next("state");
      const packets = (await slow.get()).body.split(SEPARATOR);
      const events = packets.map((packet) => /^42\["(\w+)"/.exec(packet)?.[1]);
      assert.ok(events.includes("coin"), `no coin among ${packets}`);
      assert.ok(events.filter((event) => event === "state").length <= 1, `old states: ${packets}`);
    },
  },
};
