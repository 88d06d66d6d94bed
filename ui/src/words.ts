import { isWord, type Locale } from "./i18n";
import type { Actor, DrillEvent } from "./types";

/** An event in words: who, what, and how it is to look. */
export interface Told {
  actor: Actor | null;
  /** What kind of thing it is, as a small label; none for plain talk. */
  label: string | null;
  text: string;
  tone: "talk" | "declare" | "good" | "alert" | "hint" | "command" | "change" | "quiet" | "hidden";
  detail?: string;
}

function own(locale: Locale, event: { text: string; text_ja?: string }): string {
  return locale.lang === "ja" ? (event.text_ja ?? event.text) : event.text;
}

/** Tells an event; none for those that are only measured. */
export function tell(event: DrillEvent, locale: Locale): Told | null {
  const { t } = locale;
  const said = (word: string, actor: Actor, text: string, tone: Told["tone"] = "declare"): Told => ({
    actor,
    label: isWord(word) ? t(word) : word,
    text,
    tone,
  });
  const plain = (text: string, tone: Told["tone"] = "quiet", detail?: string): Told => ({
    actor: null,
    label: null,
    text,
    tone,
    ...(detail ? { detail } : {}),
  });
  switch (event.kind) {
    case "message":
      return { actor: event.actor, label: null, text: own(locale, event), tone: "talk" };
    case "impact_stated":
      return said("a_impact", event.actor, own(locale, event));
    case "hypothesis_proposed":
      return said("a_hypothesis", event.actor, own(locale, event));
    case "mitigation_declared":
      return said("a_mitigated", event.actor, own(locale, event), "good");
    case "resolved_declared":
      return said("a_resolved", event.actor, own(locale, event), "good");
    case "acknowledged":
      return said("m_detect", event.actor, t("e_acknowledged"));
    case "commander_assigned":
      return said("e_commander", event.by, `→ ${event.name}`);
    case "task_assigned":
      return said("e_task", event.by, `→ ${event.name}: ${own(locale, event)}`);
    case "status_posted": {
      const eta = event.eta_minutes === null ? "" : ` (${event.eta_minutes} ${t("next_update_in")})`;
      return said("a_status", event.actor, own(locale, event) + eta);
    }
    case "hint_asked":
      return { actor: event.actor, label: null, text: t("e_hint_asked"), tone: "quiet" };
    case "hint_given":
      return { actor: null, label: `${t("e_hint")} ${event.number}`, text: locale.lang === "ja" ? event.text_ja : event.text, tone: "hint" };
    case "alert_fired":
      return { actor: null, label: t("e_alert_fired"), text: `${event.name}: ${event.summary}`, tone: "alert" };
    case "alert_resolved":
      return { actor: null, label: t("e_alert_resolved"), text: `${event.name}: ${event.summary}`, tone: "good" };
    case "command_run":
      return {
        actor: event.actor,
        label: null,
        text: event.command,
        tone: event.mutating ? "change" : "command",
        ...(event.output ? { detail: event.output } : {}),
      };
    case "metric_seen": {
      const usual = event.baseline === null ? "" : ` (${t("baseline")} ${event.baseline}${event.unit})`;
      return said("e_metric", event.actor, `${event.query} = ${event.value}${event.unit}${usual}`, "command");
    }
    case "seat_taken":
      return { actor: event.actor, label: null, text: t("e_seat_taken"), tone: "quiet" };
    case "seat_left":
      return { actor: event.actor, label: null, text: t("e_seat_left"), tone: "quiet" };
    case "drill_started":
      return plain(t("e_drill_started"));
    case "system_ready":
      return plain(t("e_system_ready"));
    case "fault_injected":
      return { actor: null, label: t("e_fault_injected"), text: event.name, tone: "hidden", detail: event.object };
    case "fault_ended":
      return { actor: null, label: t("e_fault_ended"), text: event.name, tone: "hidden" };
    case "oracle_checked":
      return plain(t(event.green ? "e_oracle_green" : "e_oracle_red"), "hidden", event.reasons.join("\n"));
    case "drill_ended":
      return plain(t("e_drill_ended"));
    case "sample":
      return null;
  }
}

export interface Line {
  event: DrillEvent;
  words: Told;
}

/** Alerts of one kind that came within this time are told in one breath. */
const BREATH_MS = 30_000;

/** Runs of alerts (one objective rings at several speeds, and objectives fall together) become one line, a name each. */
export function condense(lines: Line[]): Line[] {
  const out: { line: Line; summaries: Map<string, { summary: string; count: number }> | null }[] = [];
  for (const line of lines) {
    const { event } = line;
    if (event.kind !== "alert_fired" && event.kind !== "alert_resolved") {
      out.push({ line, summaries: null });
      continue;
    }
    const before = out.at(-1);
    const same =
      before?.summaries && before.line.event.kind === event.kind && Date.parse(event.at) - Date.parse(before.line.event.at) < BREATH_MS;
    const summaries = same ? before.summaries : new Map<string, { summary: string; count: number }>();
    const seen = summaries?.get(event.name);
    summaries?.set(event.name, { summary: seen?.summary ?? event.summary, count: (seen?.count ?? 0) + 1 });
    if (!same) out.push({ line, summaries });
  }
  return out.map(({ line, summaries }) => {
    if (!summaries) return line;
    const texts = [...summaries].map(([name, { summary, count }]) => {
      const times = count > 1 ? ` (×${count})` : "";
      return summaries.size > 1 ? `· ${summary}${times}` : `${name}: ${summary}${times}`;
    });
    return { event: line.event, words: { ...line.words, text: (texts.length > 1 ? "\n" : "") + texts.join("\n") } };
  });
}
