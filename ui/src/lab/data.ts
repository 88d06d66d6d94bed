import { useCallback, useEffect, useRef, useState } from "react";
import { get, post } from "../api";
import type { Act, LabState, Outcome } from "./types";

const BASE = "/api/lab";
/** Who sits in the lab is there as long as they ask this often. */
const ASK_MS = 2000;

export interface Lab {
  state: LabState | null;
  error: unknown;
  /** What is being done, while it is. */
  doing: Act["do"] | null;
  act: (act: Act) => Promise<LabState | null>;
}

/** The lab as it is; asked again and again, but not while something is done in it. */
export function useLab(): Lab {
  const [state, setState] = useState<LabState | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [doing, setDoing] = useState<Act["do"] | null>(null);
  const busy = useRef(false);
  useEffect(() => {
    let stopped = false;
    let timer = 0;
    const look = async () => {
      try {
        if (!busy.current) {
          const answer = await get<LabState>(BASE);
          // What was asked before something was done is no longer so.
          if (!stopped && !busy.current) {
            setState(answer);
            setError(null);
          }
        }
      } catch (reason) {
        if (!stopped) setError(reason);
      }
      if (!stopped) timer = window.setTimeout(() => void look(), ASK_MS);
    };
    void look();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, []);
  const act = useCallback(async (act: Act) => {
    busy.current = true;
    setDoing(act.do);
    try {
      const answer = await post<LabState>(BASE, act);
      if (answer) setState(answer);
      return answer;
    } finally {
      busy.current = false;
      setDoing(null);
    }
  }, []);
  return { state, error, doing, act };
}

/** What came out of a lab; none while it is asked. */
export function useOutcome(id: string) {
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    let stopped = false;
    setOutcome(null);
    get<Outcome>(`${BASE}/${encodeURIComponent(id)}`).then(
      (answer) => stopped || setOutcome(answer),
      (reason: unknown) => stopped || setError(reason),
    );
    return () => {
      stopped = true;
    };
  }, [id]);
  return { outcome, error };
}
