// All cluster scenarios, in the order in which they run.

import emits from "./emits.mjs";
import sockets from "./sockets.mjs";
import servers from "./servers.mjs";
import emitters from "./emitters.mjs";
import recovery, { RECOVERING } from "./recovery.mjs";
import steady from "./steady.mjs";

/** Those in which the parser of the clients matters. */
export const ofClients = [...emits, ...sockets];

/** Those of servers that keep sessions, and the settings of such servers. */
export { recovery, RECOVERING };

export default [...emits, ...sockets, ...servers, ...emitters, ...steady];
