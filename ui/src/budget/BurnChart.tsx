import { useState } from "react";
import { clock, useLocale } from "../i18n";
import { burn, moment } from "./format";
import { burnScale, HEIGHT, line, nearest, place, WIDTH } from "./plot";
import { Table } from "./Table";
import type { Alert } from "./types";

/** An alert's two burn rates beside its threshold: it fires while both are above. */
export function BurnChart({ alerts }: { alerts: Alert[] }) {
  const { t } = useLocale();
  const [chosen, setChosen] = useState(0);
  const alert = alerts[chosen] ?? alerts[0];
  if (!alert) return <p className="help">{t("b_no_alerts")}</p>;
  return (
    <figure className="b-chart">
      <figcaption>
        <h3>{t("b_burn_chart")}</h3>
        <div className="segmented" role="group" aria-label={t("b_alert")}>
          {alerts.map((one, index) => (
            <button key={`${one.severity} ${one.long}`} type="button" aria-pressed={one === alert} onClick={() => setChosen(index)}>
              {t(`b_${one.severity}`)} {one.long}
              {one.fires && <span className="b-firing-dot" role="img" aria-label={t("b_fires")} />}
            </button>
          ))}
        </div>
      </figcaption>
      <Course alert={alert} />
    </figure>
  );
}

function Course({ alert }: { alert: Alert }) {
  const { t, lang } = useLocale();
  const [across, setAcross] = useState<number | null>(null);
  const { points, factor } = alert;
  const times: [number, number] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 1];
  const values = burnScale(points, factor);
  const x = (at: number) => place(Math.min(Math.max(at, times[0]), times[1]), times, WIDTH);
  const y = (value: number) => HEIGHT - place(value, values, HEIGHT);
  const seen = across === null ? (points.at(-1) ?? null) : nearest(points, times, across);
  // Within a day the hour says enough, and on a drill's clock the second matters.
  const at = (seconds: number) => (times[1] - times[0] < 43_200 ? clock(new Date(seconds * 1000).toISOString()) : moment(seconds, lang));
  const state = alert.fires ? t("b_fires") : t("b_quiet");
  return (
    <>
      <p className="b-legend">
        <span data-line="long">
          {t("b_long")} {alert.long} <strong>{burn(seen?.[1] ?? null)}</strong>
        </span>
        <span data-line="short">
          {t("b_short")} {alert.short} <strong>{burn(seen?.[2] ?? null)}</strong>
        </span>
        <span data-line="threshold">
          {t("b_threshold")} <strong>{burn(factor)}</strong>
        </span>
        <span className="b-alert-state" data-fires={alert.fires}>
          {across !== null && seen ? at(seen[0]) : state}
        </span>
      </p>
      <div className="b-plot">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${t("b_burn_chart")}: ${t("b_long")} ${alert.long} ${burn(points.at(-1)?.[1] ?? null)}, ${t("b_short")} ${alert.short} ${burn(points.at(-1)?.[2] ?? null)}, ${t("b_threshold")} ${burn(factor)}, ${state}`}
          onPointerMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            setAcross((event.clientX - box.left) / box.width);
          }}
          onPointerLeave={() => setAcross(null)}
        >
          {alert.firings.map((firing) => (
            <rect key={firing.from} className="b-fired" x={x(firing.from)} width={Math.max(1.5, x(firing.to ?? times[1]) - x(firing.from))} y="0" height={HEIGHT} />
          ))}
          <path className="b-line b-short" d={line(points.map(([when, , short]) => [when, short]), times, values)} />
          <path className="b-line" d={line(points.map(([when, long]) => [when, long]), times, values)} />
          <line className="b-threshold" x1="0" x2={WIDTH} y1={y(factor)} y2={y(factor)} />
          {across !== null && seen && <line className="b-pointer" x1={x(seen[0])} x2={x(seen[0])} y1="0" y2={HEIGHT} />}
        </svg>
        <span className="b-scale" aria-hidden="true">
          {burn(values[1])}
        </span>
        <span className="b-scale" aria-hidden="true">
          ×0
        </span>
      </div>
      <div className="b-times" aria-hidden="true">
        <span>{at(times[0])}</span>
        <span>{at(times[1])}</span>
      </div>
      <Table
        head={[t("b_time"), `${t("b_long")} ${alert.long}`, `${t("b_short")} ${alert.short}`]}
        rows={points.map(([when, long, short]) => [at(when), burn(long), burn(short)])}
      />
    </>
  );
}
