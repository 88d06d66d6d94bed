import { useState } from "react";
import { Link } from "../experiments/route";
import { percent, useLocale } from "../i18n";
import { useToasts, wordsOf } from "../parts";
import { useOutcome } from "./data";
import { FeltFigures } from "./Feel";
import { Ruler } from "./Ruler";
import type { Act, LabState, OfJourney, Outcome, Told } from "./types";

interface Props {
  id: string;
  host: boolean;
  act: (act: Act) => Promise<LabState | null>;
}

export function Results({ id, host, act }: Props) {
  const locale = useLocale();
  const { t, pick } = locale;
  const { outcome, error } = useOutcome(id);
  if (error !== null) return <p className="panel l-card error">{wordsOf(error, locale)}</p>;
  if (!outcome) return <p className="panel l-card">{t("l_waiting")}</p>;
  return (
    <main className="l-before l-results">
      <p>
        <Link to="/lab">← {t("l_back")}</Link>
      </p>
      {outcome.felt.map((felt, n) => (
        <section key={n} className="panel l-card">
          <FeltFigures felt={felt} />
        </section>
      ))}
      {outcome.journeys
        .filter((one) => one.trials.length > 0)
        .map((one) => (
          <Journey key={one.journey} outcome={outcome} of={one} host={host} act={act} />
        ))}
      {outcome.ended && <p className="calm">{pick(outcome.ended)}</p>}
    </main>
  );
}

function Journey({ outcome, of, host, act }: { outcome: Outcome; of: OfJourney; host: boolean; act: Props["act"] }) {
  const { t, pick } = useLocale();
  const toasts = useToasts();
  const [exporting, setExporting] = useState(false);
  const { recommendation } = of;
  return (
    <section className="panel l-card">
      <h2>
        {t("l_result")}: {pick(of.title)} · {t(`l_${outcome.kind}`)}
      </h2>
      <dl className="l-figures">
        {of.noticeable && (
          <div>
            <dt>{t("l_noticeable")}</dt>
            <dd>{pick(of.noticeable.words)}</dd>
          </div>
        )}
        {of.tolerable && (
          <div>
            <dt>{t("l_tolerable")}</dt>
            <dd>{pick(of.tolerable.words)}</dd>
          </div>
        )}
        <div>
          <dt>{t("l_right")}</dt>
          <dd>
            {of.right} {t("l_of")} {of.valid}
            <span className="help">
              {" "}
              ({percent(of.right_interval[0], 0)}–{percent(of.right_interval[1], 0)}) · {t("l_by_guess")} {percent(of.by_guessing)}
            </span>
          </dd>
        </div>
      </dl>
      {of.noticeable && of.tolerable && <Ruler of={of} kind={outcome.kind} />}
      <p className="help">{t("l_interval")}</p>
      <div className="l-advice">
        <h3>{t("l_recommend")}</h3>
        <p className="l-big">{pick(recommendation.words)}</p>
        <ul>
          {recommendation.reasons.map((reason, n) => (
            <li key={n}>{pick(reason)}</li>
          ))}
        </ul>
        {recommendation.change && host && (
          <button
            type="button"
            className="primary"
            disabled={exporting}
            onClick={() => {
              setExporting(true);
              void act({ do: "export", id: outcome.id, journey: of.journey, why: "" }).then((done) => {
                if (done) toasts.say(t("l_exported"));
                else setExporting(false);
              });
            }}
          >
            {t("l_export")}
          </button>
        )}
      </div>
      {of.each.length > 0 && (
        <>
          <h3>{t("l_each")}</h3>
          <ul className="l-each">
            {of.each.map((one) => (
              <li key={one.person}>
                <b>{one.person}</b> {t("l_noticeable")} {pick(one.noticeable.words)} · {t("l_tolerable")} {pick(one.tolerable.words)}
              </li>
            ))}
          </ul>
        </>
      )}
      <h3>{t("l_trials_table")}</h3>
      <ol className="l-trials">
        {of.trials.map((trial, n) => (
          <Line key={n} trial={trial} />
        ))}
      </ol>
    </section>
  );
}

/** Asked for and delivered, and what was said: only now may it be told. */
function Line({ trial }: { trial: Told }) {
  const { t, pick } = useLocale();
  const level = trial.judged[trial.level_was === "a" ? 0 : 1];
  return (
    <li data-void={trial.void !== null}>
      <span className="l-said">{pick(trial.said)}</span>
      <span>
        {t("l_level")} {trial.level_was.toUpperCase()} · X = {trial.x_was.toUpperCase()}
      </span>
      {level && (
        <span className="l-mark" data-state={level.ok ? "good" : "bad"}>
          {pick(level.words)}
        </span>
      )}
      {trial.void ? (
        <span className="error">
          {t("l_void")}: {pick(trial.void)}
        </span>
      ) : (
        <span>
          {t(trial.right ? "l_correct" : "l_wrong")} · {t(trial.answer?.bearable ? "l_yes" : "l_no")}
          {trial.answer?.words && ` · ${trial.answer.words}`}
        </span>
      )}
      <span className="help">{trial.person}</span>
    </li>
  );
}
