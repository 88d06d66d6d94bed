import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { ApiError, get } from "./api";
import { type Folded, fold } from "./fold";
import type { DrillEvent, DrillView, JourneySeries } from "./types";

const POLL_MS = 2000;
/** Points kept for the charts, in milliseconds of drill time. */
const CHART_SPAN_MS = 10 * 60 * 1000;

export interface Drill {
  view: DrillView | null;
  /** False until the first answer. */
  known: boolean;
  events: DrillEvent[];
  folded: Folded;
  connected: boolean;
  /** The session is gone: join again. */
  expired: boolean;
  refresh: () => void;
}

/** The current drill, its events as they happen, and what they add up to. */
export function useDrill(): Drill {
  const [view, setView] = useState<DrillView | null>(null);
  const [known, setKnown] = useState(false);
  const [expired, setExpired] = useState(false);
  const [events, setEvents] = useState<DrillEvent[]>([]);
  const [connected, setConnected] = useState(true);
  const [generation, setGeneration] = useState(0);

  const refresh = useCallback(async () => {
    try {
      setView(await get<DrillView | null>("/api/drill"));
      setKnown(true);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) setExpired(true);
    }
  }, []);

  useEffect(() => {
    void refresh();
    const timer = setInterval(() => void refresh(), POLL_MS);
    return () => clearInterval(timer);
  }, [refresh]);

  const id = view?.id;
  const ended = view?.state === "ended";
  useEffect(() => {
    if (!id) return;
    setEvents([]);
    const source = new EventSource(`/api/drills/${id}/stream`);
    let pending: DrillEvent[] = [];
    let scheduled = false;
    let closed = false;
    const flush = () => {
      // What was still waiting belongs to the list that was thrown away; the next stream brings it again.
      if (closed) return;
      scheduled = false;
      const batch = pending;
      pending = [];
      setEvents((before) => {
        const last = before.at(-1)?.seq ?? 0;
        const fresh = batch.filter((event) => event.seq > last && event.kind !== "sample");
        return fresh.length > 0 ? [...before, ...fresh] : before;
      });
    };
    source.onopen = () => setConnected(true);
    source.onerror = () => {
      setConnected(false);
      // A refused stream is not retried by the browser; one of a later generation will be.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => setGeneration((g) => g + 1), POLL_MS);
    };
    source.onmessage = (message: MessageEvent<string>) => {
      const event = JSON.parse(message.data) as DrillEvent;
      pending.push(event);
      if (event.kind === "drill_ended" || event.kind === "seat_taken" || event.kind === "seat_left") void refresh();
      if (!scheduled) {
        scheduled = true;
        setTimeout(flush, 50);
      }
    };
    source.addEventListener("next", () => void refresh());
    return () => {
      closed = true;
      source.close();
    };
    // After the end the hidden events may be seen: everything is read anew.
  }, [id, ended, generation, refresh]);

  const folded = useMemo(() => fold(events), [events]);
  return { view, known, events, folded, connected, expired, refresh: () => void refresh() };
}

/** Journeys and their last ten minutes, fetched piece by piece. */
export function useJourneys(drill: string | undefined): JourneySeries {
  const [series, setSeries] = useState<JourneySeries>({ journeys: [], points: [] });
  const last = useRef<string | null>(null);
  useEffect(() => {
    last.current = null;
    setSeries({ journeys: [], points: [] });
    if (!drill) return;
    let stopped = false;
    const poll = async () => {
      try {
        const since = last.current ? `?since=${encodeURIComponent(last.current)}` : "";
        const more = await get<JourneySeries>(`/api/journeys${since}`);
        if (stopped) return;
        const newest = more.points.at(-1)?.at;
        if (newest) last.current = newest;
        setSeries((before) => {
          const known = Date.parse(before.points.at(-1)?.at ?? "1970-01-01");
          const all = [...before.points, ...more.points.filter((point) => Date.parse(point.at) > known)];
          const end = all.at(-1);
          const from = end ? Date.parse(end.at) - CHART_SPAN_MS : 0;
          return { journeys: more.journeys, points: all.filter((point) => Date.parse(point.at) >= from) };
        });
      } catch {
        // The stream's own sign tells that the connection is lost.
      }
      // One at a time: a slow answer must not be overtaken by the next.
      if (!stopped) timer = window.setTimeout(() => void poll(), POLL_MS);
    };
    let timer = 0;
    void poll();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [drill]);
  return series;
}

/** The server's time, ticking once a second. */
export function useNow(skewMs: number): number {
  const [now, setNow] = useState(Date.now() + skewMs);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() + skewMs), 1000);
    return () => clearInterval(timer);
  }, [skewMs]);
  return now;
}
