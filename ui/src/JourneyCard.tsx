import { useId } from "react";
import { isWord, percent, useLocale } from "./i18n";
import type { Journey, JourneyPoint, JourneySample, Objective } from "./types";

const WIDTH = 240;
const HEIGHT = 40;

/** A journey: the budget left, and each SLI against its objective. */
export function JourneyCard({ journey, points }: { journey: Journey; points: JourneyPoint[] }) {
  const { t, pick } = useLocale();
  const samples = points.flatMap((point) => {
    const sample = point.journeys[journey.name];
    return sample ? [{ at: Date.parse(point.at), sample }] : [];
  });
  const latest = samples.at(-1)?.sample;
  const budget = latest?.budget_left ?? null;
  return (
    <article className="journey">
      <header>
        <h3>{pick(journey.title)}</h3>
        <p>
          {t("owner")} {journey.team}
          {latest?.requests_per_second != null && ` · ${latest.requests_per_second.toFixed(0)} ${t("per_second")}`}
          {latest?.p99 != null && ` · p99 ${milliseconds(latest.p99)}`}
        </p>
      </header>
      {budget !== null && <Budget left={budget} />}
      {journey.objectives.map((objective) => (
        <Sli key={objective.sli} objective={objective} samples={samples} />
      ))}
    </article>
  );
}

function milliseconds(seconds: number): string {
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1000)} ms`;
}

function Budget({ left }: { left: number }) {
  const { t } = useLocale();
  const level = left <= 0 ? "bad" : left < 0.3 ? "warn" : "good";
  return (
    <div className="budget" data-level={level}>
      <span>{t("budget")}</span>
      <meter min={0} max={1} value={Math.max(0, Math.min(1, left))} aria-label={t("budget")} />
      <strong>{left <= 0 ? t("budget_burned") : `${Math.floor(left * 100)}%`}</strong>
    </div>
  );
}

function valueOf(sample: JourneySample, sli: string): number | null {
  switch (sli) {
    case "availability":
      return sample.availability;
    case "latency":
      return sample.latency_good;
    case "freshness":
      return sample.freshness;
    default:
      return null;
  }
}

interface SliProps {
  objective: Objective;
  samples: { at: number; sample: JourneySample }[];
}

function Sli({ objective, samples }: SliProps) {
  const { t } = useLocale();
  const word = `sli_${objective.sli}`;
  const name = isWord(word) ? t(word) : objective.sli;
  const line = samples.flatMap(({ at, sample }) => {
    const value = valueOf(sample, objective.sli);
    return value === null ? [] : [{ at, value }];
  });
  const latest = line.at(-1)?.value ?? null;
  const bad = latest !== null && latest < objective.objective;
  const digits = objective.objective >= 0.999 ? 2 : 1;
  const target = `SLO ${percent(objective.objective, digits)}${
    objective.threshold_seconds === null ? "" : ` < ${milliseconds(objective.threshold_seconds)}`
  }`;
  return (
    <div className="sli" data-bad={bad}>
      <p>
        <span>{name}</span>
        <span className="target">{target}</span>
        <strong>{latest === null ? t("no_data") : percent(latest, digits)}</strong>
      </p>
      <Chart line={line} objective={objective.objective} label={`${name}, ${target}, ${latest === null ? t("no_data") : percent(latest, digits)}${bad ? `, ${t("slo_violated")}` : ""}`} />
    </div>
  );
}

interface ChartProps {
  line: { at: number; value: number }[];
  objective: number;
  label: string;
}

function Chart({ line, objective, label }: ChartProps) {
  // The objective always lies inside the picture; below it the picture goes down to the worst that was seen.
  const floor = Math.max(0, Math.min(1 - 3 * (1 - objective), ...line.map((point) => point.value - 0.02)));
  const to = line.at(-1)?.at ?? 0;
  const from = Math.min(line[0]?.at ?? 0, to - 120_000);
  const x = (at: number) => ((at - from) / Math.max(1, to - from)) * WIDTH;
  const y = (value: number) => 2 + ((1 - value) / (1 - floor)) * (HEIGHT - 4);
  const path = line.map((point, i) => `${i === 0 ? "M" : "L"}${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`).join("");
  const slo = y(objective);
  const first = line[0];
  const last = line.at(-1);
  const area = first && last ? `${path}L${x(last.at).toFixed(1)} ${slo}L${x(first.at).toFixed(1)} ${slo}Z` : "";
  const clip = useId();
  return (
    <svg className="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <clipPath id={`${clip}good`}>
        <rect x="0" y="0" width={WIDTH} height={slo} />
      </clipPath>
      <clipPath id={`${clip}bad`}>
        <rect x="0" y={slo} width={WIDTH} height={HEIGHT - slo} />
      </clipPath>
      <rect className="forbidden" x="0" y={slo} width={WIDTH} height={HEIGHT - slo} />
      <line className="slo" x1="0" x2={WIDTH} y1={slo} y2={slo} />
      {line.length > 1 &&
        (["good", "bad"] as const).map((side) => (
          <g key={side} className={side} clipPath={`url(#${clip}${side})`}>
            <path className="area" d={area} />
            <path className="line" d={path} />
          </g>
        ))}
    </svg>
  );
}
