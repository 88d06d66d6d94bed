// The experiments' JSON, as crates/hikeshi-experiment/src/api.rs writes it.

import type { Text } from "../types";

export type Phase = "pending" | "injecting" | "running" | "recovering" | "ended";
export type Verdict = "held" | "refuted" | "stopped" | "void";

export interface Summary {
  id: string;
  name: string;
  namespace: string;
  kind: string;
  phase: Phase;
  started_at: string;
  ended_at: string | null;
  by: string;
  /** Pods that were really hit. */
  hit: number;
  /** None while it is on, and for one that states no hypothesis. */
  verdict: Verdict | null;
  sentence: Text;
}

export interface Experiments {
  running: Summary[];
  history: Summary[];
}

/** What is wrong with a manifest, and where: lines and columns count from 1; 0 when the place is unknown. */
export interface Problem {
  line: number;
  column: number;
  path: string;
  message: Text;
  suggestion: string | null;
}

export interface TargetPod {
  namespace: string;
  name: string;
  node: string;
  /** `Deployment/nginx`; the pod's own name when nothing owns it. */
  workload: string;
}

export interface BlastRadius {
  /** Every pod that the selector matches. */
  pods: TargetPod[];
  services: { namespace: string; name: string; port: number }[];
  traffic: Traffic;
  /** How many of the pods the mode chooses, at most. */
  selected: number;
  of: number;
}

/** A figure within its limits: the same twice when it is known. */
export interface Range {
  least: number;
  most: number;
}

/** What of the last seconds' traffic would be touched; what is null is not known, and the notes say why. */
export interface Traffic {
  requests_per_second: number | null;
  hit_per_second: Range | null;
  /** 0 to 1, of `requests_per_second`. */
  share: Range | null;
  /** 0 to 1, of all requests in the cluster. */
  share_of_all: Range | null;
  journeys: { journey: string; title: Text; per_second: number; share: Range }[];
  notes: Text[];
}

/** What there is to aim at. */
export interface Targets {
  default_namespace: string;
  namespaces: string[];
  workloads: TargetWorkload[];
  services: { namespace: string; name: string; port: number }[];
  /** What has been asked of workloads from outside lately. */
  routes: { destination: string; method: string; path: string }[];
  slos: string[];
}

export interface TargetWorkload {
  namespace: string;
  /** `Deployment/nginx`; the pod's own name when nothing owns it. */
  workload: string;
  labels: Record<string, string>;
  pods: string[];
  ports: number[];
}

/** A hypothesis' or guard's question, and its answer at this moment. */
export interface CheckNow {
  name: string;
  query: string;
  now: boolean | null;
  value: number | null;
}

export interface Preview {
  problems: Problem[];
  /** Empty when it cannot be read, like the name and the namespace. */
  kind: string;
  name: string;
  namespace: string;
  /** None: until it is deleted. */
  duration_s: number | null;
  blast_radius: BlastRadius;
  hypothesis: CheckNow[];
  guards: CheckNow[];
  effect: Text;
  normalized: string;
}

export interface PodRecord {
  pod: string;
  /** Empty: the pod as a whole. */
  container: string;
  phase: string;
  injected_at: string | null;
  recovered_at: string | null;
  /** Why it was not hit; empty when all is well. */
  message: string;
}

export interface Figure {
  name: string;
  query: string;
  /** `seconds`, `ratio`, `burn rate`, or empty when the query does not tell. */
  unit: string;
  objective: number | null;
  /** [seconds since 1970, value]. */
  points: [number, number][];
}

/** The value before, the worst during the fault, the value after. */
export interface Check {
  name: string;
  role: "hypothesis" | "guard";
  query: string;
  before: number | null;
  during: number | null;
  after: number | null;
  holds: boolean | null;
}

/** What an edge's requests were like. */
export interface Flow {
  requests_per_second: number;
  error_share: number | null;
  p50_s: number | null;
  p99_s: number | null;
}

/** Requests from one workload to another: in the minute before the start, while the fault was on, and after it. */
export interface Edge {
  source: string;
  destination: string;
  before: Flow | null;
  during: Flow | null;
  after: Flow | null;
}

export interface Experiment extends Summary {
  manifest: string;
  records: PodRecord[];
  figures: Figure[];
  checks: Check[];
  edges: Edge[];
  recovery: { verified: boolean | null; seconds: number | null };
  events: { at: string; text: Text }[];
}
