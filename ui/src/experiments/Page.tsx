import { useNow } from "../drill";
import { useLocale } from "../i18n";
import { PageTop, useTitle } from "../PageTop";
import { Notice } from "../parts";
import type { Lang, Viewer } from "../types";
import { Compose } from "./Compose";
import { useExperiments, useKnown } from "./data";
import { useDraft } from "./draft";
import { History, PhaseMark } from "./History";
import { go, Link, usePath } from "./route";
import { Watch } from "./Watch";

interface Props {
  viewer: Viewer;
  skew: number;
  lang: Lang;
  onLang: (lang: Lang) => void;
}

/** Who may see experiments: for anyone else they would give a drill's answer away. */
export const mayExperiment = (viewer: Viewer) => viewer.host || viewer.seat === "facilitator";

export function ExperimentsPage({ viewer, skew, lang, onLang }: Props) {
  const { t } = useLocale();
  if (!mayExperiment(viewer)) return <Notice title={t("x_only_host")}>{t("x_only_host_help")}</Notice>;
  return <Allowed viewer={viewer} skew={skew} lang={lang} onLang={onLang} />;
}

function Allowed({ viewer, skew, lang, onLang }: Props) {
  const { t } = useLocale();
  const now = useNow(skew);
  const path = usePath();
  const { answer, error, again } = useExperiments();
  const draft = useDraft();
  const known = useKnown();
  const part = decodeURIComponent(/^\/experiments\/([^/]+)/.exec(path)?.[1] ?? "");
  const watched = part !== "" && part !== "history" ? part : null;
  const running = answer?.running ?? [];

  useTitle(`${running.length > 0 ? `(${running.length}) ` : ""}${t("x_title")}`);

  return (
    <div className="x-page">
      <PageTop
        viewer={viewer}
        title={t("x_title")}
        lang={lang}
        onLang={onLang}
        back={t("x_war_room")}
        nav={
          <nav className="x-nav" aria-label={t("x_title")}>
            <Link to="/experiments" current={part === ""}>
              {t("x_compose")}
            </Link>
            <Link to="/experiments/history" current={part === "history"}>
              {t("x_history")}
            </Link>
          </nav>
        }
      />
      {error !== null && (
        <p className="banner" role="status">
          {t("reconnecting")}
        </p>
      )}
      {running.some((one) => one.id !== watched) && part !== "history" && (
        <nav className="x-running" aria-label={t("x_running_now")}>
          <strong>{t("x_running_now")}</strong>
          {running
            .filter((one) => one.id !== watched)
            .map((one) => (
              <Link key={one.id} to={`/experiments/${encodeURIComponent(one.id)}`}>
                <PhaseMark summary={one} /> <span lang="en">{one.name}</span>
              </Link>
            ))}
        </nav>
      )}
      {part === "" && (
        <Compose
          draft={draft}
          known={known}
          onStarted={(id) => {
            again();
            go(`/experiments/${encodeURIComponent(id)}`);
          }}
        />
      )}
      {part === "history" && <History running={running} history={answer?.history ?? []} />}
      {watched && (
        <Watch
          key={watched}
          id={watched}
          now={now}
          onAgain={(manifest) => {
            draft.onText(manifest);
            go("/experiments");
          }}
        />
      )}
    </div>
  );
}
