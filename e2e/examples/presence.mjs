// Presence and typing.

import assert from "node:assert/strict";

export default {
  name: "presence",
  env: () => ({ AWAY_MS: "300", TYPING_MS: "300" }),
  checks: {
    async "whoever does not say a name is refused"({ client }) {
      for (const auth of [undefined, { name: "" }, { name: 7 }, { name: "x".repeat(33) }]) {
        assert.match((await client({ auth }).refused()).message, /name/);
      }
    },

    async "a person comes with the first tab, and leaves a moment after the last"({ connect }) {
      const tab = (name) => connect({ auth: { name } });
      const bob = await tab("bob");
      assert.deepEqual(await bob.next("online"), [["bob"]]);
      const first = await tab("ann");
      assert.deepEqual(await bob.next("came"), ["ann"]);
      assert.deepEqual(await first.next("online"), [["ann", "bob"]]);
      const second = await tab("ann");
      assert.deepEqual(await second.next("online"), [["ann", "bob"]]);
      first.close();
      // A page that is loaded again.
      second.close();
      const again = await tab("ann");
      assert.deepEqual(await again.next("online"), [["ann", "bob"]]);
      // Eve leaves later than ann's tabs: if those had counted, it would be known by now.
      const eve = await tab("eve");
      await eve.next("online");
      eve.close();
      assert.deepEqual(await bob.next("left"), ["eve"]);
      again.close();
      assert.deepEqual(await bob.next("left"), ["ann"]);
      assert.deepEqual(bob.takeAll("left"), []);
    },

    async "typing ends when it is said, when nothing more comes, and with the tab"({ connect }) {
      const [ann, bob, eve] = await Promise.all(["ann", "bob", "eve"].map((name) => connect({ auth: { name } })));
      for (const one of [ann, bob]) await one.ask("join", "garden");
      assert.deepEqual(await eve.ask("typing", "garden", true), { ok: false, error: "join the room first" });
      ann.send("typing", "garden", true);
      assert.deepEqual(await bob.next("typing"), ["garden", "ann", true]);
      ann.send("typing", "garden", false);
      assert.deepEqual(await bob.next("typing"), ["garden", "ann", false]);
      ann.send("typing", "garden", true);
      assert.deepEqual(await bob.next("typing"), ["garden", "ann", true]);
      assert.deepEqual(await bob.next("typing"), ["garden", "ann", false], "after a while without a sign");
      ann.send("typing", "garden", true);
      assert.deepEqual(await bob.next("typing"), ["garden", "ann", true]);
      ann.close();
      assert.deepEqual(await bob.next("typing"), ["garden", "ann", false], "with the tab");
      assert.deepEqual(eve.takeAll("typing"), []);
    },
  },
};
