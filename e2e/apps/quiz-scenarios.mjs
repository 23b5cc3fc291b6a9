// What happens at the quiz. Node's quiz is the specification: each scenario notes what its clients see, and run-port.mjs compares.
// Names of events and of teams are those of quiz.mjs. `there` is the other server, if there is one.

import { request } from "../lib/raw.mjs";
import { eventually } from "../lib/wait.mjs";

const scenario = (title, run) => ({ title, run });
const told = ({ message, data }) => ({ message, data });

export default [
  scenario("who may play", async (t) => {
    const auths = [undefined, { name: "ada" }, { name: "", token: "player" }, { name: "x".repeat(21), token: "player" }, { token: "player" }];
    for (const auth of auths) t.see("refused", told(await t.guest({ auth }).refused()));
    const ada = await t.player("ada");
    for (const there of [false, true]) {
      t.see("a namesake", told(await t.guest({ there, auth: { name: "ada", token: "player" } }).refused()));
    }
    // Another namespace over the same connection has its own rules.
    t.see("the host's door", told(await t.guest({ nsp: "/host", over: ada, auth: { token: "player" } }).refused()));
    t.see("no such door", told(await t.guest({ nsp: "/cellar", over: ada }).refused()));
    t.see("ada stays", await ada.ask("count"));
  }),

  scenario("a welcome for the player, and a word to the others", async (t) => {
    const bob = await t.player("bob", { there: true });
    const options = { query: { language: "é" }, extraHeaders: { "X-Client": "e2e" }, transport: "polling" };
    const ada = await t.guest({ auth: { name: "ada", token: "player" }, ...options }).connected();
    t.see("welcome", await ada.next("welcome"));
    t.see("arrived", await bob.next("arrived"));
    t.see("about ada", await ada.ask("about me"));
    t.see("about bob", await bob.ask("about me"));
    t.see("ada is not told of herself", ada.takeAll("arrived"));
  }),

  scenario("a handler that works once", async (t) => {
    const ada = await t.player("ada");
    t.see("first", await ada.ask("ready"));
    let second = "not answered";
    ada.socket.emit("ready", (answer) => (second = answer));
    t.see("events", await ada.ask("count"));
    t.see("second", second);
  }),

  scenario("teams: who is in, who comes, who goes", async (t) => {
    const [ada, bob, eve] = [await t.player("ada"), await t.player("bob", { there: true }), await t.player("eve")];
    t.see("ada joins red", await ada.ask("team", "red"));
    t.see("bob joins red", await bob.ask("team", "red"));
    t.see("ada hears", await ada.next("teammate"));
    for (const name of ["", "x".repeat(21), 7, null]) t.see("no team's name", await bob.ask("team", name));
    t.see("bob joins blue", await bob.ask("team", "blue"));
    t.see("eve joins red", await eve.ask("team", "red"));
    t.see("ada hears", await ada.next("teammate"));
    t.see("bob is told nothing of it", await t.heard(bob, eve, "teammate"));
    bob.close();
    eve.close();
    t.see("ada hears that eve goes", await ada.next("teammate left"));
  }),

  scenario("to one's team: two handlers, volatile, bytes, without compression", async (t) => {
    const [ada, bob] = [await t.member("ada", "red"), await t.member("bob", "red", { there: true })];
    const [eve, guest] = [await t.member("eve", "blue"), await t.player("guest")];
    t.see("answer", await ada.ask("say", "é 😀"));
    for (const one of [ada, bob]) t.see("said", await one.next("said"));
    t.see("eve hears nothing", await t.heard(eve, ada, "said"));
    t.see("without a team", await guest.ask("say", "hello?"));
    t.see("nobody hears it", [await t.heard(ada, guest, "said"), await t.heard(bob, guest, "said")]);
    bob.send("typing");
    t.see("typing", await ada.next("typing"));
    t.see("not told to bob", bob.takeAll("typing"));
    t.see("answer", await ada.ask("photo", "a goat", Buffer.from([0, 255, 7])));
    t.see("photo", await bob.next("photo"));
    t.see("no photo for eve", await t.heard(eve, ada, "photo"));
  }),

  scenario("shouts are not for the quiet", async (t) => {
    const [ada, bob, eve] = [await t.player("ada"), await t.player("bob", { there: true }), await t.player("eve")];
    t.see("rooms", await bob.ask("quiet", true));
    ada.send("shout", 1);
    ada.send("shout to others", 2);
    t.see("eve", [await eve.next("shout"), await eve.next("shout")]);
    t.see("ada", [await ada.next("shout"), await t.heard(ada, eve, "shout")]);
    t.see("bob", await t.heard(bob, ada, "shout"));
    t.see("rooms", await bob.ask("quiet", false));
    ada.send("shout", 3);
    t.see("bob", await bob.next("shout"));
  }),

  scenario("whispers: answered, to nobody, and not answered", async (t) => {
    const [ada, bob] = [await t.player("ada"), await t.player("bob", { there: true })];
    await t.player("dumb", { there: true, silent: true });
    t.see("bob", await ada.ask("whisper", "bob", "psst"));
    t.see("bob hears", await bob.next("whisper"));
    t.see("nobody", await ada.ask("whisper", "nobody", "psst"));
    t.see("dumb", await ada.ask("whisper", "dumb", "psst"));
  }),

  scenario("the server asks back before a player goes", async (t) => {
    const [ada, bob] = [await t.member("ada", "red"), await t.member("bob", "red", { there: true })];
    ada.send("quit");
    t.see("no answer", await ada.next("stays"));
    t.see("asked", await ada.next("sure?"));
    let sure = false;
    ada.answers("sure?", () => sure);
    ada.send("quit");
    t.see("no", await ada.next("stays"));
    sure = true;
    ada.send("quit");
    t.see("yes", await ada.disconnected());
    t.see("the team hears", await bob.next("teammate left"));
    t.see("all hear", await bob.next("gone"));
  }),

  scenario("why players have gone", async (t) => {
    const bob = await t.player("bob", { there: true });
    const gone = async (name, leave, options) => {
      const player = await t.player(name, options);
      await leave(player);
      t.see(name, await bob.next("gone"));
    };
    await gone("client", (player) => player.close());
    await gone("cut", (player) => player.cut());
    await gone("cut polling", (player) => player.cut(), { transport: "polling" });
    await gone("too much", (player) => player.send("say", "x".repeat(100_001)));
  }),

  scenario("the host asks all players", async (t) => {
    const [host, ada, bob] = [await t.host(), await t.player("ada"), await t.player("bob", { there: true })];
    ada.answers("question", (text) => `${text}: 42`);
    t.see("bob is silent", await host.ask("ask", "six times seven?"));
    bob.answers("question", () => "fifty");
    t.see("both answer", await host.ask("ask", "six times seven?"));
    t.see("the host is not asked", host.takeAll("question"));
    t.see("bob was asked", [await bob.next("question"), await bob.next("question")]);
  }),

  scenario("nobody to ask", async (t) => {
    const host = await t.host();
    t.see("no answers", await host.ask("ask", "hello?"));
  }),

  scenario("points are known to all servers", async (t) => {
    const [host, bob] = [await t.host(), await t.player("bob", { there: true })];
    for (const points of [1.5, "two", null]) t.see("no points", await host.ask("score", "red", points));
    t.see("score", await host.ask("score", "red", 2));
    t.see("bob", await bob.next("scores"));
    t.see("host", await host.next("scores"));
    t.see("score", await host.ask("score", "red", 3));
    t.see("bob", await bob.next("scores"));
    const eve = await t.guest({ there: true, auth: { name: "eve", token: "player" } }).connected();
    t.see("who comes later", await eve.next("welcome"));
  }),

  scenario("a team goes over to another", async (t) => {
    const host = await t.host();
    const [ada, bob, eve] = [await t.member("ada", "red"), await t.member("bob", "red", { there: true }), await t.member("eve", "blue")];
    await host.ask("merge", "red", "blue");
    for (const one of [ada, bob, eve]) t.see("merged", await one.next("merged"));
    const inBlue = async (one) => (await one.ask("quiet", false)).every((room) => room !== "team red");
    for (const one of [ada, bob]) await eventually(() => inBlue(one), "the move to the other team");
    for (const one of [ada, bob]) t.see("rooms", await one.ask("quiet", false));
    bob.send("say", "here we are");
    for (const one of [ada, eve]) t.see("said", await one.next("said"));
  }),

  scenario("what a muted player sends is refused by the middleware of packets", async (t) => {
    const [host, ada] = [await t.host(), await t.member("ada", "red", { there: true })];
    t.see("mute", await host.ask("mute", "ada"));
    t.see("ada", await ada.next("muted"));
    t.see("nobody", await host.ask("mute", "nobody"));
    ada.send("say", "hello");
    t.see("refused", await ada.next("refused"));
    t.see("not refused, and what was refused counts", await ada.ask("count"));
    await host.ask("unmute all");
    const said = await eventually(() => {
      ada.send("say", "again");
      return ada.takeAll("said")[0];
    }, "the end of the silence");
    t.see("said at last", said);
  }),

  scenario("the host sends players away", async (t) => {
    const [host, witness] = [await t.host(), await t.player("witness")];
    const [ada, bob, eve] = [await t.player("ada"), await t.player("bob", { there: true }), await t.member("eve", "red", { there: true })];
    for (const player of [ada, bob]) {
      t.see("kick", await host.ask("kick", player.socket.auth.name));
      t.see("kicked", await player.next("kicked"));
      t.see("reason", await player.disconnected());
      t.see("gone", await witness.next("gone"));
      await eventually(() => player.manager.engine.readyState === "closed", "the end of the connection");
    }
    t.see("nobody", await host.ask("kick", "ada"));
    await host.ask("close team", "red");
    t.see("reason", await eve.disconnected());
    t.see("gone", await witness.next("gone"));
    t.see("the connection stays", eve.manager.engine.readyState);
  }),

  scenario("the host tells some teams, one server, and all", async (t) => {
    const host = await t.host();
    const [ada, bob] = [await t.member("ada", "red"), await t.member("bob", "blue", { there: true })];
    const [eve, zoe] = [await t.member("eve", "green"), await t.member("zoe", "red", { there: true })];
    await host.ask("tell teams", ["red", "blue"], "zoe", "two teams");
    for (const one of [ada, bob]) t.see("told", await one.next("told"));
    t.see("others are not told", [await t.heard(eve, ada, "told"), await t.heard(zoe, ada, "told")]);
    await host.ask("tell here", "this server");
    for (const one of [ada, eve]) t.see("told", await one.next("told"));
    t.see("the other server", [await t.heard(bob, ada, "told"), await t.heard(zoe, ada, "told")]);
    await host.ask("tell all", "everybody");
    for (const one of [ada, bob, eve, zoe]) t.see("message", await one.next("message"));
    for (const one of [ada, eve]) t.see("told", await one.next("told"));
    t.see("the other server", [await t.heard(bob, ada, "told"), await t.heard(zoe, ada, "told")]);
  }),

  scenario("a player is found by the server that it is connected to", async (t) => {
    const [host, ada] = [await t.host(), await t.player("ada")];
    const [bob, dumb] = [await t.player("bob", { there: true }), await t.player("dumb")];
    for (const one of [ada, bob]) one.answers("poke", () => `ouch, says ${one.socket.auth.name}`);
    t.see("ada", await host.ask("poke", "ada"));
    t.see("bob", await host.ask("poke", "bob"));
    t.see("nobody", await host.ask("poke", "nobody"));
    t.see("dumb", await host.ask("poke", "dumb"));
    t.see("dumb was asked", await dumb.next("poke"));
  }),

  scenario("the host looks at the servers", async (t) => {
    const [host] = [await t.host(), await t.member("ada", "red"), await t.member("bob", "blue", { there: true })];
    t.see("servers", await host.ask("servers"));
  }),

  scenario("tables are made when somebody sits down", async (t) => {
    for (const nsp of ["/table-", "/table-x", "/table-1234", "/table-1/x"]) {
      t.see(nsp, told(await t.guest({ nsp, auth: { name: "ada" } }).refused()));
    }
    t.see("without a name", told(await t.guest({ nsp: "/table-1" }).refused()));
    const ada = await t.guest({ nsp: "/table-1", auth: { name: "ada" } }).connected();
    t.see("ada", await ada.next("sits down"));
    const other = await t.guest({ nsp: "/table-2", auth: { name: "eve" }, over: ada }).connected();
    t.see("eve", await other.next("sits down"));
    const bob = await t.guest({ nsp: "/table-1", auth: { name: "bob" }, there: true }).connected();
    for (const one of [ada, bob]) t.see("bob", await one.next("sits down"));
    t.see("at table 1", await ada.ask("count"));
    t.see("at table 2", await other.ask("count"));
    t.see("used", (await (await t.host()).ask("servers")).here.tables);
    await (await t.host()).ask("tell tables", "last orders");
    for (const one of [ada, other, bob]) t.see("told", await one.next("told"));
    ada.socket.send("cheers");
    t.see("heard", await bob.next("heard"));
    bob.send("stand up");
    t.see("reason", await bob.disconnected());
    t.see("stands up", await ada.next("stands up"));
    t.see("table 2 hears nothing of it", [other.takeAll("heard"), other.takeAll("stands up")]);
  }),

  scenario("the path, and the origin that may use it", async (t) => {
    const status = async (path, headers) => {
      const answer = await request(`${t.url()}${path}?EIO=4&transport=pigeon`, { headers });
      return { path, status: answer.status, allowed: answer.headers.get("access-control-allow-origin") };
    };
    t.see("the path", await status("/quiz/", { Origin: "http://quiz.example" }));
    t.see("another", await status("/socket.io/", {}));
  }),

  scenario("all events are counted", async (t) => {
    const ada = await t.member("ada", "red");
    for (const event of ["say", "nobody handles this", "shout"]) ada.send(event, "one");
    t.see("ada", [await ada.ask("count"), await ada.ask("count")]);
  }),
];
