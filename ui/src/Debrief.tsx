import { useEffect, useState } from "react";
import { ApiError, get, getText } from "./api";
import type { Folded } from "./fold";
import { clock, duration, type Word, useLocale } from "./i18n";
import { Prose, useToasts } from "./parts";
import type { DrillView } from "./types";

/** As crates/hikeshi-drill/src/score.rs writes it. */
interface Score {
  points: number;
  of: number;
  lines: { name: string; points: number; of: number; reason_ja: string; reason_en: string }[];
}

/** What happened, how it is scored and why, and the documents made from it. */
export function Debrief({ view, folded }: { view: DrillView; folded: Folded }) {
  const { t } = useLocale();
  return (
    <div className="debrief scroll" role="tabpanel" id="panel-debrief" aria-labelledby="tab-debrief">
      <p className="eyebrow">{t("ended")}</p>
      <h2>{t("debrief")}</h2>
      <p className="lead">{t("debrief_lead")}</p>
      <Timings folded={folded} />
      <ScoreCard drill={view.id} />
      <h3>{t("documents")}</h3>
      <Document drill={view.id} kind="postmortem" />
      <Document drill={view.id} kind="story" />
    </div>
  );
}

function Timings({ folded }: { folded: Folded }) {
  const { t } = useLocale();
  const steps: [Word, string | null][] = [
    ["m_detect", folded.detectedAt],
    ["m_assign", folded.assignedAt],
    ["m_mitigate", folded.mitigatedAt],
    ["m_resolve", folded.resolvedAt],
  ];
  const from = folded.alertAt;
  return (
    <dl className="timings" aria-label={t("timings")}>
      {steps.map(([word, at]) => (
        <div key={word} data-done={at !== null}>
          <dt>{t(word)}</dt>
          <dd>{at === null ? t("never") : from === null ? clock(at) : duration((Date.parse(at) - Date.parse(from)) / 1000)}</dd>
          {at !== null && from !== null && <dd className="help">{t("from_alert")}</dd>}
        </div>
      ))}
    </dl>
  );
}

/** Asks again until the server has made it. */
function useLate<T>(load: () => Promise<T>, key: string): T | null {
  const [found, setFound] = useState<T | null>(null);
  useEffect(() => {
    let stopped = false;
    let timer = 0;
    setFound(null);
    const attempt = () =>
      load().then(
        (value) => !stopped && setFound(value),
        (error: unknown) => {
          const notYet = error instanceof ApiError && error.status === 404;
          if (!stopped && notYet) timer = window.setTimeout(attempt, 3000);
        },
      );
    void attempt();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
    // The key says what is loaded.
  }, [key]);
  return found;
}

function ScoreCard({ drill }: { drill: string }) {
  const { t, lang } = useLocale();
  const score = useLate(() => get<Score>(`/api/drills/${drill}/score`), drill);
  if (!score) return <p className="calm">{t("score_wait")}</p>;
  return (
    <section className="score" aria-label={t("score")}>
      <p className="total">
        <span>{t("score")}</span>
        <strong>{score.points}</strong>
        <span>/ {score.of}</span>
      </p>
      <ul>
        {score.lines.map((line) => (
          <li key={line.name} data-part={line.points >= line.of ? "whole" : line.points > 0 ? "some" : "none"}>
            <span className="points">
              {line.points}
              <small> / {line.of}</small>
            </span>
            <span className="reason">
              <Prose text={lang === "ja" ? line.reason_ja : line.reason_en} />
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Document({ drill, kind }: { drill: string; kind: "story" | "postmortem" }) {
  const { t, lang } = useLocale();
  const toasts = useToasts();
  const text = useLate(() => getText(`/api/drills/${drill}/${kind}?lang=${lang}`), `${drill} ${lang}`);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text ?? "");
      toasts.say(t("copied_text"));
    } catch (error) {
      toasts.fail(error);
    }
  };
  return (
    <details className="document">
      <summary>
        {t(kind)} {text === null && <span className="help">{t("not_yet")}</span>}
      </summary>
      {text !== null && (
        <>
          <p className="tools">
            <button type="button" className="small" onClick={() => void copy()}>
              {t("copy")}
            </button>
            <a href={`/api/drills/${drill}/${kind}?lang=${lang}`} target="_blank" rel="noreferrer">
              {t("open_new_tab")} ↗
            </a>
          </p>
          <pre>{text}</pre>
        </>
      )}
    </details>
  );
}
