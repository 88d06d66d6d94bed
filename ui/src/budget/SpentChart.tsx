import { useState } from "react";
import { useLocale } from "../i18n";
import { moment, share } from "./format";
import { budgetScale, budgetTimes, HEIGHT, line, nearest, place, WIDTH } from "./plot";
import { Table } from "./Table";
import type { Status } from "./types";

/** What was left of the budget over the window, with the marked incidents in it. */
export function SpentChart({ status }: { status: Status }) {
  const { t, lang } = useLocale();
  const [across, setAcross] = useState<number | null>(null);
  const { points, now } = status;
  const times = budgetTimes(status);
  const [from] = times;
  const values = budgetScale(status);
  const left = points.map(([at, spent]): [number, number] => [at, 1 - spent]);
  const x = (at: number) => place(Math.min(Math.max(at, from), now), times, WIDTH);
  const y = (value: number) => HEIGHT - place(value, values, HEIGHT);
  const first = points[0]?.[0] ?? now;
  const seen = across === null ? (left.at(-1) ?? null) : nearest(left, times, across);
  const marks = status.spenders.filter((spender) => spender.bad > 0);
  return (
    <figure className="b-chart">
      <figcaption>
        <h3>{t("b_over_window")}</h3>
        <span className="b-read">
          {seen && (
            <>
              <small>{moment(seen[0], lang)}</small> {share(seen[1])}
            </>
          )}
        </span>
      </figcaption>
      <div className="b-plot">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${t("b_over_window")}: ${moment(first, lang)} ${share(left[0]?.[1] ?? 1)}, ${moment(now, lang)} ${share(left.at(-1)?.[1] ?? 1)}`}
          onPointerMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            setAcross((event.clientX - box.left) / box.width);
          }}
          onPointerLeave={() => setAcross(null)}
        >
          <defs>
            <pattern id="b-unknown" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <line x1="0" y1="0" x2="0" y2="8" className="b-hatch" />
            </pattern>
          </defs>
          {x(first) > 1 && <rect x="0" y="0" width={x(first)} height={HEIGHT} fill="url(#b-unknown)" />}
          {marks.map((mark) => (
            <rect key={`${mark.name} ${mark.from}`} className="b-marked" x={x(mark.from)} width={Math.max(1.5, x(mark.to) - x(mark.from))} y="0" height={HEIGHT} />
          ))}
          <line className="b-zero" x1="0" x2={WIDTH} y1={y(0)} y2={y(0)} />
          <path className="b-line" d={line(left, times, values)} />
          {across !== null && seen && <line className="b-pointer" x1={x(seen[0])} x2={x(seen[0])} y1="0" y2={HEIGHT} />}
        </svg>
        <span className="b-scale" aria-hidden="true">
          {share(values[1])}
        </span>
        <span className="b-scale" aria-hidden="true">
          {share(values[0])}
        </span>
        {x(first) > WIDTH / 8 && (
          <span className="b-unknown-word" style={{ width: `${(x(first) / WIDTH) * 100}%` }}>
            {t("b_no_data")}
          </span>
        )}
      </div>
      <div className="b-times" aria-hidden="true">
        <span>{moment(from, lang)}</span>
        <span>{moment(now, lang)}</span>
      </div>
      <Table head={[t("b_time"), t("b_left")]} rows={left.map(([at, value]) => [moment(at, lang), share(value)])} />
    </figure>
  );
}
