import { useLocale } from "../i18n";
import type { Action, Status } from "./types";

/** What the team agreed to do about a budget that runs out: what applies now, and what comes next. */
export function Agreed({ status }: { status: Status }) {
  const { t, lang } = useLocale();
  const { actions, next } = status;
  if (actions.length === 0 && !next) return <p className="help b-agreed-none">{t("b_agreed_none")}</p>;
  return (
    <section className="b-agreed" data-applies={actions.length > 0}>
      {actions.length > 0 && (
        <>
          <h3>{t("b_agreed")}</h3>
          <ul>
            {actions.map((action) => (
              <One key={`${action.spent} ${action.action.en}`} action={action} />
            ))}
          </ul>
        </>
      )}
      {next && (
        <p className="help">
          {lang === "ja" ? `${next.spent} % 使ったら：` : `At ${next.spent} % spent: `}
          <Words action={next} />
        </p>
      )}
    </section>
  );
}

function One({ action }: { action: Action }) {
  return (
    <li>
      <Words action={action} />
    </li>
  );
}

function Words({ action }: { action: Action }) {
  const { t, pick } = useLocale();
  return (
    <>
      {pick(action.action)}
      {action.approver && (
        <small>
          {" "}
          ({t("b_approval")}: {action.approver})
        </small>
      )}
    </>
  );
}
