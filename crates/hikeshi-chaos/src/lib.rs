//! Chaos Mesh's experiments as data: what a spec may say, what of it Hikeshi honours, and its numbers and durations. Kubernetes'
//! own quantities are here as well ([`resource`]), for the same three readers.
//!
//! Pure, and shared by whoever meets an experiment: the API server refuses with [`problems`] what nobody could carry
//! out, the controllers and the node read the same typed specs. Nothing that cannot be honoured is ever left out
//! silently: each [`Problem`] names its field.

pub mod annotations;
mod check;
pub mod cron;
pub mod external;
pub mod http;
pub mod network;
pub mod pod;
pub mod quantity;
pub mod resource;
pub mod schedule;
pub mod selector;
mod shape;
pub mod status;
pub mod stress;
pub mod time;
mod words;
pub mod workflow;

use std::fmt;

use serde_json::Value;

use check::{Check, nearest};
use shape::MISSING;
pub use words::Words;

/// The experiments that can be carried out, each with the field that embeds its spec in a Schedule or a Workflow.
pub const EXPERIMENTS: [(&str, &str); 5] = [
    ("HTTPChaos", "httpChaos"),
    ("NetworkChaos", "networkChaos"),
    ("PodChaos", "podChaos"),
    ("StressChaos", "stressChaos"),
    ("TimeChaos", "timeChaos"),
];

/// What an object has beside its spec.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Chaos Mesh's other experiments, refused by name.
const FOREIGN: [&str; 9] = [
    "AWSChaos",
    "AzureChaos",
    "BlockChaos",
    "DNSChaos",
    "GCPChaos",
    "IOChaos",
    "JVMChaos",
    "KernelChaos",
    "PhysicalMachineChaos",
];

/// A field that cannot be honoured, and why. Shown as `spec.delay: "soon" is no duration ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path from the object's root, e.g. `spec.templates[0].children`; a key that is a person's own stands in brackets:
    /// `metadata.annotations[hikeshi.dev/seed]`.
    pub field: String,
    pub part: Part,
    pub said: Words,
    /// The name or word that was probably meant.
    pub meant: Option<String>,
}

/// What of a field is wrong: an editor points at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// That it is there.
    Key,
    /// What it says, or that it is missing.
    Value,
}

impl Problem {
    /// What is wrong, in English, without the field.
    pub fn message(&self) -> String {
        match &self.meant {
            Some(meant) => format!("{} (did you mean {meant}?)", self.said.en),
            None => self.said.en.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}

/// What of an object of group `chaos-mesh.org` cannot be honoured; empty when it can be carried out. A kind that is not
/// one of them has no problems.
pub fn problems(kind: &str, object: &Value) -> Vec<Problem> {
    let mut check = Check::default();
    if matches!(kind, "StatusCheck" | "WorkflowNode") {
        return Vec::new();
    }
    let spec = &object["spec"];
    let top = object.as_object().into_iter().flatten();
    for (name, _) in top.filter(|(name, _)| is_ours(kind) && !TOP.contains(&name.as_str())) {
        let words = ("このフィールドはありません", "is not supported");
        check.suggest(name, Part::Key, words, nearest(name, &TOP[..4]));
    }
    match kind {
        _ if spec.is_null() && is_ours(kind) => check.add("spec", MISSING),
        "Schedule" => schedule::check(&mut check, "spec", spec),
        "Workflow" => workflow::check(&mut check, "spec", spec),
        _ => experiment(&mut check, kind, "spec", spec),
    }
    // A schedule hands its extensions on to what it makes.
    let extended = match (kind, spec["type"].as_str()) {
        ("Schedule", Some(scheduled)) => scheduled,
        _ => kind,
    };
    annotations::check(&mut check, extended, &object["metadata"]["annotations"]);
    check.problems
}

/// The kinds that a person writes: experiments, and what repeats or orders them.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    EXPERIMENTS
        .iter()
        .map(|(kind, _)| *kind)
        .chain(["Schedule", "Workflow"])
}

fn is_ours(kind: &str) -> bool {
    kinds().any(|known| known == kind)
}

/// The plural under which the Kubernetes API serves a kind: Chaos Mesh's are its kinds in small letters (`networkchaos`),
/// but for what is no chaos (`schedules`).
pub fn plural(kind: &str) -> String {
    let small = kind.to_lowercase();
    if kind.ends_with("Chaos") {
        small
    } else {
        format!("{small}s")
    }
}

/// The field that embeds an experiment of this kind, or the kind that such a field embeds.
pub fn embedded_field(kind: &str) -> Option<&'static str> {
    let found = EXPERIMENTS.iter().find(|(known, _)| *known == kind);
    found.map(|(_, field)| *field)
}

/// Checks the spec of an experiment of `kind` that stands at `at`.
fn experiment(check: &mut Check, kind: &str, at: &str, spec: &Value) {
    match kind {
        "HTTPChaos" => http::check(check, at, spec),
        "NetworkChaos" => network::check(check, at, spec),
        "PodChaos" => pod::check(check, at, spec),
        "StressChaos" => stress::check(check, at, spec),
        "TimeChaos" => time::check(check, at, spec),
        _ if FOREIGN.contains(&kind) => {
            let known = EXPERIMENTS.map(|(kind, _)| kind);
            let words = Words::new(
                format!(
                    "{kind} はここでは実行できません。実行できるのは {} です",
                    known.join("、")
                ),
                format!(
                    "{kind} cannot be carried out here; experiments are {}",
                    known.join(", ")
                ),
            );
            check.add(at, words);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_experiment_is_refused_by_name() {
        let found = problems("IOChaos", &json!({"spec": {"action": "latency"}}));
        assert!(
            found[0].message().contains("IOChaos cannot be carried out"),
            "{found:?}"
        );
        assert!(problems("Pod", &json!({"spec": {}})).is_empty());
    }

    #[test]
    fn the_manifest_of_the_talk_has_no_problems() {
        let object = json!({"kind": "HTTPChaos", "metadata": {"name": "http-delay"}, "spec": {
            "selector": {"namespaces": ["default"], "labelSelectors": {"app": "nginx-app"}}, "mode": "all",
            "target": "Response", "port": 80, "path": "/test*", "delay": "1s",
            "replace": {"code": 500, "headers": {"server": "nginx-test"}}}});
        assert_eq!(problems("HTTPChaos", &object), []);
    }
}
