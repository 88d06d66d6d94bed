/** The seconds that a figure spans: its points, and the fault as long as it lasts. */
export function extent(points: [number, number][], from: number, to: number | null, now: number): [number, number] {
  const start = Math.min(points[0]?.[0] ?? from - 60, from);
  const end = Math.max(points.at(-1)?.[0] ?? 0, to ?? now, start + 30);
  return [start, end];
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
