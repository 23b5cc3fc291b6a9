// Those who come to the quiz: the servers of one side, and the clients of a scenario.

import { Client } from "../lib/client.mjs";
import { ServerProcess } from "../lib/server.mjs";
import { eventually } from "../lib/wait.mjs";

/** The servers of the quiz in Node, or in Rust. With one server, both "here" and "there" are that one. */
export class Quiz {
  #servers = [];
  #watchers = [];
  #redis;

  static async start(command, count, redis) {
    const quiz = new Quiz();
    quiz.#redis = redis;
    for (let number = 1; number <= count; number += 1) {
      const env = { SERVER_NAME: `server ${number}`, ...(redis && { REDIS_URL: redis.url }) };
      const server = new ServerProcess(command, env);
      await server.start();
      quiz.#servers.push(server);
      quiz.#watchers.push(await client(server, { nsp: "/host", auth: { token: "host" } }).connected());
    }
    // Until each server knows the others.
    const others = async (watcher) => (await watcher.ask("servers")).others?.length === count - 1;
    for (const watcher of quiz.#watchers) await eventually(() => others(watcher), "the servers to find each other");
    return quiz;
  }

  get log() {
    return this.#servers.map(({ log }) => log).join("\n");
  }

  /** Runs a scenario and resolves to what it has seen, after all its clients have left. */
  async play(run) {
    const scene = new Scene(this.#servers, this.#watchers);
    try {
      await run(scene);
    } finally {
      scene.close();
      await eventually(async () => {
        const counts = await Promise.all(this.#watchers.map((watcher) => watcher.ask("servers")));
        return counts.every(({ here }) => here.players === 0 && here.clients === 1);
      }, "all clients to be gone");
    }
    return scene.seen;
  }

  /** Stops the servers. Resolves to their exit codes, and to what their last clients were told. */
  async end() {
    const codes = await Promise.all(this.#servers.map(async (server) => (await server.end()).code));
    const reasons = await Promise.all(this.#watchers.map((watcher) => watcher.disconnected()));
    this.#redis?.stop();
    return { codes, reasons };
  }
}

/** What a scenario gets: clients, and `see`, which notes what must be the same on both sides. */
class Scene {
  #open = [];
  #servers;
  #watchers;
  seen = [];

  constructor(servers, watchers) {
    this.#servers = servers;
    this.#watchers = watchers;
  }

  see(what, value) {
    this.seen.push({ [what]: value });
  }

  /** A client of "here", or of the other server, if there is one. */
  guest({ there = false, ...options }) {
    const guest = client(there ? this.#servers.at(-1) : this.#servers[0], options);
    this.#open.push(guest);
    return guest;
  }

  /** A connected player, who answers whispers. */
  async player(name, { token = "player", ...options } = {}) {
    const player = this.guest({ auth: { name, token }, ...options });
    if (!options.silent) player.answers("whisper", (from, text) => `${name} heard ${text} from ${from}`);
    await player.connected();
    await player.next("welcome");
    return player;
  }

  /** A connected player of a team. */
  async member(name, team, options) {
    const member = await this.player(name, options);
    await member.ask("team", team);
    return member;
  }

  host(options) {
    return this.guest({ nsp: "/host", auth: { token: "host" }, ...options }).connected();
  }

  /**
   * Resolves to the unread events of that name of a player, once the player has received all that the server of `speaker` has sent before.
   */
  async heard(player, speaker, event) {
    await speaker.ask("whisper", player.socket.auth.name, "a fence");
    await player.ask("count");
    return player.takeAll(event);
  }

  url(there = false) {
    return (there ? this.#servers.at(-1) : this.#servers[0]).url;
  }

  close() {
    for (const each of this.#open.splice(0)) each.close();
  }
}

function client(server, { silent: _silent, ...options }) {
  return new Client(server.url, { path: "/quiz/", ...options });
}
