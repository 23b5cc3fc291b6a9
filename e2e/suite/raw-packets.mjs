// Socket.IO packets written by hand: what is answered, what is ignored, and what closes the connection.

import assert from "node:assert/strict";
import { scenario, theme } from "../lib/theme.mjs";
import { eventually } from "../lib/wait.mjs";

const CONNECTED = /^40\{"sid":"[\w-]{20}"\}$/;

// A connection that has joined "/" and read the event "auth".
async function joined(t) {
  const socket = await t.rawSocket();
  assert.match(await socket.connect(), CONNECTED);
  assert.equal(await socket.next(), '42["auth",{}]');
  return socket;
}

// A connection that has joined a namespace and left it again. A witness has seen that it left: Node executes a DISCONNECT a moment after
// it was read, so a packet right after it would still find the namespace joined.
async function left(t) {
  const nsp = t.namespace();
  const witness = await t.connect({ nsp });
  const socket = await t.rawSocket();
  const before = await socket.connect(`40${nsp},`);
  socket.send(`41${nsp},`);
  await eventually(async () => (await witness.result("fetch-sockets")).length === 1, "the socket to leave");
  return { socket, nsp, before };
}

async function assertOpen(socket) {
  socket.send('4299["echo","still here"]');
  assert.equal(await socket.next(), '4399["still here"]');
}

/** Frames that close a connection which has joined no namespace. */
const CLOSES_BEFORE = {
  "an EVENT": ['42["hi"]'],
  "an ACK": ["431[]"],
  "a DISCONNECT": ["41"],
  "a CONNECT with an array": ["40[1]"],
  "a CONNECT with a text": ['40"x"'],
  "an empty message": ["4"],
  "a binary frame": [Buffer.from([1])],
};

/** Frames that close a connection which has joined "/". */
const CLOSES_AFTER = {
  "a second CONNECT": ["40"],
  "an EVENT for a namespace not joined": ['42/custom,["hi"]'],
  "an ACK for a namespace not joined": ["43/custom,1[]"],
  "a DISCONNECT for a namespace not joined": ["41/custom,"],
  "a CONNECT_ERROR": ['44{"message":"x"}'],
  "half of a JSON text": ['42["hi"'],
  "an object as payload": ['42{"a":1}'],
  "an empty array": ["42[]"],
  "a reserved name": ['42["disconnect"]'],
  "a name that is an object": ["42[{}]"],
  "the type 7": ['47["hi"]'],
  "a letter as type": ["4x"],
  "a missing number of attachments": ['45-["hi"]'],
  "zero attachments": ['450-["hi"]'],
  "eleven attachments": ['4511-["hi"]'],
  "a DISCONNECT with a payload": ["41{}"],
  "an ACK with an object": ["431{}"],
  "a text while an attachment is expected": ['451-["hi",{"_placeholder":true,"num":0}]', '42["hi"]'],
  "an unannounced attachment": [Buffer.from([1])],
  "a placeholder without an attachment": ['451-["hi",{"_placeholder":true,"num":4}]', Buffer.from([1])],
};

/** Frames that have no effect. */
const IGNORED = {
  "an EVENT with a number for a name": ['42[7,"x"]'],
  'an EVENT named "error"': ['42["error","boom"]'],
  'an EVENT named "connection"': ['42["connection"]'],
  "an ACK for an unknown id": ['4399["a"]'],
  "an ACK without a payload": ["4399"],
};

const closes = (when, cases, open) =>
  Object.entries(cases).map(([name, frames]) =>
    scenario(`closes ${when}: ${name}`, async (t) => {
      const socket = await open(t);
      socket.send(...frames);
      assert.equal(await socket.closed(), 1005);
      assert.deepEqual(socket.takeAll(), []);
    }),
  );

export default theme("raw packets", {}, [
  ...closes("before CONNECT", CLOSES_BEFORE, async (t) => {
    const socket = await t.rawSocket();
    await socket.next();
    return socket;
  }),
  ...closes("after CONNECT", CLOSES_AFTER, joined),

  ...Object.entries(IGNORED).map(([name, frames]) =>
    scenario(`ignored: ${name}`, async (t) => {
      const socket = await joined(t);
      socket.send(...frames);
      await assertOpen(socket);
    }),
  ),

  scenario("a CONNECT to an unknown namespace is refused, and the connection stays open", async (t) => {
    const socket = await t.rawSocket();
    assert.equal(await socket.connect("40/nope,"), '44/nope,{"message":"Invalid namespace"}');
    socket.send("40/custom?token=1,");
    assert.equal(await socket.next(), '44/custom?token=1,{"message":"Invalid namespace"}');
    socket.send("40");
    assert.match(await socket.next(), CONNECTED);
    assert.equal(await socket.next(), '42["auth",{}]');
    await assertOpen(socket);
  }),

  scenario("a refusal by the middleware contains its data", async (t) => {
    const socket = await t.rawSocket();
    const refusal = '44/guarded,{"message":"not authorized","data":{"code":401}}';
    assert.equal(await socket.connect("40/guarded,"), refusal);
    socket.send('40/guarded,{"token":"secret"}');
    assert.match(await socket.next(), /^40\/guarded,\{"sid":"[\w-]{20}"\}$/);
    socket.send('42/guarded,7["echo","inside"]');
    assert.equal(await socket.next(), '43/guarded,7["inside"]');
  }),

  scenario("a namespace without a payload may have a comma or not", async (t) => {
    for (const connect of ["40/custom,", "40/custom"]) {
      const socket = await t.rawSocket();
      assert.match(await socket.connect(connect), /^40\/custom,\{"sid":"[\w-]{20}"\}$/);
      assert.equal(await socket.next(), '42/custom,["auth",{}]');
    }
  }),

  scenario("a DISCONNECT is not answered, and a CONNECT after it gets a new id", async (t) => {
    const { socket, nsp, before } = await left(t);
    socket.send(`40${nsp},`);
    const after = await socket.next();
    assert.equal(after.length, before.length);
    assert.notEqual(after, before);
    socket.send(`42${nsp},1["echo","back"]`);
    assert.equal(await socket.next(), `43${nsp},1["back"]`);
  }),

  scenario("an EVENT after a DISCONNECT closes the connection", async (t) => {
    const { socket, nsp } = await left(t);
    socket.send(`42${nsp},["hi"]`);
    assert.equal(await socket.closed(), 1005);
    assert.deepEqual(socket.takeAll(), []);
  }),

  scenario("a DISCONNECT of the server, with and without closing the connection", async (t) => {
    const socket = await joined(t);
    socket.send("40/custom,");
    await socket.next();
    await socket.next(); // "auth"
    socket.send('42["call",{"do":"disconnect-self","close":false}]');
    assert.equal(await socket.next(), "41");
    socket.send("40");
    assert.match(await socket.next(), CONNECTED);
    await socket.next(); // "auth"
    socket.send('42["call",{"do":"disconnect-self","close":true}]');
    assert.deepEqual([await socket.next(), await socket.next()].sort(), ["41", "41/custom,"]);
    assert.equal(await socket.closed(), 1005);
  }),

  scenario("acknowledgements have the ids of their events", async (t) => {
    const socket = await joined(t);
    for (const id of ["0", "7", "123456789", "4294967296", "9007199254740991"]) {
      socket.send(`42${id}["echo","x"]`);
      assert.equal(await socket.next(), `43${id}["x"]`);
    }
    socket.send('42007["echo","x"]');
    assert.equal(await socket.next(), '437["x"]');
  }),

  scenario("white space and escapes in JSON are accepted", async (t) => {
    const socket = await joined(t);
    socket.send('421[ "ec\\u0068o" , {"a" : [1 , 2]} ]');
    assert.deepEqual(JSON.parse((await socket.next()).slice(3)), [{ a: [1, 2] }]);
  }),

  scenario("two attachments replace their placeholders, in whatever order", async (t) => {
    const socket = await joined(t);
    socket.send('452-1["echo",[{"_placeholder":true,"num":1},{"num":0,"_placeholder":true}]]');
    socket.send(Buffer.from("first"), Buffer.from("second"));
    const [, json] = /^462-1(.*)$/.exec(await socket.next());
    const attachments = [await socket.next(), await socket.next()];
    // Servers may number attachments as they like, as long as each placeholder has the right one.
    const value = JSON.parse(json, (_key, each) => (each?._placeholder ? attachments[each.num].toString() : each));
    assert.deepEqual(value, [["second", "first"]]);
  }),
]);
