import type { Text } from "../types";

export interface Budgets {
  system: string;
  at: string;
  /** How many times faster than written the windows run. */
  slo_clock: number;
  journeys: Journey[];
  /** The titles of marked drills, by their ids. */
  drills: Record<string, Text>;
  marks_problem: string | null;
}

export interface Journey {
  name: string;
  title: Text;
  owner: string;
  route: string;
  steps: Text[];
  slos: Slo[];
}

export type Sli = "availability" | "latency" | "freshness" | "quality" | "custom";

export interface Slo {
  slo: string;
  name: string;
  sli: Sli;
  /** Percent. */
  objective: number;
  within: string | null;
  window: string;
  status: Status | null;
  problem: string | null;
  alerts: Alert[];
  changes: Change[];
  pending: string | null;
}

/** Times are seconds since 1970; shares are of the whole period's budget, 0 to 1. */
export interface Status {
  from: number;
  now: number;
  renews: number | null;
  /** Seconds of the period. */
  length: number;
  total: number;
  bad: number;
  attained: number | null;
  spent: number | null;
  left: number | null;
  events_left: number | null;
  minutes_left: number | null;
  burn_now: number | null;
  burn: number | null;
  exhausted_in: number | null;
  spenders: Spender[];
  unmarked: number;
  actions: Action[];
  next: Action | null;
  words: Text;
  known: number;
  points: [number, number][];
}

export interface Spender {
  name: string;
  kind: "incident" | "drill";
  from: number;
  to: number;
  bad: number;
  spent: number;
}

export interface Action {
  spent: number;
  action: Text;
  approver: string | null;
}

/** One alert's burn rates: time, over the long window, over the short one. */
export interface Alert {
  severity: "page" | "ticket";
  long: string;
  short: string;
  long_seconds: number;
  short_seconds: number;
  factor: number;
  points: [number, number | null, number | null][];
  firings: { from: number; to: number | null }[];
  fires: boolean;
}

export interface Change {
  at: string;
  who: string;
  from: string | null;
  to: string | null;
  why: string;
}
