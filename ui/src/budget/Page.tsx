import { ApiError } from "../api";
import { usePath } from "../experiments/route";
import { clock, useLocale } from "../i18n";
import { PageTop, useTitle } from "../PageTop";
import { Notice, wordsOf } from "../parts";
import type { Lang, Viewer } from "../types";
import { useBudgets } from "./data";
import { Detail } from "./Detail";
import { lasting } from "./format";
import { Overview } from "./Overview";

interface Props {
  viewer: Viewer;
  lang: Lang;
  onLang: (lang: Lang) => void;
}

/** What is left of every error budget, and what became of the rest. */
export function BudgetPage({ viewer, lang, onLang }: Props) {
  const locale = useLocale();
  const { t } = locale;
  const { answer, error } = useBudgets();
  const path = usePath();
  const picked = decodeURIComponent(/^\/budgets\/([^/]+)/.exec(path)?.[1] ?? "");
  const all = answer?.journeys.flatMap((journey) => journey.slos.map((slo) => ({ journey, slo }))) ?? [];
  const shown = all.find(({ slo }) => slo.slo === picked) ?? all[0];

  useTitle(t("b_title"));

  return (
    <div className="b-page" data-picked={picked !== ""}>
      <PageTop viewer={viewer} title={t("b_title")} lang={lang} onLang={onLang} back={t("x_war_room")} />
      {answer && error !== null && (
        <p className="banner" role="status">
          {t("b_stale")} {clock(answer.at)}
        </p>
      )}
      {answer && answer.slo_clock > 1 && <FasterClock times={answer.slo_clock} lang={lang} />}
      {answer?.marks_problem && (
        <p className="banner" role="status">
          {t("b_marks_problem")}: <code>{answer.marks_problem}</code>
        </p>
      )}
      {!answer && error === null && <Notice title={t("loading")} />}
      {!answer && error !== null && <Notice title={t("b_no_answer")}>{error instanceof ApiError && error.status === 503 ? t("b_no_answer_help") : wordsOf(error, locale)}</Notice>}
      {answer && shown && (
        <div className="b-both">
          <Overview journeys={answer.journeys} picked={shown.slo.slo} />
          <Detail key={shown.slo.slo} journey={shown.journey} slo={shown.slo} told={answer} />
        </div>
      )}
    </div>
  );
}

/** That a month here is not a month. */
function FasterClock({ times, lang }: { times: number; lang: Lang }) {
  const month = lasting((30 * 86_400) / times, lang);
  const hour = lasting(3_600 / times, lang);
  return (
    <p className="b-clock">
      {lang === "ja"
        ? `このシステムの時計は ${times} 倍速です。30 日の期間は ${month}、1 時間の窓は ${hour}で進みます。下の時間と分は、実際に流れる時間です。`
        : `This system's clock runs ${times} times faster: 30 days pass in ${month}, an hour's window in ${hour}. Times and minutes below are as they really pass.`}
    </p>
  );
}
