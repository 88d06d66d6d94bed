import { useState } from "react";
import { get, send } from "./api";
import { mayExperiment } from "./experiments/Page";
import type { Folded } from "./fold";
import { clock, duration, seatName, type Word, useLocale } from "./i18n";
import { LangSwitch, Logo, ThemeSwitch, useToasts } from "./parts";
import type { DrillView, Lang, Viewer } from "./types";

interface Props {
  viewer: Viewer;
  view: DrillView;
  folded: Folded;
  now: number;
  lang: Lang;
  onLang: (lang: Lang) => void;
  refresh: () => void;
}

export function TopBar({ viewer, view, folded, now, lang, onLang, refresh }: Props) {
  const locale = useLocale();
  const { t, pick } = locale;
  const toasts = useToasts();
  const [link, setLink] = useState<string | null>(null);

  const invite = async () => {
    try {
      const { participant } = await get<{ participant: string }>("/api/invites");
      const url = `${location.origin}/join/${participant}`;
      try {
        await navigator.clipboard.writeText(url);
        toasts.say(t("copied"));
      } catch {
        setLink(url);
      }
    } catch (error) {
      toasts.fail(error);
    }
  };
  const end = async () => {
    if (!window.confirm(t("end_confirm"))) return;
    try {
      await send({ command: "end" });
      refresh();
    } catch (error) {
      toasts.fail(error);
    }
  };
  const until = view.ended_at ? Date.parse(view.ended_at) : now;
  return (
    <header className="top">
      <Logo />
      <div className="title">
        <h1>{pick(view.title)}</h1>
        <p>
          <span className="state" data-state={view.state}>{t(view.state)}</span>
          <span className="me">
            {viewer.name} · {seatName(locale, viewer.seat)}
          </span>
        </p>
      </div>
      {view.started_at && (
        <p className="elapsed">
          <span>{t("elapsed")}</span>
          <time>{duration((until - Date.parse(view.started_at)) / 1000)}</time>
        </p>
      )}
      <Milestones folded={folded} />
      <div className="tools">
        {viewer.host && view.state === "running" && (
          <button type="button" onClick={() => void end()}>
            {t("end_drill")}
          </button>
        )}
        <button type="button" onClick={() => void invite()}>
          {t("invite")}
        </button>
        <a className="button" href="/budgets">
          {t("b_title")}
        </a>
        <a className="button" href="/lab">
          {t("l_title")}
        </a>
        {mayExperiment(viewer) && (
          <a className="button" href="/experiments">
            {t("x_title")}
          </a>
        )}
        <LangSwitch lang={lang} onLang={onLang} />
        <ThemeSwitch />
      </div>
      {link && (
        <label className="link">
          {t("copy_failed")}
          <input readOnly value={link} onFocus={(event) => event.target.select()} autoFocus onBlur={() => setLink(null)} />
        </label>
      )}
    </header>
  );
}

/** 発報 → 検知 → アサイン → 暫定復旧 → 復旧, each with the time since the alert. */
function Milestones({ folded }: { folded: Folded }) {
  const { t } = useLocale();
  const steps: [Word, string | null][] = [
    ["m_alert", folded.alertAt],
    ["m_detect", folded.detectedAt],
    ["m_assign", folded.assignedAt],
    ["m_mitigate", folded.mitigatedAt],
    ["m_resolve", folded.resolvedAt],
  ];
  const from = folded.alertAt ? Date.parse(folded.alertAt) : null;
  return (
    <ol className="milestones" aria-label={t("milestones")}>
      {steps.map(([word, at]) => (
        <li key={word} data-done={at !== null}>
          <span className="step">{t(word)}</span>
          <span className="when" title={at ? clock(at) : undefined}>
            {at === null ? "–" : word === "m_alert" || from === null ? clock(at).slice(0, 5) : `+${duration((Date.parse(at) - from) / 1000)}`}
          </span>
        </li>
      ))}
    </ol>
  );
}
