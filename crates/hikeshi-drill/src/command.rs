//! What can be asked of a drill, and how it says no.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::JourneySample;

/// A wish of someone in a seat (`by` is their handle), or a fact from outside. `text_ja` is given by scripts, which speak both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    Start {
        drill: String,
        scenario: String,
        system: String,
        slo_clock: f64,
        rehearsal: bool,
        seed: u64,
    },
    /// `npc`: the seat is played by the rehearsal.
    TakeSeat {
        name: String,
        seat: String,
        #[serde(default)]
        npc: bool,
    },
    LeaveSeat {
        name: String,
    },
    Say {
        by: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
    },
    Acknowledge {
        by: String,
        #[serde(default)]
        fingerprint: Option<String>,
    },
    AssignCommander {
        by: String,
        name: String,
    },
    StateImpact {
        by: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
    },
    AssignTask {
        by: String,
        name: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
    },
    PostStatus {
        by: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
        #[serde(default)]
        eta_minutes: Option<u32>,
    },
    ProposeHypothesis {
        by: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
    },
    DeclareMitigated {
        by: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
    },
    DeclareResolved {
        by: String,
        text: String,
        #[serde(default)]
        text_ja: Option<String>,
    },
    AskHint {
        by: String,
    },
    /// `by` absent: the program itself ends it.
    End {
        #[serde(default)]
        by: Option<String>,
        reason: String,
    },

    // ---- facts from outside
    SystemReady {
        pods: u32,
        seconds: f64,
    },
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
    },
    /// `by` is a handle, or the user name of the audit; see `EventKind::CommandRun` for the rest.
    CommandRun {
        by: String,
        command: String,
        mutating: bool,
        source: String,
        exit_code: Option<i32>,
        output: String,
        seconds: f64,
        #[serde(default)]
        step: Option<u32>,
    },
    MetricSeen {
        by: String,
        query: String,
        value: f64,
        baseline: Option<f64>,
        unit: String,
        #[serde(default)]
        step: Option<u32>,
    },
    Sample {
        journeys: BTreeMap<String, JourneySample>,
    },
    OracleChecked {
        green: bool,
        reasons: Vec<String>,
    },
    /// Time has passed: whoever is due speaks.
    Tick,
}

/// Why a command was not taken; nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message_en}")]
pub struct Refusal {
    /// Stable, `snake_case`: `not_seated`, `seat_may_not`, `bad_name`, `hint_too_early`, `drill_ended` ...
    pub code: String,
    pub message_en: String,
    pub message_ja: String,
}

impl Refusal {
    pub(crate) fn new(code: &str, message_en: impl Into<String>, message_ja: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message_en: message_en.into(),
            message_ja: message_ja.into(),
        }
    }
}
