import { useCallback, useEffect, useRef, useState } from "react";
import { ApiError, get, post } from "../api";
import type { Experiment, Experiments, Preview, Problem, Targets } from "./types";

const BASE = "/api/experiments";
const TYPING_MS = 350;
const LIST_MS = 3000;
const WATCH_MS = 1000;
const TARGETS_MS = 10_000;

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
export function refusedFor(error: unknown): Problem[] {
  if (!(error instanceof ApiError)) return [];
  return ((error.body ?? {}) as { problems?: Problem[] }).problems ?? [];
}

/** What the form may suggest: what really runs, what is asked of it, and the SLOs that are kept. */
export type Known = Targets;

const NOTHING: Targets = { default_namespace: "", namespaces: [], workloads: [], services: [], routes: [], slos: [] };

/** What there is to aim at. Suggestions only: without an answer everything can still be typed. */
export const useKnown = (): Known => usePolled<Targets>(`${BASE}/targets`, TARGETS_MS, () => false).answer ?? NOTHING;

/** Asks again and again, one at a time; an answer that is the last ends it. */
export function usePolled<T>(path: string, everyMs: number, isLast: (answer: T) => boolean) {
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
