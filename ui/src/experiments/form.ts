/** What the form holds: the words in its fields, as they were typed. An empty field says nothing in the manifest. */

export const KINDS = ["HTTPChaos", "NetworkChaos", "PodChaos", "StressChaos", "TimeChaos"] as const;
export type Kind = (typeof KINDS)[number];
export const MODES = ["all", "one", "fixed", "fixed-percent", "random-max-percent"] as const;
export const NETWORK_ACTIONS = ["delay", "loss", "partition", "bandwidth"] as const;
export const POD_ACTIONS = ["pod-kill", "pod-failure", "container-kill"] as const;

export interface Pair {
  name: string;
  value: string;
}

/** A comparison in PromQL, or an SLO (`slo: system/journey/sli`); the name is the annotation's suffix. */
export interface CheckField {
  name: string;
  query: string;
}

export interface Selection {
  namespaces: string[];
  labels: Pair[];
  /** Each `namespace/name`. */
  pods: string[];
  mode: string;
  /** Behind the modes fixed (a number) and the two percents. */
  value: string;
}

export interface Form extends Selection {
  kind: Kind;
  name: string;
  namespace: string;
  duration: string;
  hypothesis: CheckField[];
  guards: CheckField[];
  /** Cron or `@every 10m`; the experiment is wrapped into a Schedule. */
  scheduled: boolean;
  schedule: string;
  concurrency: string;
  history: string;
  // HTTPChaos
  httpTarget: string;
  port: string;
  path: string;
  method: string;
  /** Request headers that must match: one person's. */
  headers: Pair[];
  /** Of the matching requests, in percent: four places make parts per million. */
  percent: string;
  abort: boolean;
  delay: "" | "constant" | "jitter" | "quantiles";
  latency: string;
  jitter: string;
  quantiles: string;
  replaceCode: string;
  replaceHeaders: Pair[];
  // NetworkChaos; its latency and jitter stand above
  networkAction: string;
  direction: string;
  loss: string;
  rate: string;
  peer: Selection | null;
  // PodChaos
  podAction: string;
  gracePeriod: string;
  containers: string[];
  // StressChaos
  cpuWorkers: string;
  cpuLoad: string;
  memoryWorkers: string;
  memorySize: string;
  // TimeChaos
  timeOffset: string;
}

export const NOBODY: Selection = { namespaces: [], labels: [], pods: [], mode: "all", value: "" };

export const EMPTY: Form = {
  ...NOBODY,
  kind: "HTTPChaos",
  name: "",
  namespace: "",
  duration: "",
  hypothesis: [],
  guards: [],
  scheduled: false,
  schedule: "",
  concurrency: "",
  history: "",
  httpTarget: "",
  port: "",
  path: "",
  method: "",
  headers: [],
  percent: "",
  abort: false,
  delay: "",
  latency: "",
  jitter: "",
  quantiles: "",
  replaceCode: "",
  replaceHeaders: [],
  networkAction: "",
  direction: "",
  loss: "",
  rate: "",
  peer: null,
  podAction: "",
  gracePeriod: "",
  containers: [],
  cpuWorkers: "",
  cpuLoad: "",
  memoryWorkers: "",
  memorySize: "",
  timeOffset: "",
};

/** The fields that a kind cannot do without, filled in so that it means something at once. */
export function startOf(kind: Kind): Partial<Form> {
  switch (kind) {
    case "HTTPChaos":
      return { httpTarget: "Response", port: "8080", path: "/api/*", delay: "constant", latency: "300ms" };
    case "NetworkChaos":
      return { networkAction: "delay", direction: "to", latency: "100ms" };
    case "PodChaos":
      return { podAction: "pod-kill" };
    case "StressChaos":
      return { cpuWorkers: "1", cpuLoad: "80" };
    case "TimeChaos":
      return { timeOffset: "-10m" };
  }
}

/** Another kind on the same target, with the same duration, hypothesis and guards. */
export function turnedInto(form: Form, kind: Kind): Form {
  const { name, namespace, duration, hypothesis, guards, scheduled, schedule, concurrency, history } = form;
  const { namespaces, labels, pods, mode, value } = form;
  const kept = { name, namespace, duration, hypothesis, guards, scheduled, schedule, concurrency, history };
  return { ...EMPTY, ...kept, namespaces, labels, pods, mode, value, ...startOf(kind), kind };
}
