import { useLocale } from "../i18n";
import { burn, count, lasting, moment, share } from "./format";
import { Bar } from "./Overview";
import type { Alert, Status } from "./types";

/** The budget in every unit that people ask for. `alert`: the fastest, whose windows the burn rates are read over. */
export function Figures({ status, alert }: { status: Status; alert: Alert | undefined }) {
  const { t, lang } = useLocale();
  const { left, minutes_left: minutes, events_left: events } = status;
  if (left === null) return null;
  const over = Math.max(0, left);
  return (
    <dl className="b-figures">
      <div className="b-main">
        <dt>{t("b_left")}</dt>
        <dd>
          <strong data-figure="left">{share(left)}</strong>
          <Bar left={left} />
        </dd>
      </div>
      <div>
        <dt>{t("b_outage")}</dt>
        <dd data-figure="minutes">{lasting((over > 0 ? (minutes ?? 0) : 0) * 60, lang)}</dd>
      </div>
      <div>
        <dt>{t("b_failures")}</dt>
        <dd data-figure="events">{events === null ? t("b_no_counts") : lang === "ja" ? `約 ${count(Math.max(0, events), lang)} 件` : `about ${count(Math.max(0, events), lang)}`}</dd>
      </div>
      <div>
        <dt>{t("b_burn")}</dt>
        <dd>
          <span data-figure="burn">{burn(status.burn)}</span>
          {alert && (
            <small>{lang === "ja" ? `${alert.long} の窓。${alert.short} では ${burn(status.burn_now)}` : `over ${alert.long}; ${burn(status.burn_now)} over ${alert.short}`}</small>
          )}
        </dd>
      </div>
      <div>
        <dt>{t("b_gone_in")}</dt>
        <dd data-figure="gone">{status.exhausted_in === null ? t("b_lasts") : status.exhausted_in <= 0 ? t("b_gone") : lasting(status.exhausted_in, lang)}</dd>
      </div>
      <div>
        <dt>{t("b_attained")}</dt>
        <dd>
          {status.attained === null ? t("b_unknown") : `${(Math.floor(status.attained * 1e5) / 1e3).toFixed(3)} %`}
          <small>
            {count(status.bad, lang)} / {count(status.total, lang)}
          </small>
        </dd>
      </div>
      {status.renews !== null && (
        <div>
          <dt>{t("b_renews")}</dt>
          <dd>{moment(status.renews, lang)}</dd>
        </div>
      )}
    </dl>
  );
}
