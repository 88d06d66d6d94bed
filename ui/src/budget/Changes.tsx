import { useLocale } from "../i18n";
import { moment, promised } from "./format";
import type { Change } from "./types";

/** Who changed the objective, when, from what to what, and why. */
export function Changes({ changes, pending }: { changes: Change[]; pending: string | null }) {
  const { t, lang } = useLocale();
  const said = (promise: string | null) => (promise === null ? t("b_none") : promised(promise, lang));
  const why = (words: string) => (words === "first seen" ? t("b_first_seen") : words === "edited by hand" ? t("b_by_hand") : words);
  return (
    <section className="b-changes">
      <h3>{t("b_history")}</h3>
      {pending && (
        <p className="b-known">
          {t("b_pending")}: {promised(pending, lang)}
        </p>
      )}
      {changes.length === 0 ? (
        <p className="help">{t("b_no_history")}</p>
      ) : (
        <ol>
          {changes.map((change) => (
            <li key={`${change.at} ${change.to}`}>
              <time dateTime={change.at}>{moment(Date.parse(change.at) / 1000, lang)}</time>
              <strong>{change.who === "?" ? t("b_unknown") : change.who}</strong>
              <span>{change.from === null ? said(change.to) : `${said(change.from)} → ${said(change.to)}`}</span>
              <q>{why(change.why)}</q>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
