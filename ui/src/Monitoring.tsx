import { Fragment } from "react";
import { send } from "./api";
import type { AlertState } from "./fold";
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
  const firing = alerts.filter((alert) => !alert.resolvedAt).sort((a, b) => urgency(a) - urgency(b));
  const over = alerts.filter((alert) => alert.resolvedAt);
  return (
    <section className="monitoring panel" aria-label={t("monitoring")}>
      <h2>
        {t("alerts")}
        {firing.length > 0 && <span className="dot">{firing.length}</span>}
      </h2>
      {firing.length === 0 && <p className="calm">{t("no_alerts")}</p>}
      <ul className="alerts">
        {firing.map((alert) => (
          <AlertCard key={alert.fingerprint} alert={alert} now={now} canAct={canAct} />
        ))}
      </ul>
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

/** Those that page come first; the order of time is kept among equals. */
function urgency(alert: AlertState): number {
  return alert.severity === "critical" || alert.severity === "page" ? 0 : 1;
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

function AlertCard({ alert, now, canAct }: { alert: AlertState; now: number; canAct: boolean }) {
  const { t } = useLocale();
  const toasts = useToasts();
  const acknowledge = () => send({ command: "acknowledge", fingerprint: alert.fingerprint }).catch(toasts.fail);
  return (
    <li className="alert-card" data-severity={alert.severity} role="alert">
      <p className="name">
        <span className="severity">{alert.severity}</span>
        <strong lang="en">{breakable(alert.name)}</strong>
      </p>
      <p className="summary" lang="en">
        {alert.summary}
      </p>
      <p className="foot">
        <span>
          {t("firing_since")} {duration((now - Date.parse(alert.firedAt)) / 1000)}
        </span>
        {alert.acknowledgedBy ? (
          <span className="acked">
            ✓ {t("acked_by")} {alert.acknowledgedBy}
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
