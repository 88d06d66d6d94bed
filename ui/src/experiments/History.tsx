import { useLocale } from "../i18n";
import { Prose } from "../parts";
import { span } from "./duration";
import { Link } from "./route";
import type { Summary } from "./types";
import { VerdictMark } from "./Verdict";

/** Every experiment that has been, newest first, with what came out. */
export function History({ running, history }: { running: Summary[]; history: Summary[] }) {
  const { t } = useLocale();
  return (
    <section className="panel x-history" aria-label={t("x_history")}>
      {running.length > 0 && (
        <>
          <h2>{t("x_running_now")}</h2>
          <ul>
            {running.map((one) => (
              <Entry key={one.id} summary={one} />
            ))}
          </ul>
        </>
      )}
      <h2>{t("x_history")}</h2>
      {history.length === 0 && <p className="calm">{t("x_no_history")}</p>}
      <ul>
        {history.map((one) => (
          <Entry key={one.id} summary={one} />
        ))}
      </ul>
    </section>
  );
}

function Entry({ summary }: { summary: Summary }) {
  const { lang, pick } = useLocale();
  const at = new Intl.DateTimeFormat(lang === "ja" ? "ja-JP" : "en-GB", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  const took = summary.ended_at ? (Date.parse(summary.ended_at) - Date.parse(summary.started_at)) / 1000 : null;
  return (
    <li>
      <Link to={`/experiments/${encodeURIComponent(summary.id)}`} className="x-entry">
        {summary.phase === "ended" ? <VerdictMark verdict={summary.verdict} /> : <PhaseMark summary={summary} />}
        <span className="x-entry-name" lang="en">
          {summary.name} <span className="help">{summary.kind}</span>
        </span>
        <span className="x-entry-words">
          <Prose text={pick(summary.sentence)} />
        </span>
        <span className="help x-entry-facts">
          <time dateTime={summary.started_at}>{at.format(new Date(summary.started_at))}</time>
          {took !== null && <span>{span(took, lang)}</span>}
          <span>{lang === "ja" ? `Pod ${summary.hit} 個` : `${summary.hit} ${summary.hit === 1 ? "pod" : "pods"}`}</span>
          <span>{summary.by}</span>
        </span>
      </Link>
    </li>
  );
}

export function PhaseMark({ summary }: { summary: Summary }) {
  const { t } = useLocale();
  return (
    <span className="x-verdict" data-tone="live">
      {t(`x_phase_${summary.phase}`)}
    </span>
  );
}
