import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { get } from "../api";
import { useLocale } from "../i18n";
import type { MapFlow, ServiceMap as Data } from "../types";
import { Details, type Picked } from "./Details";
import { level, share, span } from "./figures";
import { type Sizes, layout, path } from "./layout";
import { figures, rateWords } from "./told";

const POLL_MS = 2000;
/** From this width on, each arrow's label has all its figures. */
const ROOMY = 540;

/** The map and its figures, asked for as long as somebody looks. */
function useMap(): Data | null | undefined {
  const [map, setMap] = useState<Data | null>();
  useEffect(() => {
    let stopped = false;
    let timer = 0;
    const poll = async () => {
      try {
        const now = await get<Data | null>("/api/map");
        if (!stopped) setMap(now);
      } catch {
        // Old figures would be taken for today's.
        if (!stopped) setMap((before) => before && { ...before, measured: false, edges: before.edges.map((edge) => ({ ...edge, flow: NOTHING })) });
      }
      if (!stopped) timer = window.setTimeout(() => void poll(), POLL_MS);
    };
    void poll();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, []);
  return map;
}

const NOTHING: MapFlow = { requests_per_second: null, commands_per_second: null, bytes_per_second: null, error_share: null, p99_s: null };

function sizes(width: number): Sizes {
  const roomy = width >= ROOMY;
  return {
    width,
    box: roomy ? { width: 140, least: 124, height: 40 } : { width: 104, least: 86, height: 36 },
    label: roomy ? { width: 94, height: 30 } : { width: 72, height: 28 },
    between: roomy ? 104 : 92,
  };
}

export function ServiceMap() {
  const { t } = useLocale();
  const map = useMap();
  const [picked, pick] = useState<Picked | null>(null);
  return (
    <section className="service-map" role="tabpanel" id="panel-map" aria-labelledby="tab-map">
      {map === undefined && <p className="calm">{t("loading")}</p>}
      {map === null && <p className="calm">{t("map_none")}</p>}
      {map && (
        <>
          <p className="help">{t("map_help")}</p>
          {!map.measured && (
            <p className="map-warning" role="status">
              {t("map_unmeasured")}
            </p>
          )}
          <Legend />
          <Drawing map={map} picked={picked} onPick={pick} />
          <Details map={map} picked={picked} onPick={pick} />
          <Figures map={map} onPick={pick} />
        </>
      )}
    </section>
  );
}

function Legend() {
  const { t } = useLocale();
  return (
    <ul className="map-legend">
      <li data-level="good">{t("map_legend_good")}</li>
      <li data-level="warn">{t("map_legend_warn")}</li>
      <li data-level="bad">{t("map_legend_bad")}</li>
      <li data-level="quiet">{t("map_quiet")}</li>
    </ul>
  );
}

interface DrawingProps {
  map: Data;
  picked: Picked | null;
  onPick: (picked: Picked | null) => void;
}

function Drawing({ map, picked, onPick }: DrawingProps) {
  const locale = useLocale();
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return;
    const measure = () => setWidth(element.clientWidth);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  // The figures change every other second, the picture only with the map.
  const shape = JSON.stringify([map.roles.map(({ name }) => name), map.edges.map(({ from, to }) => ({ from, to }))]);
  const picture = useMemo(() => {
    const [names, links] = JSON.parse(shape) as [string[], { from: string; to: string }[]];
    return width > 0 ? layout(names, links, sizes(width)) : null;
  }, [shape, width]);
  const touches = (edge: { from: string; to: string }) =>
    picked === null || (picked.to === undefined ? edge.from === picked.from || edge.to === picked.from : edge.from === picked.from && edge.to === picked.to);
  const toggle = (one: Picked) => onPick(picked && picked.from === one.from && picked.to === one.to ? null : one);
  const flows = new Map(map.edges.map((edge) => [`${edge.from} ${edge.to}`, edge]));
  return (
    <div className="map-frame" ref={frame} data-roomy={width >= ROOMY}>
      {picture && (
        <div className="map-picture" style={{ width: picture.width, height: picture.height }}>
          <svg width={picture.width} height={picture.height} aria-hidden="true">
            {(["good", "warn", "bad", "quiet"] as const).map((one) => (
              <marker key={one} id={`map-head-${one}`} data-level={one} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
                <path d="M0 0L8 4L0 8Z" />
              </marker>
            ))}
            {picture.arrows.map((arrow) => {
              const edge = flows.get(`${arrow.from} ${arrow.to}`);
              if (!edge) return null;
              const now = level(edge.flow);
              const line = path(arrow.points);
              return (
                <g key={`${arrow.from} ${arrow.to}`} className="map-arrow" data-level={now} data-off={!touches(edge)} onClick={() => toggle(arrow)}>
                  <path className="grip" d={line} />
                  <path className="line" d={line} markerEnd={`url(#map-head-${now})`} />
                </g>
              );
            })}
          </svg>
          {picture.boxes.map((box) => (
            <button
              key={box.name}
              type="button"
              className="map-box"
              lang="en"
              style={{ left: box.x, top: box.y, width: box.width, height: box.height }}
              data-store={!map.edges.some(({ from }) => from === box.name)}
              data-off={picked !== null && !(picked.from === box.name || picked.to === box.name || map.edges.some((edge) => touches(edge) && (edge.from === box.name || edge.to === box.name)))}
              aria-pressed={picked?.from === box.name && picked.to === undefined}
              onClick={() => toggle({ from: box.name })}
            >
              {box.name}
            </button>
          ))}
          {picture.arrows.map((arrow) => {
            const edge = flows.get(`${arrow.from} ${arrow.to}`);
            return (
              edge && (
                <button
                  key={`${arrow.from} ${arrow.to}`}
                  type="button"
                  className="map-label"
                  style={{ left: arrow.label.x, top: arrow.label.y }}
                  data-level={level(edge.flow)}
                  data-off={!touches(edge)}
                  aria-pressed={picked?.from === edge.from && picked.to === edge.to}
                  aria-label={[`${edge.from} → ${edge.to}`, ...figures(edge.flow, locale)].join(", ")}
                  onClick={() => toggle({ from: edge.from, to: edge.to })}
                >
                  <Label flow={edge.flow} roomy={width >= ROOMY} />
                </button>
              )
            );
          })}
        </div>
      )}
    </div>
  );
}

function Label({ flow, roomy }: { flow: MapFlow; roomy: boolean }) {
  const locale = useLocale();
  if (level(flow) === "quiet") return <span>{locale.t("map_quiet")}</span>;
  const { error_share: errors, p99_s: p99 } = flow;
  const second = [errors !== null && (roomy || errors > 0) && share(errors), p99 !== null && (roomy || !errors) && span(p99)].filter(Boolean);
  return (
    <>
      <strong>{rateWords(flow, locale)}</strong>
      {second.length > 0 && <span>{second.join(" · ")}</span>}
    </>
  );
}

/** The same in rows: for who cannot see arrows, and for comparing. */
function Figures({ map, onPick }: { map: Data; onPick: (picked: Picked) => void }) {
  const locale = useLocale();
  const { t } = locale;
  return (
    <details className="map-figures">
      <summary>{t("map_table")}</summary>
      <table>
        <thead>
          <tr>
            <th scope="col">{t("map_dependency")}</th>
            <th scope="col">{t("map_rate")}</th>
            <th scope="col">{t("map_errors")}</th>
            <th scope="col">p99</th>
          </tr>
        </thead>
        <tbody>
          {map.edges.map((edge) => (
            <tr key={`${edge.from} ${edge.to}`} data-level={level(edge.flow)}>
              <th scope="row" lang="en">
                <button type="button" className="link" onClick={() => onPick({ from: edge.from, to: edge.to })}>
                  {edge.from} → {edge.to}
                </button>
              </th>
              <td>{level(edge.flow) === "quiet" ? t("map_quiet") : rateWords(edge.flow, locale)}</td>
              <td className="errors">{edge.flow.error_share === null ? "–" : share(edge.flow.error_share)}</td>
              <td>{edge.flow.p99_s === null ? "–" : span(edge.flow.p99_s)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
