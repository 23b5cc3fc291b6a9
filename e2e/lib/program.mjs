// The program `roomcast` and the examples, as xtask has built them, or as cargo builds them here.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The path of the built program: ROOMCAST_PROGRAM, or what cargo builds now. */
export const program = () => process.env.ROOMCAST_PROGRAM ?? join(build("--release", "-p", "roomcast", "--bin", "roomcast"), "release", "roomcast");

/** The folder of the built examples of the package roomcast-examples: ROOMCAST_EXAMPLES, or what cargo builds now. */
export const examples = () => process.env.ROOMCAST_EXAMPLES ?? join(build("-p", "roomcast-examples", "--bins"), "debug");

/** Resolves to the build directory. */
function build(...options) {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  if (spawnSync("cargo", ["build", "--quiet", ...options], { cwd: root, stdio: ["ignore", 2, 2] }).status !== 0) {
    throw new Error(`cargo build ${options.join(" ")} failed; see cargo's output above`);
  }
  return process.env.CARGO_TARGET_DIR ?? join(root, "target");
}
