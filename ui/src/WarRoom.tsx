import { useEffect, useRef, useState } from "react";
import { Chat } from "./Chat";
import { Centre } from "./Centre";
import { useDrill, useJourneys, useNow } from "./drill";
import { mayExperiment } from "./experiments/Page";
import { groups, pages, settles } from "./fold";
import { type Word, useLocale } from "./i18n";
import { Monitoring } from "./Monitoring";
import { Notice } from "./parts";
import { Timeline } from "./Timeline";
import { TopBar } from "./TopBar";
import type { Lang, Viewer } from "./types";

interface Props {
  viewer: Viewer;
  skew: number;
  lang: Lang;
  onLang: (lang: Lang) => void;
  onExpired: () => void;
}

const PANES = ["monitoring", "workspace", "communication"] as const satisfies readonly Word[];
type Pane = (typeof PANES)[number];
const PANE_SIGNS: Record<Pane, string> = { monitoring: "∿", workspace: "›_", communication: "✎" };

export function WarRoom({ viewer, skew, lang, onLang, onExpired }: Props) {
  const { t } = useLocale();
  const drill = useDrill();
  const series = useJourneys(drill.view?.id);
  const now = useNow(skew);
  const [pane, setPane] = useState<Pane>("workspace");
  const [side, setSide] = useState<"chat" | "timeline">("chat");
  const firing = groups(drill.folded.alerts).filter((group) => pages(group.first)).length;

  useEffect(() => {
    if (drill.expired) onExpired();
  }, [drill.expired, onExpired]);
  useTitle(firing, drill.view ? drill.view.title[lang] : "");

  if (!drill.known) return <Notice title={t("loading")} />;
  if (!drill.view)
    return (
      <Notice title={t("no_drill")}>
        {t("no_drill_help")} {mayExperiment(viewer) && <a href="/experiments">{t("x_title")}</a>} <a href="/budgets">{t("b_title")}</a> <a href="/lab">{t("l_title")}</a>
      </Notice>
    );
  const view = drill.view;
  return (
    <div className="room" data-pane={pane}>
      <TopBar viewer={viewer} view={view} folded={drill.folded} now={now} lang={lang} onLang={onLang} refresh={drill.refresh} />
      {!drill.connected && (
        <p className="banner" role="status">
          {t("reconnecting")}
        </p>
      )}
      {drill.connected && view.state === "running" && settles(drill.folded) && (
        <p className="banner settling" role="status">
          {t("settling")}
        </p>
      )}
      <Monitoring alerts={drill.folded.alerts} series={series} now={now} canAct={view.state === "running"} />
      <Centre viewer={viewer} view={view} drill={drill} />
      <section className="side panel" aria-label={t("communication")}>
        <div className="tabs" role="tablist">
          {(["chat", "timeline"] as const).map((one) => (
            <button
              key={one}
              type="button"
              role="tab"
              id={`tab-${one}`}
              aria-selected={side === one}
              aria-controls={`panel-${one}`}
              onClick={() => setSide(one)}
            >
              {t(one)}
            </button>
          ))}
        </div>
        {side === "chat" ? (
          <Chat viewer={viewer} view={view} events={drill.events} folded={drill.folded} now={now} />
        ) : (
          <Timeline events={drill.events} startedAt={view.started_at} />
        )}
      </section>
      <nav className="panes" aria-label={t("workspace")}>
        {PANES.map((one) => (
          <button key={one} type="button" aria-current={pane === one} onClick={() => setPane(one)}>
            <span aria-hidden="true">{PANE_SIGNS[one]}</span>
            {t(one === "communication" ? "chat" : one)}
            {one === "monitoring" && firing > 0 && <span className="dot">{firing}</span>}
          </button>
        ))}
      </nav>
    </div>
  );
}

/** The number of firing alerts stands in the tab's title, where it is seen from another window. */
function useTitle(firing: number, title: string) {
  const before = useRef(document.title);
  useEffect(() => {
    const first = before.current;
    document.title = `${firing > 0 ? `(${firing}) ` : ""}${title} · Hikeshi`;
    return () => {
      document.title = first;
    };
  }, [firing, title]);
}
