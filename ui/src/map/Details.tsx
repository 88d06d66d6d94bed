import { useEffect, useRef } from "react";
import { useLocale } from "../i18n";
import type { MapEdge, ServiceMap } from "../types";
import { level } from "./figures";
import { figures } from "./told";

/** A role, or with `to` a dependency. */
export interface Picked {
  from: string;
  to?: string;
}

interface Props {
  map: ServiceMap;
  picked: Picked | null;
  onPick: (picked: Picked | null) => void;
}

/** What was pressed: what it is for, and what breaks without it. */
export function Details({ map, picked, onPick }: Props) {
  const { t, pick } = useLocale();
  const here = useRef<HTMLElement>(null);
  const key = picked && `${picked.from} ${picked.to ?? ""}`;
  useEffect(() => {
    // Below a tall picture nobody would see that something came.
    if (key) here.current?.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }, [key]);
  if (!picked) return null;
  const edges = map.edges.filter(({ from, to }) => from === picked.from && to === picked.to);
  const role = picked.to === undefined && map.roles.find(({ name }) => name === picked.from);
  return (
    <aside className="map-details" ref={here} aria-live="polite">
      <header>
        <h3 lang="en">{picked.to === undefined ? picked.from : `${picked.from} → ${picked.to}`}</h3>
        <button type="button" className="icon" aria-label={t("close")} onClick={() => onPick(null)}>
          ✕
        </button>
      </header>
      {edges.map((edge) => (
        <Reasons key={edge.to} edge={edge} />
      ))}
      {role && (
        <>
          <p>{pick(role.does)}</p>
          <Neighbours title={t("map_leans")} edges={map.edges.filter(({ from }) => from === role.name)} other={({ to }) => to} onPick={onPick} />
          <Neighbours title={t("map_leaned")} edges={map.edges.filter(({ to }) => to === role.name)} other={({ from }) => from} onPick={onPick} />
        </>
      )}
    </aside>
  );
}

function Reasons({ edge }: { edge: MapEdge }) {
  const locale = useLocale();
  const { t, pick } = locale;
  return (
    <>
      <p className="map-now" data-level={level(edge.flow)}>
        {figures(edge.flow, locale).join(" · ")}
      </p>
      <dl>
        <dt>{t("map_why")}</dt>
        <dd>
          {pick(edge.why)}
          {edge.seldom && <span className="map-seldom">{t("map_seldom")}</span>}
        </dd>
        {edge.without && (
          <>
            <dt>{t("map_without")}</dt>
            <dd>{pick(edge.without)}</dd>
          </>
        )}
      </dl>
    </>
  );
}

interface NeighboursProps {
  title: string;
  edges: MapEdge[];
  other: (edge: MapEdge) => string;
  onPick: (picked: Picked) => void;
}

function Neighbours({ title, edges, other, onPick }: NeighboursProps) {
  if (edges.length === 0) return null;
  return (
    <>
      <h4>{title}</h4>
      <ul>
        {edges.map((edge) => (
          <li key={other(edge)}>
            <button type="button" className="link" lang="en" onClick={() => onPick({ from: edge.from, to: edge.to })}>
              {other(edge)}
            </button>
            <Reasons edge={edge} />
          </li>
        ))}
      </ul>
    </>
  );
}
