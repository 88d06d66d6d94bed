import type { Experiment, Figure } from "./types";

/** When the last pod was rid of the fault, in seconds since 1970; none while one is hit. The end itself comes later: recovery is verified first. */
export function lifted({ records, ended_at }: Pick<Experiment, "records" | "ended_at">): number | null {
  const times = records.flatMap(({ injected_at, recovered_at }) => (injected_at ? [recovered_at ? Date.parse(recovered_at) / 1000 : null] : []));
  if (times.length > 0 && !times.includes(null)) return Math.max(...times.map(Number));
  return ended_at ? Date.parse(ended_at) / 1000 : null;
}

/** The seconds that a figure spans: its points, and the fault as long as it lasts. */
export function extent(points: [number, number][], from: number, to: number | null, now: number): [number, number] {
  const start = Math.min(points[0]?.[0] ?? from - 60, from);
  const end = Math.max(points.at(-1)?.[0] ?? 0, to ?? now, start + 30);
  return [start, end];
}

/** From where to where a figure's picture reaches: its values and what they are compared with, and a little air. */
export function scale({ points, objective, unit }: Pick<Figure, "points" | "objective" | "unit">): [number, number] {
  const values = [...points.map(([, value]) => value), ...(objective === null ? [] : [objective])];
  const [low, high] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const air = (high - low || Math.abs(high) || 1) * 0.12;
  // What cannot be negative, or more than the whole, has no picture of it.
  const bottom = low >= 0 && low < air ? 0 : low - air;
  return unit === "ratio" ? [bottom, high <= 1 ? Math.min(1, high + air) : high + air] : [rounded(bottom, Math.floor), rounded(high + air, Math.ceil)];
}

/** To two digits, away from the picture's middle. */
function rounded(value: number, way: (value: number) => number): number {
  if (value === 0) return 0;
  const step = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 1);
  return Number((way(value / step) * step).toPrecision(2));
}

/** A figure with its unit: 0.31 seconds -> 310 ms, a ratio of 0.985 -> 98.5%. */
export function shown(value: number, unit: string): string {
  const short = (n: number) => String(Number(n.toPrecision(3)));
  switch (unit) {
    case "seconds":
      return Math.abs(value) < 1 ? `${short(value * 1000)} ms` : `${short(value)} s`;
    case "ratio":
      // Near one every digit counts: 99.95 % is no 100 %.
      return `${Number((value * 100).toFixed(value > 0.99 && value < 1 ? 3 : 2))}%`;
    case "burn rate":
      return `×${short(value)}`;
    default:
      return Math.abs(value) >= 1000 ? value.toFixed(0) : short(value);
  }
}
