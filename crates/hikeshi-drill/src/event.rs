//! The drill's event log: the only record. Everything shown to people is a fold over these events.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version written in every line; a reader refuses a newer one by name.
pub const LOG_VERSION: u32 = 1;

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Log version.
    pub v: u32,
    /// 1, 2, 3 ... without a gap.
    pub seq: u64,
    /// The drill's one clock: UTC, never going back within a log.
    pub at: Timestamp,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Who did something: a seat, a scripted person (`npc`), or the bot that relays alerts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Actor {
    /// Handle shown in chat, e.g. `pika7`.
    pub name: String,
    /// `commander`, `operator`, `communicator`, `scribe`, `observer`, `stakeholder`, `bot`, `facilitator`.
    pub seat: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub npc: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// First event of every log.
    DrillStarted {
        drill: String,
        scenario: String,
        system: String,
        slo_clock: f64,
        rehearsal: bool,
        seed: u64,
    },
    /// The system is up and people have seen its normal state: the story begins.
    SystemReady {
        pods: u32,
        seconds: f64,
    },
    SeatTaken {
        actor: Actor,
    },
    SeatLeft {
        actor: Actor,
    },
    /// Hidden from seats until the debrief, like `FaultEnded`.
    FaultInjected {
        name: String,
        object: String,
    },
    FaultEnded {
        name: String,
    },
    AlertFired {
        fingerprint: String,
        name: String,
        severity: String,
        summary: String,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    },
    AlertResolved {
        fingerprint: String,
        name: String,
        summary: String,
    },
    Message {
        actor: Actor,
        text: String,
        /// The same in Japanese, where the speaker is scripted and speaks both.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
        /// Which line of the scenario's `people` this is: `NAME/INDEX`; empty for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cue: Option<String>,
    },
    Acknowledged {
        actor: Actor,
        fingerprint: Option<String>,
    },
    CommanderAssigned {
        by: Actor,
        name: String,
    },
    ImpactStated {
        actor: Actor,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
    },
    TaskAssigned {
        by: Actor,
        name: String,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
    },
    StatusPosted {
        actor: Actor,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
        eta_minutes: Option<u32>,
    },
    HypothesisProposed {
        actor: Actor,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
    },
    MitigationDeclared {
        actor: Actor,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
    },
    ResolvedDeclared {
        actor: Actor,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text_ja: Option<String>,
    },
    HintAsked {
        actor: Actor,
    },
    HintGiven {
        number: u32,
        text: String,
        text_ja: String,
    },
    /// A command seen to be run: from the console or rehearsal (with its output), or rebuilt from the audit of a kubectl elsewhere.
    CommandRun {
        actor: Actor,
        command: String,
        mutating: bool,
        /// `console`, `rehearsal` or `audit`.
        source: String,
        exit_code: Option<i32>,
        /// Last lines of what it printed, at most 4 KiB; empty when unknown.
        #[serde(default)]
        output: String,
        seconds: f64,
        /// Which of the cast's steps this is, from 0; none for people, even where the script has the same line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
    },
    /// A query answered by Prometheus during the drill, with the value that was seen.
    MetricSeen {
        actor: Actor,
        query: String,
        value: f64,
        baseline: Option<f64>,
        unit: String,
        /// As in `CommandRun`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
    },
    /// Once a second or slower: what users get, by journey.
    Sample {
        journeys: BTreeMap<String, JourneySample>,
    },
    OracleChecked {
        green: bool,
        reasons: Vec<String>,
    },
    DrillEnded {
        reason: String,
    },
}

impl EventKind {
    /// The step of the cast that did this, where the script did.
    pub fn step(&self) -> Option<u32> {
        match self {
            Self::CommandRun { step, .. } | Self::MetricSeen { step, .. } => *step,
            _ => None,
        }
    }
}

/// One journey at one moment. Ratios are 0..=1 over the last short window; NaN is never written.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JourneySample {
    pub availability: Option<f64>,
    /// Share of requests within the objective's threshold.
    pub latency_good: Option<f64>,
    /// Seconds.
    pub p99: Option<f64>,
    pub freshness: Option<f64>,
    /// Share of the error budget left, the worst of the journey's SLOs; may be negative.
    pub budget_left: Option<f64>,
    pub requests_per_second: Option<f64>,
}
