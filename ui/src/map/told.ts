// A dependency's figures in words.

import type { Locale } from "../i18n";
import type { MapFlow } from "../types";
import { bytes, level, rate, share, short, span } from "./figures";

/** 45 req/s, 120 cmd/s, 3.4 kB/s; none where nothing is known. */
export function rateWords(flow: MapFlow, { t }: Locale): string | null {
  const now = rate(flow);
  if (!now) return null;
  if (now.unit === "bytes") return `${bytes(now.value)}${t("map_each_second")}`;
  return `${short(now.value)} ${t(now.unit === "requests" ? "map_requests" : "map_commands")}`;
}

/** Everything that is known: rate, errors, p99. */
export function figures(flow: MapFlow, locale: Locale): string[] {
  const { t } = locale;
  if (level(flow) === "quiet") return [t("map_quiet")];
  const { error_share: errors, p99_s: p99 } = flow;
  return [rateWords(flow, locale), errors !== null && `${t("map_errors")} ${share(errors)}`, p99 !== null && `p99 ${span(p99)}`].filter((one) => typeof one === "string");
}
