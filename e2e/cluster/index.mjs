// All cluster scenarios, in the order in which they run.

import emits from "./emits.mjs";
import sockets from "./sockets.mjs";
import servers from "./servers.mjs";
import emitters from "./emitters.mjs";
import steady from "./steady.mjs";

export default [...emits, ...sockets, ...servers, ...emitters, ...steady];
