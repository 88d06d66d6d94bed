// What Chirpy's page keeps of a post that was not sent: `npm test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { draft } from "../../chirpy/src/page/drafts.js";

function memory() {
  const kept = new Map();
  return { get: (name) => kept.get(name) ?? null, set: (name, text) => (text === null ? kept.delete(name) : kept.set(name, text)), kept };
}

test("a post whose answer was lost has the same key after a reload, and another text another", () => {
  const store = memory();
  const before = draft(store, "new");
  before.write("hello");
  const key = before.key("hello");
  assert.equal(before.key("hello"), key);
  const after = draft(store, "new");
  assert.deepEqual([after.text, after.key("hello")], ["hello", key]);
  after.write("hello!");
  assert.notEqual(draft(store, "new").key("hello!"), key);
  assert.notEqual(draft(memory(), "new").key("hello"), key);
});

test("what was taken leaves nothing behind", () => {
  const store = memory();
  const one = draft(store, "new");
  one.key("hello");
  one.write("");
  assert.equal(store.kept.size, 0);
});

test("a key belongs to the text it was made for, whatever another tab has written since", () => {
  const store = memory();
  const [here, there] = [draft(store, "new"), draft(store, "new")];
  here.write("hello");
  there.write("good bye");
  const key = here.key("hello");
  const after = draft(store, "new");
  assert.deepEqual([after.text, after.key("hello")], ["hello", key]);
});
