// A scenario's first real fix, as a person would type it into the console.

import { readFile } from "node:fs/promises";
import { parse } from "yaml";

export async function firstFix(file) {
  const scenario = parse(await readFile(file, "utf8"));
  const fix = scenario.fixes[0];
  return { title: fix.title.en, lines: fix.run.map((command) => (Array.isArray(command) ? command.map(quoted).join(" ") : command)) };
}

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
