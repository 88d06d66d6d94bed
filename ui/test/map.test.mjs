// The service map: where its boxes and arrows go, and what its figures say.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, level, rate, share, short, span } from "../src/map/figures.ts";
import { depths, layout, path } from "../src/map/layout.ts";

const link = (text) => {
  const [from, to] = text.split(" ");
  return { from, to };
};
const CHIRPY = [
  "gateway server", "server auth", "server post", "server timeline", "server follower", "server search", "timeline post", "timeline follower",
  "timeline redis", "auth postgres", "auth redis", "post postgres", "follower postgres", "search post",
].map(link);
const NAMES = ["gateway", "server", "auth", "post", "follower", "timeline", "search", "postgres", "redis"];
const SIZES = { width: 560, box: { width: 140, least: 124, height: 40 }, label: { width: 94, height: 30 }, between: 104 };
const PHONE = { width: 340, box: { width: 104, least: 86, height: 36 }, label: { width: 72, height: 28 }, between: 92 };

test("the entry is on top, stores are at the bottom, and everything is below what leans on it", () => {
  const depth = depths(NAMES, CHIRPY);
  assert.deepEqual(Object.fromEntries(depth), { gateway: 0, server: 1, auth: 2, timeline: 2, search: 2, post: 3, follower: 3, postgres: 4, redis: 4 });
  for (const { from, to } of CHIRPY) assert.ok(depth.get(from) < depth.get(to), `${from} ${to}`);
});

test("circles, strangers, loops and nothing at all are drawn without end", () => {
  const names = ["a", "b", "c", "alone"];
  const links = ["a b", "b c", "c b", "c c", "a nobody"].map(link);
  const picture = layout(names, links, SIZES);
  assert.deepEqual(picture.boxes.map(({ name }) => name), names);
  assert.deepEqual(picture.arrows.map(({ from, to }) => `${from} ${to}`), ["a b", "b c", "c b"]);
  for (const { points } of picture.arrows) assert.ok(!path(points).includes("NaN"));
  assert.deepEqual(layout([], [], SIZES), { width: 560, height: 40, boxes: [], arrows: [] });
});

const within = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

for (const [where, sizes] of [["on a laptop", SIZES], ["on a phone", PHONE]]) {
  test(`${where} no box lies on another, none leaves the picture, and no label lies on a box or a label`, () => {
    const { boxes, arrows, width, height } = layout(NAMES, CHIRPY, sizes);
    assert.equal(width, sizes.width);
    const labels = arrows.map(({ from, to, label }) => ({
      name: `${from} → ${to}`,
      x: label.x - sizes.label.width / 2,
      y: label.y - sizes.label.height / 2,
      ...sizes.label,
    }));
    const all = [...boxes, ...labels];
    all.forEach((one, i) => {
      assert.ok(one.x >= 0 && one.x + one.width <= width + 0.01 && one.y >= 0 && one.y + one.height <= height, `${one.name} is outside`);
      for (const other of all.slice(i + 1)) assert.ok(!within(one, other), `${one.name} on ${other.name}`);
    });
  });

  test(`${where} an arrow that passes layers runs between their boxes`, () => {
    const { boxes, arrows } = layout(NAMES, CHIRPY, sizes);
    for (const { from, to, points } of arrows)
      for (const { x, y } of points.slice(1, -1))
        for (const box of boxes) {
          const under = x > box.x && x < box.x + box.width && y >= box.y && y <= box.y + box.height;
          assert.ok(!under, `${from} → ${to} runs under ${box.name}`);
        }
  });
}

test("boxes are narrower where their layer is full; when it is too full, the picture is wider than asked for", () => {
  const fan = (count) => Array.from({ length: count }, (_, i) => ({ from: "entry", to: `n${i}` }));
  const drawn = (count) => layout(["entry", ...fan(count).map(({ to }) => to)], fan(count), { ...PHONE, width: 300 });
  assert.equal(drawn(2).boxes[0].width, PHONE.box.width);
  const three = drawn(3);
  assert.ok(three.boxes[0].width < PHONE.box.width && three.boxes[0].width > PHONE.box.least && three.width === 300);
  const many = drawn(8);
  assert.ok(many.boxes[0].width === PHONE.box.least && many.width > PHONE.width);
});

const flow = (parts) => ({ requests_per_second: null, commands_per_second: null, bytes_per_second: null, error_share: null, p99_s: null, ...parts });

test("requests are told where it is HTTP, commands of databases, bytes of the rest", () => {
  assert.deepEqual(rate(flow({ requests_per_second: 4, bytes_per_second: 9 })), { value: 4, unit: "requests" });
  assert.deepEqual(rate(flow({ commands_per_second: 5, bytes_per_second: 9 })), { value: 5, unit: "commands" });
  assert.deepEqual(rate(flow({ bytes_per_second: 9 })), { value: 9, unit: "bytes" });
  assert.equal(rate(flow({})), null);
});

test("an arrow's level is its share of errors, and quiet when nothing moves", () => {
  const levels = [flow({}), flow({ requests_per_second: 0 }), flow({ requests_per_second: 5, error_share: 0.009 })].map(level);
  assert.deepEqual(levels, ["quiet", "quiet", "good"]);
  assert.deepEqual([0.01, 0.05].map((error_share) => level(flow({ requests_per_second: 5, error_share }))), ["warn", "bad"]);
  assert.equal(level(flow({ commands_per_second: 40 })), "good");
});

test("figures are short and never round a fault away", () => {
  assert.deepEqual([0, 0.0004, 0.034, 0.0996, 0.5, 0.999, 1].map(share), ["0%", "<0.1%", "3.4%", "10%", "50%", "99%", "100%"]);
  assert.deepEqual([0.04, 7.26, 9.97, 45.4, 1234].map(short), ["0.0", "7.3", "10", "45", "1,234"]);
  assert.deepEqual([812, 3400, 1.25e6].map(bytes), ["812 B", "3.4 kB", "1.3 MB"]);
  assert.deepEqual([0.0004, 0.0123, 0.31, 1.5].map(span), ["0.4 ms", "12 ms", "310 ms", "1.5 s"]);
});
