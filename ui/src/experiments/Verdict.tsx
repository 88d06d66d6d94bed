import { useLocale } from "../i18n";
import { span } from "./duration";
import type { Experiment, Verdict } from "./types";

const TONES: Record<Verdict, string> = { held: "good", refuted: "bad", stopped: "warn", void: "none" };

export function VerdictMark({ verdict }: { verdict: Verdict | null }) {
  const { t } = useLocale();
  return (
    <span className="x-verdict" data-tone={verdict ? TONES[verdict] : "none"}>
      {t(`x_verdict_${verdict ?? "none"}`)}
    </span>
  );
}

/** What came out, in plain words, and whether all is as it was; its place is kept while the experiment is on. */
export function Outcome({ experiment }: { experiment: Experiment }) {
  const { t, lang } = useLocale();
  const { verdict, recovery, phase } = experiment;
  const over = phase === "ended";
  // Without a hypothesis there is nothing to wait for.
  const stated = experiment.checks.some(({ role }) => role === "hypothesis");
  const word = over || !stated ? (verdict ?? "none") : "wait";
  const back = recovery.verified === null ? (phase === "running" || phase === "injecting" || phase === "pending" ? "x_recovery_later" : "x_recovery_wait") : null;
  return (
    <section className="x-outcome" data-tone={over && verdict ? TONES[verdict] : "none"} aria-label={t("x_verdict")} role="status">
      <h2>{t(`x_verdict_${word}`)}</h2>
      <p>{t(`x_verdict_${word}_help`)}</p>
      <p data-recovered={recovery.verified}>
        {back ? t(back) : recovery.verified ? `✓ ${t("x_recovery_ok")}` : `✗ ${t("x_recovery_bad")}`}
        {recovery.verified && recovery.seconds !== null && ` (${t("x_in")} ${span(recovery.seconds, lang)})`}
      </p>
    </section>
  );
}
