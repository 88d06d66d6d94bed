import type { Slo, Status } from "./types";

export const WIDTH = 600;
export const HEIGHT = 160;

/** A time or a value as a place in the picture. */
export function place(value: number, [low, high]: [number, number], size: number): number {
  return ((value - low) / Math.max(1e-9, high - low)) * size;
}

/** A line through what is known, broken where nothing is. */
export function line(points: [number, number | null][], times: [number, number], values: [number, number]): string {
  let path = "";
  let pen = "M";
  for (const [at, value] of points) {
    if (value === null) {
      pen = "M";
      continue;
    }
    const y = HEIGHT - place(Math.min(Math.max(value, values[0]), values[1]), values, HEIGHT);
    path += `${pen}${place(at, times, WIDTH).toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return path;
}

/** From what to what a budget's picture reaches: all of it, and as far below nothing as it went. */
export function budgetScale(status: Pick<Status, "points">): [number, number] {
  const lowest = Math.min(0, ...status.points.map(([, spent]) => 1 - spent));
  return [lowest < 0 ? Math.floor(lowest * 10) / 10 : 0, 1];
}

/** The window; of one that is hardly known yet, what is known and a little before it, or a drill's minutes would be a sliver. */
export function budgetTimes({ points, from, now }: Pick<Status, "points" | "from" | "now">): [number, number] {
  const first = points[0]?.[0] ?? from;
  const known = Math.max(1, now - first);
  return known < (now - from) / 2 ? [Math.max(from, first - known / 4), now] : [from, now];
}

/** Burn rates from 0 to somewhat above the threshold, or above the highest. */
export function burnScale(points: [number, number | null, number | null][], factor: number): [number, number] {
  const highest = Math.max(factor, ...points.flatMap(([, long, short]) => [long ?? 0, short ?? 0]));
  return [0, highest * 1.15];
}

/** The point nearest to a share of a picture's width; none where there is none. */
export function nearest<T extends [number, ...unknown[]]>(points: T[], times: [number, number], across: number): T | null {
  const at = times[0] + across * (times[1] - times[0]);
  let best: T | null = null;
  for (const point of points) if (best === null || Math.abs(point[0] - at) < Math.abs(best[0] - at)) best = point;
  return best;
}

export type State = "fine" | "low" | "burning" | "spent" | "unknown";

/** Budgets of which less than this is left are said to be low. */
const LOW = 0.25;

/** In a word. An objective that nothing is known about is in no good state. */
export function stateOf(slo: Pick<Slo, "status" | "alerts">): State {
  const left = slo.status?.left ?? null;
  if (left === null) return "unknown";
  if (left <= 0) return "spent";
  if (slo.alerts.some((alert) => alert.fires && alert.severity === "page")) return "burning";
  return left < LOW ? "low" : "fine";
}
