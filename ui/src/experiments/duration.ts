const UNITS: Record<string, number> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };

/** A Go duration such as `1h15m` or `1.5s`, in seconds; none where it is no duration. */
export function seconds(text: string): number | null {
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return null;
  let sum = 0;
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) sum += Number(count) * (UNITS[unit ?? ""] ?? 0);
  return sum;
}

/** How long a manifest's fault lasts, in seconds; none when it is without an end, or written in a way of its own. */
export function lasts(manifest: string): number | null {
  // What these embed ends each time, they themselves do not.
  if (/^kind:\s*["']?(Schedule|Workflow)\b/m.test(manifest)) return null;
  const found = /^\s+duration:\s*["']?([^"'\s#]+)/m.exec(manifest);
  return found?.[1] ? seconds(found[1]) : null;
}

/** 130 -> "2 分 10 秒", "2 min 10 s". */
export function span(total: number, lang: "ja" | "en"): string {
  const units = lang === "ja" ? ["時間", "分", "秒"] : ["h", "min", "s"];
  if (total > 0 && total < 1) return `${Number(total.toPrecision(2))} ${units[2]}`;
  const whole = Math.round(total);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const said = parts.flatMap((n, i) => (n > 0 ? [`${n} ${units[i]}`] : []));
  return said.join(" ") || `0 ${units[2]}`;
}
