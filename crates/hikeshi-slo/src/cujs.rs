//! `cujs.yaml`: what users do, who owns it, and how good it must be.

use std::collections::BTreeMap;

use hikeshi_scenario::{Dur, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::period::Period;
use crate::policy::AlertPolicy;

/// Upper bounds of the load generator's duration histogram, in seconds.
pub const BUCKETS: [f64; 8] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0];

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cujs {
    pub api_version: String,
    pub kind: String,
    pub system: String,
    /// Fewer events than this in an alert's long window and it stays quiet: one failure of three is no incident.
    #[serde(default = "default_min_events")]
    pub min_events: u32,
    /// Fewer failures than this in an alert's long window and it stays quiet; what helps where traffic is always low.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_failures: u32,
    /// Period of every objective that names none of its own; 30 days where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
    /// Alert policy of every objective that names none of its own; the published one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<AlertPolicy>>,
    /// What is done when a budget runs out, for every objective that names nothing of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy: Vec<Action>,
    /// Where events are counted; Hikeshi's load generator where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Ordered by what their failure costs the business: the first matters most.
    pub cujs: Vec<Cuj>,
}

fn default_min_events() -> u32 {
    20
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A critical user journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cuj {
    /// The `journey` label, e.g. `read-timeline`.
    pub name: String,
    #[schemars(with = "TextSchema")]
    pub title: Text,
    /// Team.
    pub owner: String,
    /// Method and path at the ingress.
    pub route: String,
    /// What the user does, one after another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<TextSchema>")]
    pub steps: Vec<Text>,
    pub slos: Vec<Slo>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slo {
    /// Tells it from another of the same journey and kind; the kind's name where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub sli: Sli,
    /// Percent, between 0 and 100 exclusive.
    pub objective: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_events: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_failures: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Vec<AlertPolicy>>,
    /// PromQL of its own, where neither the load generator nor `metrics` counts these events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<Queries>,
    /// Labels of all its series and alerts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerting: Option<Alerting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Vec<Action>>,
}

/// What share of events is good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sli {
    /// Answered without an error.
    #[default]
    Availability,
    /// Answered in time.
    Latency(Within),
    /// What was read held what had been written.
    Freshness,
    /// Answered in full, not with less because something was missing.
    Quality,
    /// Whatever its queries count.
    Custom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// One of the histogram's buckets.
    #[schemars(with = "String")]
    pub within: Dur,
}

/// PromQL with `{{.window}}` where the range goes: good or bad events with their total, or a ready ratio of errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queries {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// 0..1. It has no counts: neither can few events be told from many, nor the period be weighted by traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ratio: Option<String>,
}

/// Selectors of counters; `$journey`, `$method` and `$path` stand for a journey's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// All requests, e.g. `http_requests_total{path="$path"}`.
    pub requests: String,
    /// Those answered with an error, e.g. `http_requests_total{path="$path",code=~"5.."}`.
    pub errors: String,
    /// A histogram by its plain name, e.g. `http_request_duration_seconds{path="$path"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<String>,
    /// Upper bounds of its buckets in seconds; unchecked where nothing is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<f64>,
    /// Requests answered with less than all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// All reads whose freshness was looked at, and those that were stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
}

/// What an objective's alerts are called and carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alerting {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Channel>,
}

/// Pages or tickets of an objective.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a team has agreed to do when so much of a budget is spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Percent of the budget that is spent when this begins to apply.
    #[serde(default = "wholly")]
    pub spent: f64,
    #[schemars(with = "TextSchema")]
    pub action: Text,
    /// Whose approval a change needs while this applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
}

fn wholly() -> f64 {
    100.0
}

/// [`Text`] as a schema.
#[derive(JsonSchema)]
#[schemars(rename = "Text")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct TextSchema {
    ja: String,
    en: String,
}

impl Default for Within {
    fn default() -> Self {
        Self { within: Dur::secs(1) }
    }
}

impl Sli {
    /// `availability`, `latency`, `freshness`, `quality` or `custom`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency(_) => "latency",
            Self::Freshness => "freshness",
            Self::Quality => "quality",
            Self::Custom => "custom",
        }
    }
}

impl Slo {
    /// Its own name, else its kind's.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.sli.name())
    }

    /// Share of events that may be bad, 0..1, without the noise of binary fractions.
    pub fn budget(&self) -> f64 {
        ((100.0 - self.objective) * 1e10).round() / 1e12
    }
}

/// The schema of `cujs.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Cujs).to_value()
}
