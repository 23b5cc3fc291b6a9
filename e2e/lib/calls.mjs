// The `call` event of the conformance server: runs a server-side operation that a client requests as `{ do, target, ... }`, and answers
// with `{ ok }` or `{ error, ...details }`.

/**
 * Runs a request of a socket. Resolves to the answer for the acknowledgement, or to undefined if none is to be sent.
 * `inMemory`: the server has Node's in-memory adapter, which lacks what only a cluster needs.
 */
export async function runCall(socket, request, { inMemory }) {
  const call = CALLS[request.do];
  if (!call) return { error: `unknown call ${request.do}` };
  try {
    const ok = await call({ ...request, socket, inMemory, target: operator(socket, request.target ?? {}) });
    return ok === NO_ANSWER ? undefined : { ok };
  } catch (error) {
    return { error: error.message, ...(error.responses && { answers: error.responses }) };
  }
}

const NO_ANSWER = Symbol("no answer");

// Each takes the keys of the request, with a broadcast operator as `target`.
const CALLS = {
  "emit": ({ target, event, args = [] }) => target.emit(event, ...args),
  "emit-with-ack": ({ target, event, args = [] }) => target.emitWithAck(event, ...args),
  "socket-emit-with-ack": ({ socket, event, args = [], timeout }) => socket.timeout(timeout).emitWithAck(event, ...args),
  "fetch-sockets": async ({ target }) => {
    const sockets = await target.fetchSockets();
    return sockets.map(describe).sort((a, b) => (a.id < b.id ? -1 : 1));
  },
  "sockets-join": ({ target, rooms }) => {
    target.socketsJoin(rooms);
    return true;
  },
  "sockets-leave": ({ target, rooms }) => {
    target.socketsLeave(rooms);
    return true;
  },
  "disconnect-sockets": ({ target, close = false }) => {
    target.disconnectSockets(close);
    return true;
  },
  "server-side-emit": ({ socket, inMemory, event, args = [] }) => {
    // In memory there is no other server, and Node would print a warning.
    return inMemory || socket.nsp.serverSideEmit(event, ...args);
  },
  "server-side-emit-with-ack": ({ socket, inMemory, event, args = [] }) => {
    // In memory Node never answers, although without other servers there are no answers to wait for.
    return inMemory ? [] : socket.nsp.serverSideEmitWithAck(event, ...args);
  },
  "all-rooms": async ({ socket, inMemory }) => {
    const { adapter } = socket.nsp;
    if (!inMemory && !adapter.allRooms) throw new Error("all-rooms is not supported by this adapter");
    const rooms = inMemory ? adapter.rooms.keys() : await adapter.allRooms();
    return [...rooms].sort();
  },
  "server-count": ({ socket }) => socket.nsp.adapter.serverCount(),
  "disconnect-self": ({ socket, close = false }) => {
    socket.disconnect(close);
    return NO_ANSWER;
  },
};

// With `broadcast`, the operator starts from the socket and excludes it; otherwise it starts from the namespace.
function operator(socket, { rooms = [], except = [], local, volatile, compress, broadcast, timeout }) {
  let target = (broadcast ? socket.broadcast : socket.nsp.to([])).to(rooms).except(except);
  if (local) target = target.local;
  if (volatile) target = target.volatile;
  if (compress !== undefined) target = target.compress(compress);
  if (timeout !== undefined) target = target.timeout(timeout);
  return target;
}

function describe({ id, rooms, data, handshake }) {
  return { id, rooms: [...rooms].sort(), data, handshake: { auth: handshake.auth } };
}
