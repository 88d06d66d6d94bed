import type { Text } from "../types";

export type Kind = "latency" | "availability";
export type Who = "person" | "everybody";
export type Mode = "blind" | "feel";
export type Slot = "a" | "b" | "x";
export const SLOTS: Slot[] = ["a", "b", "x"];

export interface Preset {
  name: string;
  words: Text;
}

export interface Offered {
  journey: string;
  title: Text;
  owner: string;
  task: Text;
  /** Where in the app it begins. */
  page: string;
  promised: Text[];
  presets: Preset[];
}

export interface Delivered {
  requests: number;
  errors: number;
}

export interface Judged {
  asked: { level: string };
  delivered: Delivered;
  ok: boolean;
  words: Text;
}

export interface Felt {
  journey: string;
  said: Text;
  judged: Judged;
}

/** A lab that is on: nothing in it tells A from B. */
export interface View {
  id: string;
  kind: Kind;
  who: Who;
  mode: Mode;
  journeys: string[];
  person: string | null;
  people_before: number;
  trial: { journey: string; on: Slot | null; used: [number, number, number]; wanted: number } | null;
  done: number;
  of: number;
  felt: Felt | null;
}

export interface Past {
  id: string;
  at: string;
  kind: Kind;
  journeys: string[];
  people: string[];
  valid: number;
}

export interface LabState {
  journeys: Offered[];
  on: View | null;
  /** Who asks sits in it. */
  mine: boolean;
  past: Past[];
}

export interface Threshold {
  /** Seconds, or a share. */
  at: number;
  low: number;
  high: number;
  found: "within" | "below" | "above";
  words: Text;
}

export interface Told {
  person: string;
  said: Text;
  level_was: "a" | "b";
  x_was: "a" | "b";
  answer: { x_is: Slot; bearable: boolean; words: string } | null;
  right: boolean | null;
  judged: Judged[];
  void: Text | null;
}

export interface OfJourney {
  journey: string;
  title: Text;
  trials: Told[];
  valid: number;
  void: number;
  right: number;
  right_interval: [number, number];
  by_guessing: number;
  noticeable: Threshold | null;
  tolerable: Threshold | null;
  each: { person: string; noticeable: Threshold; tolerable: Threshold }[];
  recommendation: { words: Text; reasons: Text[]; change: { change: string } | null };
}

export interface Outcome {
  id: string;
  kind: Kind;
  at: string;
  ended: Text | null;
  by: string;
  normal: Text;
  people: string[];
  journeys: OfJourney[];
  felt: Felt[];
}

export type Act =
  | { do: "start"; journeys: string[]; kind: Kind; who: Who; mode: Mode; levels: string[]; trials: number; normal: string }
  | { do: "sit" }
  | { do: "rise" }
  | { do: "next" }
  | { do: "show"; slot: Slot }
  | { do: "answer"; x_is: Slot; bearable: boolean; words: string }
  | { do: "feel"; journey: string; level: string }
  | { do: "stop" }
  | { do: "export"; id: string; journey: string; why: string };
