// The program `roomcast`, as xtask has built it, or as cargo builds it here.

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The path of the built program: ROOMCAST_PROGRAM, or what cargo builds now. */
export const program = () => process.env.ROOMCAST_PROGRAM ?? build();

function build() {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  const command = ["build", "--release", "--quiet", "-p", "roomcast", "--bin", "roomcast"];
  if (spawnSync("cargo", command, { cwd: root, stdio: ["ignore", 2, 2] }).status !== 0) {
    throw new Error("the program roomcast does not build; see cargo's output above");
  }
  return join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "release", "roomcast");
}
