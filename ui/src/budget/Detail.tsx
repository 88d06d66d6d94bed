import { Link } from "../experiments/route";
import { useLocale } from "../i18n";
import { Agreed } from "./Agreed";
import { BurnChart } from "./BurnChart";
import { Changes } from "./Changes";
import { Figures } from "./Figures";
import { promise, share, windowWords } from "./format";
import { SliName, StateMark } from "./Overview";
import { SpentChart } from "./SpentChart";
import { Spenders } from "./Spenders";
import type { Budgets, Journey, Slo } from "./types";

/** Everything about one objective's budget. */
export function Detail({ journey, slo, told }: { journey: Journey; slo: Slo; told: Budgets }) {
  const { t, lang, pick } = useLocale();
  const { status } = slo;
  return (
    <main className="b-detail panel">
      <Link to="/budgets" className="b-back">
        ← {t("b_back")}
      </Link>
      <header className="b-head">
        <h2>
          {pick(journey.title)} · <SliName slo={slo} />
        </h2>
        <StateMark slo={slo} />
        {journey.steps.length > 0 && <p className="b-steps">{journey.steps.map(pick).join(" → ")}</p>}
        <p className="help">
          {promise(slo, lang)}
          {lang === "ja" ? "、" : ", "}
          {lang === "ja" ? windowWords(slo.window, lang) : `over ${windowWords(slo.window, lang)}`} · {t("b_owner")} <strong>{journey.owner}</strong>
        </p>
      </header>
      {!status && (
        <div className="b-hole">
          <strong>{t("b_no_answer")}</strong>
          <code>{slo.problem}</code>
        </div>
      )}
      {status && status.left === null && (
        <div className="b-hole">
          <strong>{t("b_no_data")}</strong>
          <p>{t("b_no_data_help")}</p>
        </div>
      )}
      {status && status.left !== null && (
        <>
          <p className="b-words">{pick(status.words)}</p>
          <Figures status={status} alert={slo.alerts[0]} />
          {status.known < 0.99 && <p className="b-known">{lang === "ja" ? `この期間のうち Prometheus が知っているのは ${share(status.known)} です。残りの時間は「わからない」のであって、「使っていない」と確かめたものではありません。` : `Prometheus knows ${share(status.known)} of this window. The rest is unknown; it has not been found to be unspent.`}</p>}
        </>
      )}
      {status && <Agreed status={status} />}
      {status && status.points.length > 0 && <SpentChart status={status} />}
      {status && <BurnChart alerts={slo.alerts} />}
      {status && status.left !== null && <Spenders status={status} drills={told.drills} />}
      <Changes changes={slo.changes} pending={slo.pending} />
    </main>
  );
}
