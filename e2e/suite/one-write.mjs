// Packets that a client sends in one write, so that the server reads them together.

import assert from "node:assert/strict";
import { SEPARATOR } from "../lib/raw.mjs";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

const CONNECTED = /^40\/dyn-\d+,\{"sid":"[\w-]{20}"\}$/;

/** The ways to send packets as one write. */
const CONNECTIONS = {
  websocket: async (t) => {
    const socket = await t.rawSocket();
    await socket.next(); // the handshake
    return { write: (...packets) => socket.sendAtOnce(...packets), next: () => socket.next() };
  },
  polling: async (t) => {
    const session = await t.rawPolling();
    return { write: (...packets) => session.post(packets.join(SEPARATOR)), next: () => session.next() };
  },
};

const perConnection = Object.entries(CONNECTIONS).flatMap(([name, open]) => [
  scenario(`${name}: leaving a room and joining it again`, async (t) => {
    const nsp = t.namespace();
    const speaker = await t.connect({ nsp });
    const { write, next } = await open(t);
    await write(`40${nsp},`);
    assert.match(await next(), CONNECTED);
    await write(`42${nsp},1["join","room"]`);
    assert.equal(await next(), `43${nsp},1[]`);
    await write(`42${nsp},2["leave","room"]`, `42${nsp},3["join","room"]`, `42${nsp},["pub","room",1,"own"]`);
    // A handler that has to wait answers after the other handlers have begun.
    const answers = [await next(), await next(), await next()].sort();
    assert.deepEqual(answers, [`42${nsp},["msg",1,"own"]`, `43${nsp},2[]`, `43${nsp},3[]`]);
    speaker.send("pub", "room", 2, "of another");
    assert.equal(await next(), `42${nsp},["msg",2,"of another"]`);
  }),

  // On Node the DISCONNECT takes effect before the events that precede it.
  scenario(`${name}: events followed by a DISCONNECT are handled`, async (t) => {
    const nsp = t.namespace();
    const witness = await t.connect({ nsp });
    await witness.join("room");
    const { write, next } = await open(t);
    await write(`40${nsp},`);
    assert.match(await next(), CONNECTED);
    await write(`42${nsp},["pub","room",1,"a"]`, `42${nsp},["pub","room",2,"b"]`, `41${nsp},`);
    for (const message of [[1, "a"], [2, "b"]]) assert.deepEqual(await witness.next("msg"), message);
    const alone = async () => (await witness.result("fetch-sockets")).length === 1;
    await eventually(alone, "the witness to be alone");
  }, { differs: true }),

  // Node executes a DISCONNECT a moment after it was read, and so refuses a CONNECT right after it as a second one.
  scenario(`${name}: leaving a namespace and joining it again gives a new socket`, async (t) => {
    const nsp = t.namespace();
    const { write, next } = await open(t);
    await write(`40${nsp},`);
    const before = await next();
    assert.match(before, CONNECTED);
    // It is the only socket of the namespace, so that the namespace ends and is created again.
    await write(`41${nsp},`, `40${nsp},`, `42${nsp},1["join","room"]`);
    const after = await next();
    assert.match(after, CONNECTED);
    assert.notEqual(after, before);
    assert.equal(await next(), `43${nsp},1[]`);
    const other = await t.connect({ nsp });
    assert.equal((await other.result("fetch-sockets")).length, 2);
    other.send("pub", "room", 1, "of another");
    assert.equal(await next(), `42${nsp},["msg",1,"of another"]`);
    await write(`42${nsp},["pub","${other.id}",2,"of it"]`);
    assert.deepEqual(await other.next("msg"), [2, "of it"]);
  }, { differs: true }),
]);

export default theme("one write", {}, perConnection);
