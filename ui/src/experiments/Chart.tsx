import { useState } from "react";
import { clock, useLocale } from "../i18n";
import { extent, scale, shown } from "./figure";
import type { Figure } from "./types";

const WIDTH = 600;
const HEIGHT = 110;

interface Props {
  figure: Figure;
  /** Seconds since 1970: when the fault began and ended; none while it has not. */
  from: number;
  to: number | null;
  now: number;
}

/** A check's figure before, during and after, with the number it is compared with. */
export function Chart({ figure, from, to, now }: Props) {
  const { t } = useLocale();
  const [pointed, setPointed] = useState<number | null>(null);
  const { points, objective, unit, name, query } = figure;
  const [start, end] = extent(points, from, to, now);
  const [bottom, top] = scale(figure);
  const x = (at: number) => ((at - start) / Math.max(1, end - start)) * WIDTH;
  const y = (value: number) => HEIGHT - ((value - bottom) / (top - bottom)) * HEIGHT;
  const path = points.map(([at, value], i) => `${i === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const until = to ?? Math.min(now, end);
  const latest = (pointed === null ? points.at(-1) : points[pointed]) ?? null;
  const label = `${name}: ${latest ? shown(latest[1], unit) : t("no_data")}${objective === null ? "" : `, ${t("x_limit")} ${shown(objective, unit)}`}`;
  const point = (share: number) => {
    const at = start + share * (end - start);
    let nearest = -1;
    for (const [i, one] of points.entries()) if (nearest < 0 || Math.abs(one[0] - at) < Math.abs((points[nearest]?.[0] ?? 0) - at)) nearest = i;
    setPointed(nearest < 0 ? null : nearest);
  };
  const width = (one: number) => `${((one / WIDTH) * 100).toFixed(2)}%`;
  return (
    <figure className="x-figure">
      <figcaption>
        <strong lang="en">{name}</strong>
        {objective !== null && (
          <span className="help">
            {t("x_limit")} {shown(objective, unit)}
          </span>
        )}
        <span className="x-latest">
          {pointed !== null && latest && <small>{clock(new Date(latest[0] * 1000).toISOString())} </small>}
          {latest ? shown(latest[1], unit) : t("no_data")}
        </span>
      </figcaption>
      <div className="x-plot">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={label}
          onPointerMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            point((event.clientX - box.left) / box.width);
          }}
          onPointerLeave={() => setPointed(null)}
        >
          <rect className="x-fault" x={x(from)} width={Math.max(0, x(until) - x(from))} y="0" height={HEIGHT} />
          {[from, ...(to === null ? [] : [to])].map((at) => (
            <line key={at} className="x-edge" x1={x(at)} x2={x(at)} y1="0" y2={HEIGHT} />
          ))}
          {objective !== null && <line className="slo" x1="0" x2={WIDTH} y1={y(objective)} y2={y(objective)} />}
          {points.length > 1 && <path className="x-curve" d={path} />}
          {pointed !== null && latest && <line className="x-pointer" x1={x(latest[0])} x2={x(latest[0])} y1="0" y2={HEIGHT} />}
        </svg>
        {points.length > 0 && (
          <>
            <span className="x-scale" aria-hidden="true">
              {shown(top, unit)}
            </span>
            <span className="x-scale" aria-hidden="true">
              {shown(bottom, unit)}
            </span>
          </>
        )}
        {latest && points.length > 0 && <i className="x-spot" style={{ left: width(x(latest[0])), top: `${((y(latest[1]) / HEIGHT) * 100).toFixed(2)}%` }} />}
      </div>
      <div className="x-times-axis" aria-hidden="true" style={{ gridTemplateColumns: `${Math.max(0, x(from))}fr ${Math.max(1, x(until) - x(from))}fr ${Math.max(0, WIDTH - x(until))}fr` }}>
        <span>{x(from) > 50 ? t("x_before") : ""}</span>
        <span data-last={to === null || WIDTH - x(until) < 50}>{t("x_during")}</span>
        <span>{to !== null && WIDTH - x(until) > 50 ? t("x_after") : ""}</span>
      </div>
      <details className="x-asked">
        <summary>PromQL</summary>
        <code>{query}</code>
      </details>
    </figure>
  );
}
