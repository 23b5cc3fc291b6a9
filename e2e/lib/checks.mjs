// Counts checks, for scripts that make them one after another.

const counts = { passed: 0, failed: 0 };

/** Runs one check, and prints whether it has passed. */
export async function check(name, run) {
  const error = await run().then(() => undefined, (failure) => failure);
  counts[error ? "failed" : "passed"] += 1;
  console.log(`${error ? "FAIL" : "ok  "} ${name}`);
  if (error) console.log((error.stack ?? String(error)).replace(/^/gm, "     "));
}

/** Prints the counts and exits: with 0 only if all checks have passed, and there was one. */
export function end() {
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  process.exit(counts.failed === 0 && counts.passed > 0 ? 0 : 1);
}
