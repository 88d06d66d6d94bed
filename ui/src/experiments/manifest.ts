import type { CheckField, Form, Kind, Pair, Selection } from "./form";
import { type Tree, write } from "./yaml";

/** Extensions that Chaos Mesh's spec has no field for. */
export const ANNOTATIONS = {
  percent: "hikeshi.dev/percent",
  jitter: "hikeshi.dev/delay-jitter",
  quantiles: "hikeshi.dev/delay-quantiles",
  hypothesis: "hikeshi.dev/hypothesis",
  guard: "hikeshi.dev/guard",
} as const;

export const API_VERSION = "chaos-mesh.org/v1alpha1";

/** Where a Schedule embeds each kind. */
export const EMBEDDED: Record<Kind, string> = {
  HTTPChaos: "httpChaos",
  NetworkChaos: "networkChaos",
  PodChaos: "podChaos",
  StressChaos: "stressChaos",
  TimeChaos: "timeChaos",
};

export function manifest(form: Form): string {
  return write(tree(form));
}

type Fields = { [key: string]: Tree };

/** The form as the object it stands for, in the order in which people write it. */
export function tree(form: Form): Fields {
  const spec = specOf(form);
  const metadata = given({ name: form.name, namespace: form.namespace, annotations: annotations(form) });
  if (!form.scheduled) return { apiVersion: API_VERSION, kind: form.kind, metadata, spec };
  const schedule = given({
    schedule: form.schedule,
    concurrencyPolicy: form.concurrency,
    historyLimit: number(form.history),
    type: form.kind,
  });
  return { apiVersion: API_VERSION, kind: "Schedule", metadata, spec: { ...schedule, [EMBEDDED[form.kind]]: spec } };
}

/** Without what is empty. */
function given(fields: Fields): Fields {
  const says = (value: Tree) => value !== "" && value !== false && (typeof value !== "object" || Object.keys(value).length > 0);
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => says(value)));
}

/** A number where it is one; else the words, for the server to say what is wrong with them. */
function number(text: string): Tree {
  return /^\d{1,15}$/.test(text) ? Number(text) : text;
}

function pairs(list: Pair[]): Fields {
  return Object.fromEntries(list.filter((pair) => pair.name !== "").map((pair) => [pair.name, pair.value]));
}

function annotations(form: Form): Fields {
  const http = form.kind === "HTTPChaos";
  return given({
    [ANNOTATIONS.percent]: http ? form.percent : "",
    [ANNOTATIONS.jitter]: http && form.delay === "jitter" ? form.jitter : "",
    [ANNOTATIONS.quantiles]: http && form.delay === "quantiles" ? form.quantiles : "",
    ...checks(ANNOTATIONS.hypothesis, form.hypothesis),
    ...checks(ANNOTATIONS.guard, form.guards),
  });
}

/** One annotation each, told apart by a suffix: `hikeshi.dev/guard.errors`. */
function checks(role: string, list: CheckField[]): Fields {
  return Object.fromEntries(list.map(({ name, query }) => [name ? `${role}.${name}` : role, query]));
}

function selector(selection: Selection): Fields {
  const pods: { [namespace: string]: string[] } = {};
  for (const pod of selection.pods) {
    const [namespace = "", name = ""] = pod.includes("/") ? pod.split("/", 2) : ["", pod];
    (pods[namespace] ??= []).push(name);
  }
  return given({ namespaces: selection.namespaces, labelSelectors: pairs(selection.labels), pods });
}

function selected(selection: Selection): Fields {
  return { selector: selector(selection), ...given({ mode: selection.mode, value: selection.value }) };
}

function specOf(form: Form): Fields {
  return { ...selected(form), ...fault(form), ...given({ duration: form.duration }) };
}

function fault(form: Form): Fields {
  switch (form.kind) {
    case "HTTPChaos":
      return given({
        target: form.httpTarget,
        port: number(form.port),
        path: form.path,
        method: form.method,
        request_headers: pairs(form.headers),
        abort: form.abort,
        delay: form.delay === "constant" || form.delay === "jitter" ? form.latency : "",
        replace: given({ code: number(form.replaceCode), headers: pairs(form.replaceHeaders) }),
      });
    case "NetworkChaos": {
      const { networkAction: action } = form;
      return given({
        action,
        delay: action === "delay" ? given({ latency: form.latency, jitter: form.jitter }) : {},
        loss: action === "loss" ? given({ loss: form.loss }) : {},
        bandwidth: action === "bandwidth" ? given({ rate: form.rate }) : {},
        direction: form.direction,
        target: form.peer ? selected(form.peer) : {},
      });
    }
    case "PodChaos":
      return given({
        action: form.podAction,
        containerNames: form.containers,
        gracePeriod: form.podAction === "pod-kill" ? number(form.gracePeriod) : "",
      });
    case "StressChaos":
      return {
        stressors: given({
          cpu: given({ workers: number(form.cpuWorkers), load: number(form.cpuLoad) }),
          memory: given({ workers: number(form.memoryWorkers), size: form.memorySize }),
        }),
      };
    case "TimeChaos":
      return given({ timeOffset: form.timeOffset, containerNames: form.containers });
  }
}
