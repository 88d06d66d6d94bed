// The form's way to a manifest and back: `npm test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { lasts, seconds, span } from "../src/experiments/duration.ts";
import { extent, lifted, scale, shown } from "../src/experiments/figure.ts";
import { EMPTY, KINDS, NETWORK_ACTIONS, POD_ACTIONS, startOf, turnedInto } from "../src/experiments/form.ts";
import { manifest, tree } from "../src/experiments/manifest.ts";
import { PRESETS } from "../src/experiments/presets.ts";
import { read } from "../src/experiments/read.ts";
import { write } from "../src/experiments/yaml.ts";

const AWKWARD = [
  "/test*", "*", "&x", "!x", "%x", "@every 10m", "`x`", "a: b", "a #b", "# b", "- a", "-", "?", "? a", "{a}", "[a]", "a,b", "|", ">",
  "it's", '"said"', `it's "said"`, "back\\slash", `'`, `"`, "\\", "''", "a'b\\c",
  "true", "No", "on", "y", "~", "null", "NaN", ".inf", "1", "1.5", "0x1f", "0o17", "1e3", "1_000", "1:30", "007", "+1", "2024-01-01", "<<", "=",
  "1s", "1h30m", "50%", " lead", "trail ", "two\nlines\n", "tab\there", "\u0000", "\u0085", "\u2028", "\ufeff", "\r\n", "---", "...",
  "更新の割合", "レイテンシ：1 秒", "「仮説」", "🔥", "a\u3000b", "é", 'sum(rate(http_requests_total{code=~"5.."}[1m])) > 0.01',
];

test("every string comes back as itself, as a value, a key and an item", () => {
  for (const text of AWKWARD) {
    const made = { value: text, list: [text, { in: text, [text || "x"]: text }], map: { [text]: { [text]: text } } };
    for (const version of ["1.1", "1.2"]) {
      assert.deepEqual(parse(write(made), { version }), made, `${JSON.stringify(text)} under YAML ${version}:\n${write(made)}`);
    }
  }
});

test("numbers, booleans, nested lists and what is empty come back", () => {
  const made = { n: 80, f: 1.5, yes: true, none: {}, list: [], deep: [[1, 2], [{ a: [{ b: 1, c: "x" }] }], []] };
  assert.deepEqual(parse(write(made)), made);
});

test("what needs no quotes has none", () => {
  assert.equal(write({ path: "/api/posts", delay: "300ms", app: "post-service", glob: "/test*" }), "path: /api/posts\ndelay: 300ms\napp: post-service\nglob: '/test*'\n");
});

test("the form of the talk's manifest is the talk's manifest", () => {
  const talk = PRESETS.find((preset) => preset.text);
  assert.deepEqual(parse(talk.text), {
    kind: "HTTPChaos",
    apiVersion: "chaos-mesh.org/v1alpha1",
    metadata: { name: "http-delay" },
    spec: {
      selector: { namespaces: ["default"], labelSelectors: { app: "nginx-app" } },
      mode: "all",
      target: "Response",
      port: 80,
      path: "/test*",
      delay: "1s",
      replace: { code: 500, headers: { server: "nginx-test" } },
    },
  });
  assert.deepEqual(parse(manifest(talk.form)), parse(talk.text));
  assert.deepEqual(read(talk.text), { form: talk.form });
});

test("every preset and every kind's start can be read back", () => {
  for (const { form } of PRESETS) assert.deepEqual(read(manifest(form)), { form });
  for (const kind of KINDS) {
    const form = { ...EMPTY, kind, name: "a", namespaces: ["b"], ...startOf(kind) };
    assert.deepEqual(read(manifest(form)), { form });
  }
});

test("a form with every field filled in can be read back, under a Schedule too", () => {
  const peer = { namespaces: ["chirpy"], labels: [{ name: "app", value: "postgres" }], pods: [], mode: "all", value: "" };
  const common = {
    name: "x",
    namespace: "chirpy",
    namespaces: ["a", "b"],
    labels: [{ name: "app.kubernetes.io/name", value: "it's" }],
    pods: ["a/p-0", "a/p-1", "b/p-2"],
    mode: "fixed-percent",
    value: "50",
    duration: "1m30s",
    hypothesis: [{ name: "", query: 'sum(rate(x{code!~"5.."}[1m])) > 0.99' }, { name: "p99", query: "slo: chirpy/post-message/latency" }],
    guards: [{ name: "errors", query: "burn: 14.4 slo: chirpy/post-message/availability" }],
  };
  const http = { httpTarget: "Request", port: "80", path: "/a?b*", method: "POST", headers: [{ name: "x-user-name", value: "佐々木" }], percent: "0.0001" };
  const forms = [
    { ...http, kind: "HTTPChaos", abort: true, replaceCode: "503", replaceHeaders: [{ name: "a", value: "no" }] },
    { ...http, kind: "HTTPChaos", delay: "jitter", latency: "1s", jitter: "200ms" },
    { ...http, kind: "HTTPChaos", delay: "quantiles", quantiles: "p50=80ms,p99=1s" },
    { kind: "NetworkChaos", networkAction: "delay", latency: "1s", jitter: "1ms", direction: "both", peer },
    { kind: "NetworkChaos", networkAction: "loss", loss: "2.5" },
    { kind: "NetworkChaos", networkAction: "bandwidth", rate: "1mbps" },
    { kind: "PodChaos", podAction: "pod-kill", gracePeriod: "0" },
    { kind: "PodChaos", podAction: "container-kill", containers: ["redis"] },
    { kind: "StressChaos", cpuWorkers: "2", cpuLoad: "80", memoryWorkers: "1", memorySize: "256MB" },
    { kind: "TimeChaos", timeOffset: "-10m", containers: ["app"] },
  ];
  for (const fields of forms) {
    for (const schedule of [{}, { scheduled: true, schedule: "@every 10m", concurrency: "Forbid", history: "2" }]) {
      const form = { ...EMPTY, ...common, ...fields, ...schedule };
      assert.deepEqual(read(manifest(form)), { form });
    }
  }
});

test("awkward strings pass through every text of the form", () => {
  for (const text of AWKWARD.filter((one) => !one.includes("/"))) {
    const form = { ...EMPTY, ...startOf("HTTPChaos"), name: text, path: text, labels: [{ name: text, value: text }], hypothesis: [{ name: "q", query: text }] };
    assert.deepEqual(read(manifest(form)), { form }, manifest(form));
  }
});

test("what the form has no field for is named, and never dropped", () => {
  const talk = manifest(PRESETS[0].form);
  const beyond = (text) => read(text).beyond;
  assert.equal(beyond(`${talk}  patch:\n    headers: [[a, b]]\n`), "spec.patch");
  assert.equal(beyond(talk.replace("mode: all", "mode: all\n  value: 50")), "spec.value");
  assert.equal(beyond(talk.replace("    namespaces:", "    nodes: [n1]\n    namespaces:")), "spec.selector.nodes");
  assert.equal(beyond(talk.replace("HTTPChaos", "Workflow")), "kind");
  assert.equal(beyond(talk.replace("name: http-delay", "name: http-delay\n  annotations: {hikeshi.dev/seed: '7'}")), "metadata.annotations");
  assert.match(beyond("a: [b"), /./);
  assert.match(beyond(""), /./);
});

test("an unfinished number stays as it was typed, for the server to say what is wrong", () => {
  assert.equal(tree({ ...EMPTY, ...startOf("HTTPChaos"), port: "80a" }).spec.port, "80a");
  assert.equal(tree({ ...EMPTY, ...startOf("HTTPChaos"), port: "80" }).spec.port, 80);
});

test("another kind keeps the target and drops the other kind's fields", () => {
  const turned = turnedInto(PRESETS[1].form, "PodChaos");
  assert.deepEqual(turned.labels, PRESETS[1].form.labels);
  assert.equal(turned.podAction, POD_ACTIONS[0]);
  assert.equal(turned.percent, "");
  assert.ok(NETWORK_ACTIONS.includes(turnedInto(turned, "NetworkChaos").networkAction));
});

test("a figure is told in its unit, and near one no digit is lost", () => {
  assert.equal(shown(0.31, "seconds"), "310 ms");
  assert.equal(shown(1.5, "seconds"), "1.5 s");
  assert.equal(shown(0.9995, "ratio"), "99.95%");
  assert.equal(shown(1, "ratio"), "100%");
  assert.equal(shown(0.99999, "ratio"), "99.999%");
  assert.equal(shown(14.4, "burn rate"), "×14.4");
  assert.equal(shown(12345.6, ""), "12346");
});

test("a figure's picture holds every value, its limit and the whole fault", () => {
  const points = [[100, 2], [110, 8]];
  const [bottom, top] = scale({ points, objective: 5, unit: "" });
  assert.ok(bottom < 2 && top > 8);
  assert.equal(scale({ points: [[0, 0.1]], objective: 14, unit: "burn rate" })[0], 0);
  assert.deepEqual(scale({ points: [], objective: null, unit: "" }), [0, 1.2]);
  assert.equal(scale({ points: [[0, 0.97], [1, 1]], objective: 0.99, unit: "ratio" })[1], 1);
  assert.deepEqual(extent(points, 105, null, 130), [100, 130]);
  assert.deepEqual(extent([], 105, 120, 500), [45, 120]);
});

test("a fault is over when its last pod is rid of it", () => {
  const at = (second) => `2026-01-01T00:00:${second}Z`;
  const pod = (injected_at, recovered_at) => ({ injected_at, recovered_at });
  const seconds = (text) => Date.parse(text) / 1000;
  assert.equal(lifted({ records: [pod(at("01"), at("20")), pod(at("02"), at("22")), pod(null, null)], ended_at: at("30") }), seconds(at("22")));
  assert.equal(lifted({ records: [pod(at("01"), at("20")), pod(at("02"), null)], ended_at: null }), null);
  assert.equal(lifted({ records: [pod(at("01"), null)], ended_at: at("30") }), seconds(at("30")));
  assert.equal(lifted({ records: [], ended_at: null }), null);
});

test("durations are read and told", () => {
  assert.equal(seconds("1h1m1.5s"), 3661.5);
  assert.equal(seconds("300ms"), 0.3);
  assert.equal(seconds("soon"), null);
  assert.equal(seconds(""), null);
  assert.equal(lasts(manifest(PRESETS[1].form)), 600);
  assert.equal(lasts("spec:\n  duration: \"90s\" # a while\n"), 90);
  assert.equal(lasts(PRESETS[0].text), null);
  assert.equal(lasts(manifest({ ...PRESETS[1].form, scheduled: true, schedule: "@every 10m" })), null);
  assert.equal(span(130, "ja"), "2 分 10 秒");
  assert.equal(span(3600, "en"), "1 h");
  assert.equal(span(0.3, "en"), "0.3 s");
  assert.equal(span(0, "ja"), "0 秒");
});
