// The server's JSON, as crates/hikeshi-server/src/api.rs and crates/hikeshi-drill/src/event.rs write it.

export type Lang = "ja" | "en";
export type Text = Record<Lang, string>;

export interface Actor {
  name: string;
  seat: string;
  npc?: boolean;
}

export interface JourneySample {
  availability: number | null;
  latency_good: number | null;
  /** Seconds. */
  p99: number | null;
  freshness: number | null;
  budget_left: number | null;
  requests_per_second: number | null;
}

export type DrillEvent = { v: number; seq: number; at: string } & (
  | { kind: "drill_started"; drill: string; scenario: string; system: string; rehearsal: boolean }
  | { kind: "system_ready"; pods: number; seconds: number }
  | { kind: "seat_taken" | "seat_left" | "hint_asked"; actor: Actor }
  | { kind: "fault_injected"; name: string; object: string }
  | { kind: "fault_ended"; name: string }
  | {
      kind: "alert_fired";
      fingerprint: string;
      name: string;
      severity: string;
      summary: string;
      labels: Record<string, string>;
    }
  | { kind: "alert_resolved"; fingerprint: string; name: string; summary: string }
  | {
      kind:
        | "message"
        | "impact_stated"
        | "hypothesis_proposed"
        | "mitigation_declared"
        | "resolved_declared";
      actor: Actor;
      text: string;
      text_ja?: string;
    }
  | { kind: "acknowledged"; actor: Actor; fingerprint: string | null }
  | { kind: "commander_assigned"; by: Actor; name: string }
  | { kind: "task_assigned"; by: Actor; name: string; text: string; text_ja?: string }
  | { kind: "status_posted"; actor: Actor; text: string; text_ja?: string; eta_minutes: number | null }
  | { kind: "hint_given"; number: number; text: string; text_ja: string }
  | {
      kind: "command_run";
      actor: Actor;
      command: string;
      mutating: boolean;
      source: string;
      exit_code: number | null;
      output: string;
      seconds: number;
    }
  | {
      kind: "metric_seen";
      actor: Actor;
      query: string;
      value: number;
      baseline: number | null;
      unit: string;
    }
  | { kind: "sample"; journeys: Record<string, JourneySample> }
  | { kind: "oracle_checked"; green: boolean; reasons: string[] }
  | { kind: "drill_ended"; reason: string }
);

export type DrillState = "preparing" | "briefing" | "running" | "ended";

export interface DrillView {
  id: string;
  scenario: string;
  system: string;
  title: Text;
  briefing: Text;
  goals: Text[];
  state: DrillState;
  progress: Text;
  started_at: string | null;
  ended_at: string | null;
  people: Actor[];
  seats: { seat: string; count: number }[];
  programs: string[];
  suggestions: string[];
  hints_from: string | null;
}

export interface Viewer {
  name: string;
  seat: string;
  host: boolean;
}

export interface Session {
  viewer: Viewer | null;
  lang_default: Lang;
  now: string;
}

export interface Invite {
  role: "participant" | "host";
  drill: DrillView | null;
  seats: string[];
}

export interface Objective {
  sli: string;
  objective: number;
  threshold_seconds: number | null;
  window: string;
}

export interface Journey {
  name: string;
  title: Text;
  team: string;
  objectives: Objective[];
}

export interface JourneyPoint {
  at: string;
  journeys: Record<string, JourneySample>;
}

export interface JourneySeries {
  journeys: Journey[];
  points: JourneyPoint[];
}

/** What a dependency carries now; null is not known. */
export interface MapFlow {
  requests_per_second: number | null;
  commands_per_second: number | null;
  bytes_per_second: number | null;
  /** 0..1 of the requests. */
  error_share: number | null;
  p99_s: number | null;
}

export interface MapEdge {
  from: string;
  to: string;
  why: Text;
  without: Text | null;
  seldom: boolean;
  flow: MapFlow;
}

export interface ServiceMap {
  roles: { name: string; does: Text }[];
  edges: MapEdge[];
  /** False while Prometheus does not answer. */
  measured: boolean;
}

export type UiCommand =
  | { command: "say" | "impact" | "hypothesis" | "mitigated" | "resolved"; text: string }
  | { command: "acknowledge"; fingerprint: string | null }
  | { command: "assign_commander"; name: string }
  | { command: "assign_task"; name: string; text: string }
  | { command: "status"; text: string; eta_minutes: number | null }
  | { command: "ask_hint" | "begin" | "end" };

export type ConsolePart =
  | { stream: "stdout" | "stderr"; text: string }
  | { exit: number }
  | { error: string; error_ja?: string }
  | { stopped: string; stopped_ja: string };
