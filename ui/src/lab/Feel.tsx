import { useState } from "react";
import { useLocale } from "../i18n";
import { AppFrame } from "./App";
import type { Act, Felt, LabState, View } from "./types";

interface Props {
  state: LabState;
  view: View;
  host: boolean;
  doing: Act["do"] | null;
  act: (act: Act) => Promise<LabState | null>;
}

/** A level with its figures beside it. */
export function Feel({ state, view, host, doing, act }: Props) {
  const { t, pick } = useLocale();
  const [level, setLevel] = useState(view.kind === "latency" ? "1s" : "1.5%");
  const journey = view.felt?.journey ?? view.journeys[0] ?? "";
  const offered = state.journeys.find((one) => one.journey === journey);
  return (
    <main className="l-room">
      <section className="l-panel panel" aria-label={t("l_feel")}>
        <h2>{t("l_feeling")}</h2>
        {view.felt && <FeltFigures felt={view.felt} />}
        {offered && (
          <div className="l-task">
            <h2>
              {t("l_task")}: {pick(offered.title)}
            </h2>
            <p>{pick(offered.task)}</p>
          </div>
        )}
        {host && (
          <form
            className="l-form"
            onSubmit={(event) => {
              event.preventDefault();
              void act({ do: "feel", journey, level });
            }}
          >
            <label>
              {t("l_level")}
              <input value={level} spellCheck={false} onChange={(event) => setLevel(event.target.value)} />
              <span className="help">{t(`l_level_help_${view.kind}`)}</span>
            </label>
            <button type="submit" className="primary wide" disabled={doing !== null}>
              {t(doing === "feel" ? "l_changing" : "l_put")}
            </button>
          </form>
        )}
      </section>
      <AppFrame page={offered?.page ?? "/"} covered={doing === "feel"} />
    </main>
  );
}

export function FeltFigures({ felt }: { felt: Felt }) {
  const { t, pick } = useLocale();
  const { delivered, ok } = felt.judged;
  const used = delivered.requests > 0;
  return (
    <dl className="l-felt" data-state={used ? (ok ? "good" : "bad") : "none"}>
      <dt>{t("l_asked")}</dt>
      <dd className="l-big">{pick(felt.said)}</dd>
      <dt>{t("l_delivered")}</dt>
      <dd>
        {used ? pick(felt.judged.words) : t("l_unused")}
        {used && (
          <span className="l-mark">
            {t(ok ? "l_ok" : "l_not_ok")} ({delivered.requests} {t("l_requests")})
          </span>
        )}
      </dd>
    </dl>
  );
}
