import { useLocale } from "../i18n";
import type { Text } from "../types";
import { count, share, stretch } from "./format";
import type { Spender, Status } from "./types";

/** Which incident or drill spent what, and what was spent besides. */
export function Spenders({ status, drills }: { status: Status; drills: Record<string, Text> }) {
  const { t, lang, pick } = useLocale();
  const spenders = status.spenders.filter((spender) => spender.bad > 0).toSorted((a, b) => b.spent - a.spent);
  const besides = status.unmarked;
  const widest = Math.max(besides, ...spenders.map((one) => one.spent), 1e-9);
  const part = (spent: number) => (spent > 0 ? share(spent) : "0 %");
  const title = (spender: Spender) => {
    const of = drills[spender.name];
    return of ? pick(of) : spender.name;
  };
  return (
    <section className="b-spenders">
      <h3>{t("b_spenders")}</h3>
      {spenders.length === 0 && besides <= 0 ? (
        <p className="help">{t("b_nothing_spent")}</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">{t("b_spender")}</th>
              <th scope="col">{t("b_when")}</th>
              <th scope="col">{t("b_failed")}</th>
              <th scope="col">{t("b_share")}</th>
            </tr>
          </thead>
          <tbody>
            {spenders.map((spender) => (
              <tr key={`${spender.name} ${spender.from}`}>
                <th scope="row" title={spender.name}>
                  <small>{t(`b_${spender.kind}`)}</small> {title(spender)}
                </th>
                <td>{stretch(spender.from, spender.to, lang)}</td>
                <td>{count(spender.bad, lang)}</td>
                <td>
                  <Part of={spender.spent / widest}>{part(spender.spent)}</Part>
                </td>
              </tr>
            ))}
            <tr>
              <th scope="row">{t("b_besides")}</th>
              <td />
              <td />
              <td>
                <Part of={besides / widest}>{part(besides)}</Part>
              </td>
            </tr>
          </tbody>
        </table>
      )}
    </section>
  );
}

function Part({ of, children }: { of: number; children: string }) {
  return (
    <span className="b-part">
      <i aria-hidden="true" style={{ width: `${Math.max(0, of) * 100}%` }} />
      {children}
    </span>
  );
}
