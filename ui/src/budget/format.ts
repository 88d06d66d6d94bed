import type { Lang, Text } from "../types";
import type { Slo } from "./types";

/** 0.8231 -> 82.3 %, negative when overspent; never 100 % of what was touched, never 0 % of what is left. */
export function share(ratio: number): string {
  const percent = ratio * 100;
  if (ratio < 1 && ratio > 0) return `${Math.min(99.9, Math.max(0.1, percent)).toFixed(1)} %`;
  return `${percent.toFixed(Number.isInteger(percent) ? 0 : 1)} %`;
}

/** How many times faster than allowed: ×0.4, ×14.4, ×120. */
export function burn(rate: number | null): string {
  if (rate === null) return "–";
  return `×${rate >= 100 ? rate.toFixed(0) : rate >= 10 ? rate.toFixed(1) : rate.toFixed(2)}`;
}

export function count(number: number, lang: Lang): string {
  return new Intl.NumberFormat(lang).format(Math.round(number));
}

/** Two digits that matter: 45 s, 12 min, 3.5 h, 2.1 days. */
export function lasting(seconds: number, lang: Lang): string {
  const one = (value: number) => (value < 10 ? String(Number(value.toFixed(1))) : value.toFixed(0));
  const [value, ja, en] =
    seconds < 60 ? [seconds, "秒", "s"] : seconds < 6_000 ? [seconds / 60, "分", "min"] : seconds < 172_800 ? [seconds / 3_600, "時間", "h"] : [seconds / 86_400, "日", "days"];
  return `${one(Number(value))} ${lang === "ja" ? ja : en}`;
}

const UNITS: Record<string, Text> = {
  s: { ja: "秒", en: "s" },
  m: { ja: "分", en: "min" },
  h: { ja: "時間", en: "h" },
  d: { ja: "日", en: "days" },
  w: { ja: "週", en: "weeks" },
};

/** A window as a file writes it (`30d`, `calendar quarter (UTC+09:00)`) -> 30 日 / the calendar's quarter. */
export function windowWords(window: string, lang: Lang): string {
  const calendar = /^calendar (month|quarter) \(UTC(.+)\)$/.exec(window);
  if (calendar) {
    const unit = calendar[1] === "month" ? { ja: "月", en: "month" } : { ja: "四半期", en: "quarter" };
    return lang === "ja" ? `暦の${unit.ja}（UTC${calendar[2]}）` : `the calendar's ${unit.en} (UTC${calendar[2]})`;
  }
  const rolling = /^(\d+)([smhdw])$/.exec(window);
  const unit = rolling?.[2] ? UNITS[rolling[2]] : undefined;
  if (!rolling || !unit) return window;
  return rolling[1] === "1" && rolling[2] === "d" ? (lang === "ja" ? "1 日" : "1 day") : `${rolling[1]} ${unit[lang]}`;
}

/** What is promised, as a sentence's worth of words. */
export function promise(slo: Pick<Slo, "sli" | "objective" | "within">, lang: Lang): string {
  const { objective } = slo;
  const ja = {
    availability: `エラーでない応答が ${objective} % 以上`,
    latency: `${slo.within ?? ""} 以内の応答が ${objective} % 以上`,
    freshness: `新しい内容の読み取りが ${objective} % 以上`,
    quality: `何も省かれていない応答が ${objective} % 以上`,
    custom: `良い件数が ${objective} % 以上`,
  };
  const en = {
    availability: `${objective} % answered without an error`,
    latency: `${objective} % answered within ${slo.within ?? ""}`,
    freshness: `${objective} % of reads up to date`,
    quality: `${objective} % answered in full`,
    custom: `${objective} % good`,
  };
  return (lang === "ja" ? ja : en)[slo.sli];
}

/** A line of the history (`99 % within 500ms over 30d`) in the reader's language. */
export function promised(text: string, lang: Lang): string {
  const read = /^([\d.]+) %(?: within (\S+))? over (.+)$/.exec(text);
  if (!read || lang === "en") return text;
  const [, percent, within, window] = read;
  return `${windowWords(window ?? "", "ja")}で ${percent} %${within ? `（${within} 以内）` : ""}`;
}

const dates = (lang: Lang, year: boolean) =>
  new Intl.DateTimeFormat(lang === "ja" ? "ja-JP" : "en-GB", {
    year: year ? "numeric" : undefined,
    month: lang === "ja" ? "numeric" : "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
  });

const another = (at: Date) => at.getFullYear() !== new Date().getFullYear();

/** A day and a time, the year where it is another. */
export function moment(seconds: number, lang: Lang): string {
  const at = new Date(seconds * 1000);
  return dates(lang, another(at)).format(at);
}

/** From one moment to another, without saying the same day twice. */
export function stretch(from: number, to: number, lang: Lang): string {
  const begins = new Date(from * 1000);
  return dates(lang, another(begins)).formatRange(begins, new Date(to * 1000));
}
