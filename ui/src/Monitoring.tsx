import { Fragment } from "react";
import { send } from "./api";
import { type AlertGroup, type AlertState, groups, pages } from "./fold";
import { clock, duration, useLocale } from "./i18n";
import { JourneyCard } from "./JourneyCard";
import { useToasts } from "./parts";
import type { JourneySeries } from "./types";

interface Props {
  alerts: AlertState[];
  series: JourneySeries;
  now: number;
  canAct: boolean;
}

export function Monitoring({ alerts, series, now, canAct }: Props) {
  const { t } = useLocale();
  const firing = groups(alerts);
  const urgent = firing.filter((group) => pages(group.first));
  const tickets = firing.filter((group) => !pages(group.first));
  const over = alerts.filter((alert) => alert.resolvedAt);
  const cards = (some: AlertGroup[]) => (
    <ul className="alerts">
      {some.map((group) => (
        <AlertCard key={group.name} group={group} now={now} canAct={canAct} />
      ))}
    </ul>
  );
  return (
    <section className="monitoring panel" aria-label={t("monitoring")}>
      <h2>
        {t("alerts")}
        {urgent.length > 0 && <span className="dot">{urgent.length}</span>}
      </h2>
      {firing.length === 0 && <p className="calm">{t("no_alerts")}</p>}
      {cards(urgent)}
      {tickets.length > 0 && (
        <details className="tickets">
          <summary>
            {t("tickets")} <span className="count">{tickets.length}</span>
          </summary>
          {cards(tickets)}
        </details>
      )}
      {over.length > 0 && (
        <details className="over">
          <summary>
            {t("resolved_alerts")} ({over.length})
          </summary>
          <ul>
            {over.map((alert) => (
              <li key={alert.fingerprint}>
                {alert.name}{" "}
                <span className="when">
                  {clock(alert.firedAt)}–{alert.resolvedAt && clock(alert.resolvedAt)}
                </span>
              </li>
            ))}
          </ul>
        </details>
      )}
      <h2>
        {t("journeys")} <span className="aside">{t("last_minutes")}</span>
      </h2>
      {series.journeys.length === 0 && <p className="calm">{t("journeys_wait")}</p>}
      {series.journeys.map((journey) => (
        <JourneyCard key={journey.name} journey={journey} points={series.points} />
      ))}
    </section>
  );
}

/** A CamelCase name that may break between its words. */
function breakable(name: string) {
  return name.split(/(?<=[a-z0-9])(?=[A-Z])/).map((part, i) => (
    <Fragment key={i}>
      {i > 0 && <wbr />}
      {part}
    </Fragment>
  ));
}

function AlertCard({ group, now, canAct }: { group: AlertGroup; now: number; canAct: boolean }) {
  const { t } = useLocale();
  const toasts = useToasts();
  const { first } = group;
  const acknowledge = () => send({ command: "acknowledge", fingerprint: first.fingerprint }).catch(toasts.fail);
  return (
    <li className="alert-card" data-severity={first.severity} role="alert">
      <p className="name">
        <span className="severity" lang="en">
          {first.severity}
        </span>
        <strong lang="en">{breakable(group.name)}</strong>
        {group.count > 1 && <span className="times"> ×{group.count}</span>}
      </p>
      <p className="summary" lang="en">
        {first.summary}
      </p>
      <p className="foot">
        <span>
          {t("firing_since")} {duration((now - Date.parse(group.firedAt)) / 1000)}
        </span>
        {group.acknowledgedBy ? (
          <span className="acked">
            ✓ {t("acked_by")} {group.acknowledgedBy}
          </span>
        ) : (
          canAct && (
            <button type="button" className="small" onClick={() => void acknowledge()}>
              {t("ack")}
            </button>
          )
        )}
      </p>
    </li>
  );
}
