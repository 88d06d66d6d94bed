import { useEffect, useState } from "react";
import { Briefing } from "./Briefing";
import { Console } from "./Console";
import { Debrief } from "./Debrief";
import type { Drill } from "./drill";
import { pages } from "./fold";
import { type Word, useLocale } from "./i18n";
import { ServiceMap } from "./map/ServiceMap";
import type { DrillState, DrillView, Viewer } from "./types";

type Tab = "briefing" | "debrief" | "console" | "map" | "prometheus" | "alertmanager" | "app";

const FRAMES: Partial<Record<Tab, string>> = {
  prometheus: "/prometheus/",
  alertmanager: "/alertmanager/",
  app: "/chirpy/",
};

function label(tab: Tab, t: (word: Word) => string): string {
  if (tab === "prometheus") return "Prometheus";
  if (tab === "alertmanager") return "Alertmanager";
  return t(tab);
}

/** The tab each state begins with. */
function home(state: DrillState): Tab {
  if (state === "running") return "console";
  return state === "ended" ? "debrief" : "briefing";
}

/** Where people work: briefing, console, the service map, the monitoring tools, the app, and the debrief. */
export function Centre({ viewer, view, drill }: { viewer: Viewer; view: DrillView; drill: Drill }) {
  const { t } = useLocale();
  const [tab, setTab] = useState<Tab>(home(view.state));
  // A frame stays as it was left, and is not loaded before it is wanted.
  const [opened, setOpened] = useState<Tab[]>([]);
  useEffect(() => setTab(home(view.state)), [view.state]);

  const tabs: Tab[] = ["briefing", "console", "map", "prometheus", "alertmanager", "app"];
  if (view.state === "ended") tabs.unshift("debrief");
  const open = (next: Tab) => {
    setTab(next);
    if (FRAMES[next] && !opened.includes(next)) setOpened([...opened, next]);
  };
  const frame = FRAMES[tab];
  const unsettled = drill.folded.alerts.some((alert) => !alert.resolvedAt && pages(alert));
  return (
    <main className="centre panel">
      <div className="tabs" role="tablist" aria-label={t("workspace")}>
        {tabs.map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            id={`tab-${one}`}
            aria-selected={tab === one}
            aria-controls={`panel-${one}`}
            onClick={() => open(one)}
          >
            {label(one, t)}
          </button>
        ))}
        {frame && (
          <a className="out" href={frame} target="_blank" rel="noreferrer">
            {t("open_new_tab")} ↗
          </a>
        )}
      </div>
      {tab === "briefing" && <Briefing viewer={viewer} view={view} unsettled={unsettled} refresh={drill.refresh} />}
      {tab === "debrief" && <Debrief view={view} folded={drill.folded} />}
      <Console view={view} hidden={tab !== "console"} />
      {tab === "map" && <ServiceMap />}
      {opened.map((one) => (
        <iframe
          key={one}
          id={`panel-${one}`}
          role="tabpanel"
          aria-labelledby={`tab-${one}`}
          title={label(one, t)}
          src={FRAMES[one]}
          hidden={tab !== one}
        />
      ))}
    </main>
  );
}
