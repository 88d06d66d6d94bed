import { type Locale, useLocale } from "../i18n";
import { wordsOf } from "../parts";
import type { Previewed } from "./data";
import { span } from "./duration";
import type { Preview } from "./types";

interface Props {
  previewed: Previewed;
  problems: number;
  starting: boolean;
  /** A kill happens once; its duration is how long what follows is measured. */
  once: boolean;
  /** Why it was not started when that was last tried. */
  failure: unknown;
  onStart: () => void;
}

/** The one button that begins it; it says what it will do, or why it will not. */
export function StartBar({ previewed, problems, starting, once, failure, onStart }: Props) {
  const locale = useLocale();
  const { t } = locale;
  const { preview, fresh, error, again } = previewed;
  const nobody = preview !== null && preview.blast_radius.selected === 0;
  const why =
    error !== null
      ? t("x_preview_lost")
      : problems > 0
        ? `${t("x_blocked_problems")} (${problems})`
        : !preview || !fresh
          ? t("x_preview_wait")
          : nobody
            ? t("x_blocked_nobody")
            : null;
  return (
    <div className="panel x-start">
      <p className="help" role="status">
        {why ?? t("x_ready")}
      </p>
      {failure !== null && problems === 0 && (
        <p className="failure" role="alert">
          {t("x_not_started")} {wordsOf(failure, locale)}
        </p>
      )}
      {error !== null && (
        <button type="button" className="small" onClick={again}>
          ↻
        </button>
      )}
      <button type="button" className="primary" disabled={why !== null || starting} onClick={onStart}>
        <span>{starting ? t("x_starting") : t("x_start")}</span>
        <small>{preview && problems === 0 ? promise(preview, once, locale) : "\u00a0"}</small>
      </button>
    </div>
  );
}

/** "2 of 3 pods of post-service for 2 min". */
function promise(preview: Preview, once: boolean, locale: Locale): string {
  const { selected, of, pods } = preview.blast_radius;
  const [first = "", ...others] = new Set(pods.map((pod) => pod.workload.slice(pod.workload.lastIndexOf("/") + 1)));
  const time = howLong(preview, once, locale);
  if (locale.lang === "ja") {
    const which = of === 1 ? "Pod 1 個に" : selected === of ? `Pod ${of} 個すべてに` : `Pod ${of} 個のうち ${selected} 個に`;
    return `${first}${others.length > 0 ? " ほか" : ""} の ${which}、${time}`;
  }
  const which = of === 1 ? "the one pod" : selected === of ? `all ${of} pods` : `${selected} of ${of} pods`;
  return `${which} of ${first}${others.length > 0 ? " and others" : ""} ${time}`;
}

function howLong({ kind, duration_s: time }: Preview, once: boolean, { t, lang }: Locale): string {
  if (kind === "Schedule") return t("x_repeatedly");
  if (once && time === null) return t("x_once");
  if (time === null) return t("x_until_stopped");
  const said = span(time, lang);
  if (lang === "ja") return once ? `${t("x_once")}（${said}間計測）` : `${said}間`;
  return once ? `${t("x_once")}, measured for ${said}` : `for ${said}`;
}
