// What the war room makes of a drill's events.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fold, settles } from "../src/fold.ts";

const at = (seconds) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();
const ready = { kind: "system_ready", at: at(0) };
const page = (seconds) => ({ kind: "alert_fired", at: at(seconds), fingerprint: `f${seconds}`, name: "Stale", severity: "page", summary: "" });
const resolved = (seconds) => ({ kind: "resolved_declared", at: at(seconds) });

test("an incident declared resolved settles until something pages again", () => {
  assert.equal(settles(fold([ready, page(10)])), false);
  assert.equal(settles(fold([ready, page(10), resolved(60)])), true);
  assert.equal(settles(fold([ready, page(10), resolved(60), { ...page(70), severity: "ticket" }])), true, "nobody was woken up");
  assert.equal(settles(fold([ready, page(10), resolved(60), page(70)])), false);
  assert.equal(settles(fold([ready, page(10), resolved(60), page(70), resolved(90)])), true, "declared once more");
});
