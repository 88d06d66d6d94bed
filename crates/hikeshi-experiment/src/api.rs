//! What the war room's page and the command line are told of experiments, as JSON.

use hikeshi_scenario::Text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::annotations::Role;

/// Where an experiment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The steady state is being checked; nothing is injected.
    Pending,
    /// The object is there; no pod is hit yet.
    Injecting,
    Running,
    /// The fault is lifted; traffic and steady state are being verified.
    Recovering,
    Ended,
}

/// What an experiment has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The steady state held before, during and after.
    Held,
    /// It did not hold during the fault, or did not come back.
    Refuted,
    /// A guard tripped and ended it.
    Stopped,
    /// Nothing was shown: no steady state to begin with, nothing hit, or nothing measured.
    Void,
}

impl Verdict {
    /// The word in people's language.
    pub fn word(self) -> Text {
        let (ja, en) = match self {
            Self::Held => ("仮説は成り立った", "held"),
            Self::Refuted => ("仮説は崩れた", "refuted"),
            Self::Stopped => ("ガードが止めた", "stopped by guard"),
            Self::Void => ("無効", "void"),
        };
        Text {
            ja: ja.to_owned(),
            en: en.to_owned(),
        }
    }
}

/// `GET /api/experiments`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Experiments {
    /// Newest first.
    pub running: Vec<Summary>,
    /// Newest first.
    pub history: Vec<Summary>,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub id: String,
    pub name: String,
    pub namespace: String,
    pub kind: String,
    pub phase: Phase,
    /// When the first pod was hit; until then, when the object was created.
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Who asked for it: the API server's user, or the person of the war room or command line.
    pub by: String,
    /// Pods that were really hit.
    pub hit: usize,
    /// None while it is on, and for one that states no hypothesis.
    pub verdict: Option<Verdict>,
    /// What is happening, or what came out.
    pub sentence: Text,
}

/// `POST /api/experiments/preview` and `POST /api/experiments`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// YAML or JSON text of one object.
    pub manifest: String,
}

/// The answer to `POST /api/experiments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub id: String,
}

/// What is wrong with a manifest, and where. The answer with status 400 is `{"error": ..., "problems": [...]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// From 1; 0 when the place is unknown.
    pub line: u64,
    /// From 1; 0 when the place is unknown.
    pub column: u64,
    /// The field, e.g. `spec.selector.labelSelectors`; empty for the text as a whole.
    pub path: String,
    pub message: Text,
    /// The key or value that was probably meant.
    pub suggestion: Option<String>,
}

/// What a manifest would do, without doing it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    pub problems: Vec<Problem>,
    /// Empty when it cannot be read, like `name` and `namespace`.
    pub kind: String,
    pub name: String,
    pub namespace: String,
    /// None: until it is deleted.
    pub duration_s: Option<f64>,
    pub blast_radius: BlastRadius,
    pub hypothesis: Vec<CheckNow>,
    pub guards: Vec<CheckNow>,
    /// One sentence in plain words.
    pub effect: Text,
    /// The manifest as it would be created, as YAML; empty when there are problems.
    pub normalized: String,
}

/// Who would be hit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// Every pod that the selector matches.
    pub pods: Vec<TargetPod>,
    /// Services that lead to one of those pods.
    pub services: Vec<TargetService>,
    pub traffic: Traffic,
    /// How many of `pods` the mode chooses, at most.
    pub selected: usize,
    /// How many pods the selector matches.
    pub of: usize,
}

/// What of the traffic would be touched, by what was measured in the last seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests per second over the edges of the workloads behind `pods`; none: not known, and `notes` say why.
    pub requests_per_second: Option<f64>,
    /// Of those, the ones that the experiment is about.
    pub hit_per_second: Option<Range>,
    /// The same as a share of `requests_per_second`, 0 to 1.
    pub share: Option<Range>,
    /// Of all requests in the cluster, 0 to 1.
    pub share_of_all: Option<Range>,
    /// Journeys that enter the system where it is hit.
    pub journeys: Vec<JourneyShare>,
    /// What is not known or only within limits, and why.
    pub notes: Vec<Text>,
}

/// A figure within its limits: the same twice when it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Range {
    pub least: f64,
    pub most: f64,
}

impl Range {
    pub(crate) fn exactly(value: f64) -> Self {
        Self {
            least: value,
            most: value,
        }
    }

    /// As a share of a whole.
    pub(crate) fn of(self, whole: f64) -> Self {
        Self {
            least: (self.least / whole).clamp(0.0, 1.0),
            most: (self.most / whole).clamp(0.0, 1.0),
        }
    }
}

/// What share of a journey's requests would be hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JourneyShare {
    /// As `cujs.yaml` names it.
    pub journey: String,
    pub title: Text,
    pub per_second: f64,
    /// 0 to 1.
    pub share: Range,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetPod {
    pub namespace: String,
    pub name: String,
    pub node: String,
    /// `Deployment/nginx`; the pod's own name when nothing owns it.
    pub workload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetService {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

/// A check as it stands now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckNow {
    pub name: String,
    /// As it is written in the annotation.
    pub query: String,
    /// Whether the comparison is true now; none without data.
    pub now: Option<bool>,
    /// The figure compared, in the query's own unit.
    pub value: Option<f64>,
}

/// `GET /api/experiments/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    #[serde(flatten)]
    pub summary: Summary,
    /// YAML.
    pub manifest: String,
    pub records: Vec<TargetRecord>,
    pub figures: Vec<Figure>,
    pub checks: Vec<CheckResult>,
    /// Busiest first.
    pub edges: Vec<EdgeFigures>,
    pub recovery: Recovery,
    pub events: Vec<Note>,
}

/// One pod (or container) and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRecord {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    /// Empty: the pod as a whole.
    pub container: String,
    /// `Injected` or `Not Injected`.
    pub phase: String,
    pub injected_at: Option<Timestamp>,
    pub recovered_at: Option<Timestamp>,
    /// Why it was not hit; empty when all is well.
    pub message: String,
}

/// A check's figure over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    /// PromQL of the figure, without the comparison.
    pub query: String,
    /// `seconds`, `ratio`, `burn rate`, or empty when the query does not tell.
    pub unit: String,
    /// The number it is compared with.
    pub objective: Option<f64>,
    /// Unix seconds and value; a moment without data has no point.
    pub points: Vec<(f64, f64)>,
}

/// A check's figures: the value before, the worst during the fault, the value after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    pub name: String,
    pub role: Role,
    /// As it is written in the annotation.
    pub query: String,
    pub before: Option<f64>,
    pub during: Option<f64>,
    pub after: Option<f64>,
    /// A hypothesis: it was true throughout. A guard: it never tripped. None: not known (yet).
    pub holds: Option<bool>,
}

/// Requests from one workload to another, over the minute before the start, while the fault was on, and after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeFigures {
    pub source: String,
    pub destination: String,
    pub before: Option<Flow>,
    pub during: Option<Flow>,
    pub after: Option<Flow>,
}

/// What an edge's requests were like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub requests_per_second: f64,
    /// Answered with 5xx or not at all; 0 to 1. None without requests.
    pub error_share: Option<f64>,
    /// Seconds to the last byte of the answer; none without requests.
    pub p50_s: Option<f64>,
    pub p99_s: Option<f64>,
}

/// `GET /api/experiments/targets`: what there is to aim at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Targets {
    /// Where an object goes that names no namespace.
    pub default_namespace: String,
    pub namespaces: Vec<String>,
    pub workloads: Vec<TargetWorkload>,
    pub services: Vec<TargetService>,
    /// What has been asked of workloads from outside lately.
    pub routes: Vec<TargetRoute>,
    /// `SYSTEM/JOURNEY/SLI`, for `slo:`.
    pub slos: Vec<String>,
}

/// A workload's pods, and the labels that they all have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetWorkload {
    pub namespace: String,
    /// `Deployment/nginx`; the pod's own name when nothing owns it.
    pub workload: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub pods: Vec<String>,
    /// TCP ports that its containers name.
    pub ports: Vec<u16>,
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetRoute {
    /// The workload's name.
    pub destination: String,
    pub method: String,
    /// Its first two parts, `:id` for what varies.
    pub path: String,
}

/// Whether all is as it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// None: not over yet.
    pub verified: Option<bool>,
    /// From the fault's end to all records recovered, pods ready and the steady state true again.
    pub seconds: Option<f64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub at: Timestamp,
    pub text: Text,
}

/// `{"error": ..., "problems": [...]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    pub error: String,
    pub problems: Vec<Problem>,
}
