import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, get, post } from "../api";
import type { DrillView, JourneySeries } from "../types";
import { EMPTY } from "./form";
import { manifest } from "./manifest";
import type { Experiment, Experiments, Preview, Problem } from "./types";

const BASE = "/api/experiments";
const TYPING_MS = 350;
const LIST_MS = 3000;
const WATCH_MS = 1000;

export const experimentPath = (id: string) => `${BASE}/${encodeURIComponent(id)}`;

export interface Previewed {
  /** The last that the server said; while the next is on its way, of an earlier text. */
  preview: Preview | null;
  /** The preview is of the text as it stands. */
  fresh: boolean;
  error: unknown;
  /** Asks again, without waiting. */
  again: () => void;
}

/** What the manifest would do, asked once typing pauses. */
export function usePreview(text: string): Previewed {
  const [answer, setAnswer] = useState<{ of: string; preview: Preview | null; error: unknown } | null>(null);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    const ask = async () => {
      try {
        const preview = await post<Preview>(`${BASE}/preview`, { manifest: text }, abort.signal);
        setAnswer({ of: text, preview, error: null });
      } catch (error) {
        if (!abort.signal.aborted) setAnswer((before) => ({ of: text, preview: before?.preview ?? null, error }));
      }
    };
    const timer = setTimeout(() => void ask(), TYPING_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text, round]);
  const again = useCallback(() => setRound((before) => before + 1), []);
  return { preview: answer?.preview ?? null, fresh: answer?.of === text && !answer.error, error: answer?.error ?? null, again };
}

/** The problems for which a manifest was refused; none when it failed for another reason. */
export function refusedFor(error: unknown): Problem[] | null {
  if (!(error instanceof ApiError) || error.status !== 400) return null;
  const { problems } = (error.body ?? {}) as { problems?: Problem[] };
  return problems && problems.length > 0 ? problems : null;
}

export interface Workload {
  namespace: string;
  /** `Deployment/post-service`. */
  workload: string;
  pods: string[];
}

/** What the form may suggest: what really runs, and the SLOs that are kept. */
export interface Known {
  namespaces: string[];
  workloads: Workload[];
  slos: string[];
}

/** Everything that a fault could hit, as the preview of one on all pods tells it. Nothing is started. */
const SURVEY = manifest({ ...EMPTY, kind: "PodChaos", name: "survey", namespace: "default", podAction: "pod-kill" });

export function useKnown(): Known {
  const [known, setKnown] = useState<Known>({ namespaces: [], workloads: [], slos: [] });
  useEffect(() => {
    // Suggestions only: without an answer everything can still be typed.
    const nothing = () => null;
    const asked = [
      post<Preview>(`${BASE}/preview`, { manifest: SURVEY }).catch(nothing),
      get<JourneySeries>("/api/journeys").catch(nothing),
      get<DrillView | null>("/api/drill").catch(nothing),
    ] as const;
    void Promise.all(asked).then(([survey, series, drill]) => {
      const workloads = new Map<string, Workload>();
      for (const { namespace, workload, name } of survey?.blast_radius.pods ?? []) {
        const key = `${namespace} ${workload}`;
        const found = workloads.get(key) ?? { namespace, workload, pods: [] };
        found.pods.push(name);
        workloads.set(key, found);
      }
      const sorted = [...workloads.values()].sort((a, b) => (a.namespace + a.workload).localeCompare(b.namespace + b.workload));
      const slos = (series?.journeys ?? []).flatMap(({ name, objectives }) => objectives.map(({ sli }) => `slo: ${drill?.system}/${name}/${sli}`));
      setKnown({ namespaces: [...new Set(sorted.map((one) => one.namespace))], workloads: sorted, slos: drill ? [...new Set(slos)] : [] });
    });
  }, []);
  return known;
}

/** Asks again and again, one at a time; an answer that is the last ends it. */
function usePolled<T>(path: string, everyMs: number, isLast: (answer: T) => boolean) {
  const [state, setState] = useState<{ path: string; answer: T | null; error: unknown }>({ path, answer: null, error: null });
  const wake = useRef<() => void>(() => undefined);
  const last = useRef(isLast);
  last.current = isLast;
  useEffect(() => {
    let stopped = false;
    let timer = 0;
    const poll = async () => {
      clearTimeout(timer);
      let done = false;
      try {
        const answer = await get<T>(path);
        if (stopped) return;
        done = last.current(answer);
        setState({ path, answer, error: null });
      } catch (error) {
        if (stopped) return;
        done = error instanceof ApiError && error.status < 500;
        setState((before) => ({ path, answer: before.path === path ? before.answer : null, error }));
      }
      clearTimeout(timer);
      if (!done) timer = window.setTimeout(() => void poll(), everyMs);
    };
    wake.current = () => void poll();
    void poll();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [path, everyMs]);
  const again = useCallback(() => wake.current(), []);
  return { answer: state.path === path ? state.answer : null, error: state.path === path ? state.error : null, again };
}

export const useExperiments = () => usePolled<Experiments>(BASE, LIST_MS, () => false);

export const useExperiment = (id: string) =>
  usePolled<Experiment>(experimentPath(id), WATCH_MS, (one) => one.phase === "ended" && one.recovery.verified !== null);

/** Starts it; its id. */
export async function start(text: string): Promise<string> {
  const created = await post<{ id: string }>(BASE, { manifest: text });
  if (!created) throw new Error("the server did not say which experiment was started");
  return created.id;
}
