import { Link } from "../experiments/route";
import { type Word, useLocale } from "../i18n";
import { burn, share } from "./format";
import { stateOf } from "./plot";
import type { Journey, Slo } from "./types";

/** Every journey with its owner team, in order of business impact, and the budgets of its objectives. */
export function Overview({ journeys, picked }: { journeys: Journey[]; picked: string }) {
  const { t, pick } = useLocale();
  return (
    <nav className="b-overview panel" aria-label={t("b_journeys")}>
      <h2>{t("b_journeys")}</h2>
      <p className="help">{t("b_journeys_help")}</p>
      <ol>
        {journeys.map((journey, index) => (
          <li key={journey.name}>
            <div className="b-journey">
              <span className="b-rank" aria-hidden="true">
                {index + 1}
              </span>
              <h3>{pick(journey.title)}</h3>
              <span className="help">
                {t("b_owner")} <strong>{journey.owner}</strong>
                {journey.route && (
                  <>
                    {" · "}
                    <code>{journey.route}</code>
                  </>
                )}
              </span>
            </div>
            <ul>
              {journey.slos.map((slo) => (
                <li key={slo.slo}>
                  <Link to={`/budgets/${encodeURIComponent(slo.slo)}`} className="b-row" current={slo.slo === picked}>
                    <Row slo={slo} />
                  </Link>
                </li>
              ))}
            </ul>
          </li>
        ))}
      </ol>
    </nav>
  );
}

function Row({ slo }: { slo: Slo }) {
  const { t } = useLocale();
  const left = slo.status?.left ?? null;
  return (
    <>
      <span className="b-name">
        <SliName slo={slo} /> <small>{slo.objective} %</small>
      </span>
      <StateMark slo={slo} />
      <Bar left={left} />
      <span className="b-facts">
        <strong>{left === null ? t("b_unknown") : share(left)}</strong>
        {left !== null && <small>{burn(slo.status?.burn ?? null)}</small>}
      </span>
    </>
  );
}

/** The kind's name; its own where it has another. */
export function SliName({ slo }: { slo: Pick<Slo, "sli" | "name"> }) {
  const { t } = useLocale();
  if (slo.sli === "custom") return <span lang="en">{slo.name}</span>;
  const kind = t(`sli_${slo.sli}` as Word);
  return slo.name === slo.sli ? (
    <>{kind}</>
  ) : (
    <>
      {kind} <small lang="en">({slo.name})</small>
    </>
  );
}

export function StateMark({ slo }: { slo: Slo }) {
  const { t } = useLocale();
  const state = stateOf(slo);
  return (
    <span className="b-state" data-state={state}>
      {t(`b_state_${state}`)}
    </span>
  );
}

/** What is left of a whole; hatched where it is not known. */
export function Bar({ left }: { left: number | null }) {
  const tone = left === null ? "unknown" : left <= 0 ? "spent" : left < 0.25 ? "low" : "fine";
  return (
    <span className="b-bar" data-tone={tone} aria-hidden="true">
      <i style={{ width: `${Math.min(1, Math.max(0, left ?? 0)) * 100}%` }} />
    </span>
  );
}
