import { parse } from "yaml";
import { type CheckField, EMPTY, type Form, type Kind, KINDS, NOBODY, type Pair, type Selection } from "./form";
import { ANNOTATIONS, EMBEDDED, tree } from "./manifest";

/** A manifest as the form's fields, or the first thing in it that the form has no field for. */
export type Read = { form: Form } | { beyond: string };

/**
 * Reads a manifest into the form. It is taken only when the form would write the very same object: what a person wrote
 * is never lost by being shown.
 */
export function read(text: string): Read {
  let object: unknown;
  try {
    object = parse(text, { uniqueKeys: true });
  } catch (error) {
    return { beyond: error instanceof Error ? (error.message.split("\n")[0] ?? "YAML") : "YAML" };
  }
  const top = fields(object);
  const scheduled = top.kind === "Schedule";
  const outer = fields(top.spec);
  const kind = KINDS.find((one) => one === (scheduled ? outer.type : top.kind));
  if (!kind) return { beyond: "kind" };
  const spec = scheduled ? fields(outer[EMBEDDED[kind]]) : outer;
  const form: Form = {
    ...EMPTY,
    kind,
    name: word(fields(top.metadata).name),
    namespace: word(fields(top.metadata).namespace),
    duration: word(spec.duration),
    ...(scheduled && {
      scheduled,
      schedule: word(outer.schedule),
      concurrency: word(outer.concurrencyPolicy),
      history: word(outer.historyLimit),
    }),
    ...selection(spec),
    ...extensions(fields(fields(top.metadata).annotations), kind, spec),
    ...fault(kind, spec),
  };
  const beyond = difference(object, tree(form), "");
  return beyond === null ? { form } : { beyond };
}

type Fields = Record<string, unknown>;

function fields(value: unknown): Fields {
  return isMap(value) ? value : {};
}

function word(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function words(value: unknown): string[] {
  return Array.isArray(value) ? value.map(word) : [];
}

function pairs(value: unknown): Pair[] {
  return Object.entries(fields(value)).map(([name, one]) => ({ name, value: word(one) }));
}

function selection(spec: Fields): Selection {
  const selector = fields(spec.selector);
  return {
    ...NOBODY,
    namespaces: words(selector.namespaces),
    labels: pairs(selector.labelSelectors),
    pods: Object.entries(fields(selector.pods)).flatMap(([namespace, names]) => words(names).map((name) => `${namespace}/${name}`)),
    mode: word(spec.mode),
    value: word(spec.value),
  };
}

function checks(annotations: Fields, role: string): CheckField[] {
  return Object.entries(annotations)
    .filter(([key]) => key === role || key.startsWith(`${role}.`))
    .map(([key, query]) => ({ name: key.slice(role.length + 1), query: word(query) }));
}

function extensions(annotations: Fields, kind: Kind, spec: Fields): Partial<Form> {
  const jitter = word(annotations[ANNOTATIONS.jitter]);
  const quantiles = word(annotations[ANNOTATIONS.quantiles]);
  const shape = quantiles ? "quantiles" : jitter ? "jitter" : spec.delay === undefined ? "" : "constant";
  return {
    hypothesis: checks(annotations, ANNOTATIONS.hypothesis),
    guards: checks(annotations, ANNOTATIONS.guard),
    ...(kind === "HTTPChaos" && { percent: word(annotations[ANNOTATIONS.percent]), delay: shape, jitter, quantiles }),
  };
}

function fault(kind: Kind, spec: Fields): Partial<Form> {
  switch (kind) {
    case "HTTPChaos": {
      const replace = fields(spec.replace);
      return {
        httpTarget: word(spec.target),
        port: word(spec.port),
        path: word(spec.path),
        method: word(spec.method),
        headers: pairs(spec.request_headers),
        abort: spec.abort === true,
        latency: word(spec.delay),
        replaceCode: word(replace.code),
        replaceHeaders: pairs(replace.headers),
      };
    }
    case "NetworkChaos": {
      const delay = fields(spec.delay);
      return {
        networkAction: word(spec.action),
        direction: word(spec.direction),
        latency: word(delay.latency),
        jitter: word(delay.jitter),
        loss: word(fields(spec.loss).loss),
        rate: word(fields(spec.bandwidth).rate),
        peer: spec.target === undefined ? null : selection(fields(spec.target)),
      };
    }
    case "PodChaos":
      return { podAction: word(spec.action), gracePeriod: word(spec.gracePeriod), containers: words(spec.containerNames) };
    case "StressChaos": {
      const { cpu, memory } = fields(spec.stressors);
      return {
        cpuWorkers: word(fields(cpu).workers),
        cpuLoad: word(fields(cpu).load),
        memoryWorkers: word(fields(memory).workers),
        memorySize: word(fields(memory).size),
      };
    }
    case "TimeChaos":
      return { timeOffset: word(spec.timeOffset), containers: words(spec.containerNames) };
  }
}

/** The path of the first difference; the order of keys makes none. */
function difference(one: unknown, other: unknown, at: string): string | null {
  if (Array.isArray(one) && Array.isArray(other)) {
    if (one.length !== other.length) return at;
    return one.reduce<string | null>((found, item, i) => found ?? difference(item, other[i], `${at}[${i}]`), null);
  }
  if (!isMap(one) || !isMap(other)) return one === other ? null : at || "YAML";
  for (const key of new Set([...Object.keys(one), ...Object.keys(other)])) {
    const found = difference(one[key], other[key], at ? `${at}.${key}` : key);
    if (found !== null) return found;
  }
  return null;
}

function isMap(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
