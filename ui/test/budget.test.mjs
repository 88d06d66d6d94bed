// What the page of error budgets says of figures: `npm test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { burn, lasting, promise, promised, share, windowWords } from "../src/budget/format.ts";
import { budgetScale, budgetTimes, burnScale, HEIGHT, line, nearest, stateOf } from "../src/budget/plot.ts";
import { budgetWords } from "../src/budget/words.ts";

test("what was touched is never said to be whole, what is left never nothing", () => {
  assert.equal(share(1), "100 %");
  assert.equal(share(0.99999), "99.9 %");
  assert.equal(share(0.0002), "0.1 %");
  assert.equal(share(0), "0 %");
  assert.equal(share(0.8231), "82.3 %");
  assert.equal(share(-0.4), "-40 %");
});

test("burn rates and times have the digits that matter", () => {
  assert.deepEqual([null, 0, 0.4, 14.4, 123.4].map(burn), ["–", "×0.00", "×0.40", "×14.4", "×123"]);
  assert.deepEqual([45, 60, 720, 12_600, 181_440].map((s) => lasting(s, "en")), ["45 s", "1 min", "12 min", "3.5 h", "2.1 days"]);
  assert.equal(lasting(12_600, "ja"), "3.5 時間");
});

test("what is promised is said in both languages", () => {
  const slo = { sli: "latency", objective: 98, within: "500ms" };
  assert.equal(promise(slo, "ja"), "500ms 以内の応答が 98 % 以上");
  assert.equal(promise(slo, "en"), "98 % answered within 500ms");
  assert.equal(windowWords("30d", "ja"), "30 日");
  assert.equal(windowWords("calendar quarter (UTC+09:00)", "ja"), "暦の四半期（UTC+09:00）");
  assert.equal(windowWords("calendar month (UTC+00:00)", "en"), "the calendar's month (UTC+00:00)");
  assert.equal(promised("98.5 % within 500ms over 30d", "ja"), "30 日で 98.5 %（500ms 以内）");
  assert.equal(promised("99 % over calendar quarter (UTC+09:00)", "ja"), "暦の四半期（UTC+09:00）で 99 %");
  assert.equal(promised("something else", "ja"), "something else");
});

test("an objective that nothing is known about is in no good state", () => {
  const status = (left) => ({ left });
  const alert = (severity, fires) => ({ severity, fires });
  assert.equal(stateOf({ status: null, alerts: [] }), "unknown");
  assert.equal(stateOf({ status: status(null), alerts: [alert("page", true)] }), "unknown");
  assert.equal(stateOf({ status: status(0), alerts: [] }), "spent");
  assert.equal(stateOf({ status: status(0.9), alerts: [alert("ticket", true)] }), "fine");
  assert.equal(stateOf({ status: status(0.9), alerts: [alert("page", true)] }), "burning");
  assert.equal(stateOf({ status: status(0.2), alerts: [] }), "low");
});

test("lines break where nothing is known, and stay in the picture", () => {
  assert.equal(line([[0, 0], [5, null], [10, 1]], [0, 10], [0, 1]), `M0.0 ${HEIGHT}.0M600.0 0.0`);
  assert.equal(line([[0, 9], [10, 9]], [0, 10], [0, 1]), "M0.0 0.0L600.0 0.0");
  assert.deepEqual(budgetScale({ points: [[0, 0.2], [1, 1.43]] }), [-0.5, 1]);
  assert.deepEqual(budgetScale({ points: [[0, 0.2]] }), [0, 1]);
  assert.deepEqual(budgetTimes({ points: [[900, 0]], from: 0, now: 1000 }), [875, 1000]);
  assert.deepEqual(budgetTimes({ points: [[400, 0]], from: 0, now: 1000 }), [0, 1000]);
  assert.deepEqual(budgetTimes({ points: [], from: 0, now: 1000 }), [0, 1000]);
  assert.ok(burnScale([[0, 1, null]], 14.4)[1] > 14.4, "the threshold is in the picture");
  assert.ok(burnScale([[0, 1, 100]], 14.4)[1] > 100);
  assert.deepEqual(nearest([[0, "a"], [10, "b"]], [0, 10], 0.7), [10, "b"]);
  assert.equal(nearest([], [0, 1], 0.5), null);
});

test("every word is there in both languages", () => {
  for (const [key, { ja, en }] of Object.entries(budgetWords)) assert.ok(ja && en && key.startsWith("b_"), key);
});
