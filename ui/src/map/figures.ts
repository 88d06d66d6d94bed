// What an arrow's figures say, in short words.

import type { MapFlow } from "../types";

/** From these shares of errors on, an arrow is amber, and red. */
const WARN = 0.01;
const BAD = 0.05;

export type Level = "quiet" | "good" | "warn" | "bad";

/** What moves: requests where it is HTTP, commands where it is a database, else bytes. */
export function rate(flow: MapFlow): { value: number; unit: "requests" | "commands" | "bytes" } | null {
  const of = (value: number | null, unit: "requests" | "commands" | "bytes") => (value === null ? null : { value, unit });
  return of(flow.requests_per_second, "requests") ?? of(flow.commands_per_second, "commands") ?? of(flow.bytes_per_second, "bytes");
}

/** Less than this a second is what is left of a rate when nothing comes any more. */
const NOTHING = 0.02;

export function level(flow: MapFlow): Level {
  const now = rate(flow);
  if (!now || now.value < NOTHING) return "quiet";
  const share = flow.error_share ?? 0;
  if (share >= BAD) return "bad";
  return share >= WARN ? "warn" : "good";
}

/** 0.034 -> 3.4%. A share that is not nothing is never 0%, one that is not all never 100%. */
export function share(value: number): string {
  if (value <= 0) return "0%";
  if (value < 0.001) return "<0.1%";
  if (value >= 1) return "100%";
  return value < 0.0995 ? `${(value * 100).toFixed(1)}%` : `${Math.min(99, Math.round(value * 100))}%`;
}

/** 0.4, 7.3, 45, 1,200: as many digits as matter. */
export function short(value: number): string {
  if (value < 9.95) return value.toFixed(1);
  return Math.round(value).toLocaleString("en");
}

/** 812 B, 3.4 kB, 1.2 MB. */
export function bytes(value: number): string {
  if (value < 1000) return `${Math.round(value)} B`;
  return value < 1e6 ? `${short(value / 1e3)} kB` : `${short(value / 1e6)} MB`;
}

/** 0.0004 -> 0.4 ms, 0.31 -> 310 ms, 1.5 -> 1.5 s. */
export function span(seconds: number): string {
  if (seconds >= 1) return `${short(seconds)} s`;
  return `${seconds < 0.00995 ? (seconds * 1000).toFixed(1) : Math.round(seconds * 1000)} ms`;
}
