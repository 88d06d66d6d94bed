import { useLocale } from "../i18n";
import { Prose, wordsOf } from "../parts";
import { Blast, rounded } from "./Blast";
import type { Previewed } from "./data";
import type { Pair } from "./form";
import type { CheckNow, Problem } from "./types";

interface Props {
  previewed: Previewed;
  problems: Problem[];
  /** Requests without these headers are left alone. */
  headers: Pair[];
  onProblem: (problem: Problem) => void;
}

/** What would happen, to whom, and whether the steady state holds: before anything starts. */
export function PreviewPanel({ previewed, problems, headers, onProblem }: Props) {
  const locale = useLocale();
  const { t, pick } = locale;
  const { preview, error } = previewed;
  return (
    <div className="x-preview" aria-busy={!previewed.fresh}>
      <h2>{t("x_preview")}</h2>
      {error !== null && (
        <p className="failure" role="alert">
          {t("x_preview_lost")} {wordsOf(error, locale)}
        </p>
      )}
      {problems.length > 0 && <Problems problems={problems} onProblem={onProblem} />}
      {!preview && error === null && <p className="calm">{t("x_preview_wait")}</p>}
      {preview && pick(preview.effect) && (
        <section>
          <h3>{t("x_effect")}</h3>
          <p className="x-effect">
            <Prose text={pick(preview.effect)} />
          </p>
          {headers.length > 0 && (
            <p className="x-only">
              {t("x_only_these")} <code>{headers.map(({ name, value }) => `${name}: ${value}`).join(", ")}</code>
            </p>
          )}
        </section>
      )}
      {preview && (
        <>
          {/* While something is wrong with it, nobody can say whom it would hit. */}
          {(problems.length === 0 || preview.blast_radius.of > 0) && (
            <section aria-label={t("x_blast")}>
              <h3>{t("x_blast")}</h3>
              <Blast radius={preview.blast_radius} />
            </section>
          )}
          <section>
            <h3>{t("x_hypothesis")}</h3>
            {preview.hypothesis.length === 0 && problems.length === 0 && <p className="calm">{t("x_no_hypothesis")}</p>}
            {preview.hypothesis.some((check) => check.now === false) && <p className="x-caution">{t("x_unsteady")}</p>}
            <Now checks={preview.hypothesis} guard={false} />
          </section>
          {preview.guards.length > 0 && (
            <section>
              <h3>{t("x_guards")}</h3>
              {preview.guards.some((check) => check.now === true) && <p className="x-caution">{t("x_tripped")}</p>}
              <Now checks={preview.guards} guard />
            </section>
          )}
        </>
      )}
    </div>
  );
}

function Problems({ problems, onProblem }: { problems: Problem[]; onProblem: (problem: Problem) => void }) {
  const { t, pick } = useLocale();
  return (
    <section className="x-problems">
      <h3>
        {t("x_problems")} <span className="dot">{problems.length}</span>
      </h3>
      <ul>
        {problems.map((problem, i) => (
          <li key={i}>
            <p className="x-place">
              {problem.line > 0 && (
                <button type="button" className="small" title={t("x_go_to")} onClick={() => onProblem(problem)}>
                  {problem.line}:{problem.column}
                </button>
              )}
              <code>{problem.path}</code>
            </p>
            <p>
              <Prose text={pick(problem.message)} />
            </p>
            {problem.suggestion && (
              <p className="help">
                {t("x_instead")}: <code>{problem.suggestion}</code>
              </p>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Checks with their value at this moment: a hypothesis should be true, a guard false. */
function Now({ checks, guard }: { checks: CheckNow[]; guard: boolean }) {
  const { t } = useLocale();
  return (
    <ul className="x-checks">
      {checks.map((check) => {
        const state = check.now === null ? "unknown" : check.now === guard ? "bad" : "good";
        const word = state === "unknown" ? "x_unknown" : guard ? (state === "bad" ? "x_trips" : "x_quiet") : state === "bad" ? "x_fails" : "x_holds";
        return (
          <li key={check.name} data-state={state}>
            <p>
              <span className="x-mark">{t(word)}</span>
              <strong lang="en">{check.name}</strong>
              <span className="x-value-now">{check.value === null ? t("no_data") : `${t("x_now")} ${rounded(check.value)}`}</span>
            </p>
            <code>{check.query}</code>
          </li>
        );
      })}
    </ul>
  );
}
