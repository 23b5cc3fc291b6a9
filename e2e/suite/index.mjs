// All themes, in the order in which they are run.

import acks from "./acks.mjs";
import auth from "./auth.mjs";
import bursts from "./bursts.mjs";
import busy from "./busy.mjs";
import calls from "./calls.mjs";
import compression from "./compression.mjs";
import cors from "./cors.mjs";
import crowd from "./crowd.mjs";
import defaults from "./defaults.mjs";
import deadlines from "./deadlines.mjs";
import disconnects from "./disconnects.mjs";
import heartbeat from "./heartbeat.mjs";
import late from "./late.mjs";
import limits from "./limits.mjs";
import msgpack from "./msgpack.mjs";
import namespaces from "./namespaces.mjs";
import oneWrite from "./one-write.mjs";
import outbox from "./outbox.mjs";
import rawHttp from "./raw-http.mjs";
import rawPackets from "./raw-packets.mjs";
import rawWebsocket from "./raw-websocket.mjs";
import recovery from "./recovery.mjs";
import restart from "./restart.mjs";
import rooms from "./rooms.mjs";
import transports from "./transports.mjs";
import values from "./values.mjs";

export default [
  transports,
  values,
  acks,
  rooms,
  namespaces,
  auth,
  late,
  bursts,
  outbox,
  busy,
  oneWrite,
  calls,
  disconnects,
  restart,
  limits,
  heartbeat,
  deadlines,
  defaults,
  compression,
  recovery,
  msgpack,
  cors,
  rawHttp,
  rawWebsocket,
  rawPackets,
  crowd,
];
