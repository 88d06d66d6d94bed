import { useLocale } from "../i18n";
import type { Kind, OfJourney, Threshold } from "./types";

const ENDS: Record<Kind, [number, number]> = { latency: [0.03, 30], availability: [0.00003, 1] };
const MARKS: Record<Kind, [number, string][]> = {
  latency: [[0.1, "0.1 s"], [0.3, "0.3 s"], [1, "1 s"], [3, "3 s"], [10, "10 s"]],
  availability: [[0.0001, "0.01 %"], [0.001, "0.1 %"], [0.01, "1 %"], [0.1, "10 %"]],
};
const WIDTH = 640;

/** Both thresholds with their intervals on one scale, each step ten times the last. */
export function Ruler({ of, kind }: { of: OfJourney; kind: Kind }) {
  const { t, pick } = useLocale();
  const [low, high] = ENDS[kind];
  const x = (value: number) => {
    const at = (Math.log10(Math.max(value, low)) - Math.log10(low)) / (Math.log10(high) - Math.log10(low));
    return Math.min(1, Math.max(0, at)) * WIDTH;
  };
  const rows: [string, Threshold | null, string][] = [
    [t("l_noticeable"), of.noticeable, "var(--accent)"],
    [t("l_tolerable"), of.tolerable, "var(--red)"],
  ];
  return (
    <svg className="l-ruler" viewBox={`0 0 ${WIDTH} 104`} role="img" aria-label={rows.map(([name, one]) => `${name} ${one ? pick(one.words) : ""}`).join(", ")}>
      {MARKS[kind].map(([value, words]) => (
        <g key={words}>
          <line x1={x(value)} x2={x(value)} y1={0} y2={84} stroke="var(--line)" />
          <text x={x(value)} y={100} textAnchor="middle" fontSize={12} fill="var(--dim)">
            {words}
          </text>
        </g>
      ))}
      {rows.map(([name, one, colour], n) => {
        if (!one) return null;
        const y = 26 + n * 40;
        const end = x(one.at);
        return (
          <g key={name}>
            <line x1={x(one.low)} x2={x(one.high)} y1={y} y2={y} stroke={colour} strokeWidth={8} strokeLinecap="round" opacity={0.35} />
            <circle cx={end} cy={y} r={6} fill={colour} />
            <text x={end} y={y - 12} textAnchor={end > WIDTH / 2 ? "end" : "start"} fontSize={13} fill="var(--text)">
              {name}
            </text>
          </g>
        );
      })}
    </svg>
  );
}
