import { useLocale } from "../i18n";
import type { Previewed } from "./data";
import { span } from "./duration";
import type { Preview } from "./types";

interface Props {
  previewed: Previewed;
  problems: number;
  starting: boolean;
  onStart: () => void;
}

/** The one button that begins it; it says what it will do, or why it will not. */
export function StartBar({ previewed, problems, starting, onStart }: Props) {
  const { t, lang } = useLocale();
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
      {error !== null && (
        <button type="button" className="small" onClick={again}>
          ↻
        </button>
      )}
      <button type="button" className="primary" disabled={why !== null || starting} onClick={onStart}>
        <span>{starting ? t("x_starting") : t("x_start")}</span>
        <small>{preview && problems === 0 ? promise(preview, lang, t("x_until_stopped")) : "\u00a0"}</small>
      </button>
    </div>
  );
}

/** "2 of 3 pods of post-service for 2 min". */
export function promise(preview: Preview, lang: "ja" | "en", forever: string): string {
  const { selected, of, pods } = preview.blast_radius;
  const workloads = [...new Set(pods.map((pod) => pod.workload.slice(pod.workload.lastIndexOf("/") + 1)))];
  const [first = ""] = workloads;
  const time = preview.duration_s;
  if (lang === "ja") {
    const whose = workloads.length > 1 ? `${first} ほか` : first;
    const which = of === 1 ? "Pod 1 個に" : selected === of ? `Pod ${of} 個すべてに` : `Pod ${of} 個のうち ${selected} 個に`;
    return `${whose ? `${whose} の ` : ""}${which}、${time === null ? `${forever}ずっと` : `${span(time, lang)}間`}`;
  }
  const whose = workloads.length > 1 ? `${first} and others` : first;
  const which = of === 1 ? "the one pod" : selected === of ? `all ${of} pods` : `${selected} of ${of} pods`;
  return `${which}${whose ? ` of ${whose}` : ""} ${time === null ? forever : `for ${span(time, lang)}`}`;
}
