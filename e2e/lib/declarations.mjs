// The public members of a class or interface in a declaration file (.d.ts) as TypeScript's compiler writes it: one member begins on a line
// that is indented by four spaces more than its type.

import { readFile } from "node:fs/promises";

/** Resolves to the names. What is private, or begins with `_`, or is marked so in its comment, is left out. */
export async function membersOf(file, type) {
  const lines = (await readFile(file, "utf8")).split("\n");
  const head = new RegExp(`^( *)(export )?(declare )?(default )?(abstract )?(class|interface) ${type}\\b`);
  const begin = lines.findIndex((line) => head.test(line));
  const indent = head.exec(lines[begin] ?? "")?.[1] ?? "";
  const end = lines.findIndex((line, index) => index > begin && line === `${indent}}`);
  if (begin < 0 || end < 0) throw new Error(`${file} declares no ${type}`);
  const member = new RegExp(`^${indent} {4}((?:(?:private|protected|public|static|readonly|abstract|get|set) )*)"?([\\w$-]+)"?\\??\\s*[(:<;]`);
  const names = new Set();
  let comment = "";
  for (const line of lines.slice(begin + 1, end)) {
    if (/^ *(\/\*\*| \*)/.test(line)) comment = line.trim().startsWith("/**") ? line : comment + line;
    const [, modifiers, name] = member.exec(line) ?? [];
    if (!name) continue;
    const hidden = /private|protected/.test(modifiers) || /^_|^constructor$/.test(name) || /@(private|internal)\b/.test(comment);
    if (!hidden) names.add(name);
    comment = "";
  }
  if (names.size === 0) throw new Error(`${file} declares no members of ${type}`);
  return [...names];
}
