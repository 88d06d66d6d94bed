// The words of Chirpy's page: both languages say everything that the page asks for.

import assert from "node:assert/strict";
import { test } from "node:test";

const files = import.meta.glob("../../chirpy/src/page/*.{js,html}", { query: "?raw", import: "default", eager: true });
const named = (ending) => Object.entries(files).filter(([name]) => name.endsWith(ending)).map(([, text]) => text);

/** The dictionary is the module's own business: it is read with one more export. */
async function dictionary() {
  const [text] = named("/words.js");
  const module = await import(/* @vite-ignore */ `data:text/javascript,${encodeURIComponent(`${text}\nexport { words };`)}`);
  const { ja, en } = module.words;
  // The form for one thing of another word: `t` finds it by itself, and Japanese needs none.
  const singular = (key) => key.endsWith("One") && en[key.slice(0, -3)] !== undefined;
  return { ja, en: Object.fromEntries(Object.entries(en).filter(([key]) => !singular(key))) };
}

test("both languages have the same words, with the same places to fill in", async () => {
  const { ja, en } = await dictionary();
  assert.deepEqual(Object.keys(ja).sort(), Object.keys(en).sort());
  const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const [key, text] of Object.entries(en)) {
    assert.ok(text.trim() && ja[key].trim(), `${key} says nothing`);
    assert.deepEqual(places(ja[key]), places(text), key);
  }
});

test("every word that the page asks for is there, and none that it does not", async () => {
  const { en } = await dictionary();
  const page = [...named(".js"), ...named(".html")].join("\n");
  // t("key"), t(signup ? "key" : "key"), onState("key"), data-t="key"
  const calls = [...page.matchAll(/\b(?:t|onState)\(([^()]*)\)|\bdata-(?:t|hint)="(\w+)"/g)];
  const asked = new Set(calls.flatMap(([, call, key]) => (key ? [key] : [...call.matchAll(/"(\w+)"/g)].map((one) => one[1]))));
  const known = new Set(Object.keys(en));
  assert.deepEqual([...asked].filter((key) => !known.has(key)), []);
  assert.deepEqual([...known].filter((key) => !page.includes(`"${key}"`)), []);
});
