import type { Text } from "../types";

/** The words of the service map. */
export const mapWords = {
  map: { ja: "サービスマップ", en: "Service map" },
  map_help: {
    ja: "矢印は「依存する側 → される側」、その数値はデータプレーンが直近 20 秒に観測した量、エラーの割合、p99 です。箱や矢印を押すと、何のための依存か、使えないと何が起きるかを表示します。",
    en: "An arrow goes from who leans to who is leaned on; on it is what the data plane saw in the last 20 seconds: rate, share of errors, p99. Press a box or an arrow to see what it is for and what breaks without it.",
  },
  map_none: { ja: "このシステムにはサービスマップがありません。", en: "This system has no service map." },
  map_unmeasured: { ja: "Prometheus がまだ応答していないため、数値はありません。", en: "Prometheus does not answer yet, so there are no figures." },
  map_quiet: { ja: "通信なし", en: "no traffic" },
  map_errors: { ja: "エラー", en: "errors" },
  map_requests: { ja: "件/秒", en: "req/s" },
  map_commands: { ja: "cmd/秒", en: "cmd/s" },
  map_each_second: { ja: "/秒", en: "/s" },
  map_why: { ja: "何のために", en: "What for" },
  map_without: { ja: "使えないときの影響", en: "What breaks without it" },
  map_leans: { ja: "依存先", en: "Leans on" },
  map_leaned: { ja: "依存元", en: "Leaned on by" },
  map_seldom: { ja: "ふだんはほとんど使われません", en: "seldom used by ordinary traffic" },
  map_table: { ja: "すべての数値", en: "All figures" },
  map_dependency: { ja: "依存", en: "Dependency" },
  map_rate: { ja: "量", en: "Rate" },
  map_legend_good: { ja: "エラー 1% 未満", en: "errors below 1%" },
  map_legend_warn: { ja: "1% 以上", en: "1% and more" },
  map_legend_bad: { ja: "5% 以上", en: "5% and more" },
} satisfies Record<string, Text>;
