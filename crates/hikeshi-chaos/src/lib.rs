//! Chaos Mesh's experiments as data: what a spec may say, what of it Hikeshi honours, and its numbers and durations. Kubernetes'
//! own quantities are here as well ([`resource`]), for the same three readers.
//!
//! Pure, and shared by whoever meets an experiment: the API server refuses with [`problems`] what nobody could carry
//! out, the controllers and the node read the same typed specs. Nothing that cannot be honoured is ever left out
//! silently: each [`Problem`] names its field.

pub mod annotations;
mod check;
pub mod cron;
pub mod http;
pub mod network;
pub mod pod;
pub mod quantity;
pub mod resource;
pub mod schedule;
pub mod selector;
pub mod status;
pub mod stress;
pub mod time;
pub mod workflow;

use std::fmt;

use serde_json::Value;

use check::Check;

/// The experiments that can be carried out, each with the field that embeds its spec in a Schedule or a Workflow.
pub const EXPERIMENTS: [(&str, &str); 5] = [
    ("HTTPChaos", "httpChaos"),
    ("NetworkChaos", "networkChaos"),
    ("PodChaos", "podChaos"),
    ("StressChaos", "stressChaos"),
    ("TimeChaos", "timeChaos"),
];

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

/// A field that cannot be honoured, and why. Shown as `spec.tls: cannot be honoured: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path from the object's root, e.g. `spec.delay.reorder`.
    pub field: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// What of an object of group `chaos-mesh.org` cannot be honoured; empty when it can be carried out. A kind that is not
/// one of them has no problems.
pub fn problems(kind: &str, object: &Value) -> Vec<Problem> {
    let mut check = Check::default();
    let spec = &object["spec"];
    match kind {
        "Schedule" => schedule::check(&mut check, "spec", spec),
        "Workflow" => workflow::check(&mut check, "spec", spec),
        "StatusCheck" | "WorkflowNode" => {}
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
        _ if FOREIGN.contains(&kind) => check.add(
            at,
            format!("{kind} cannot be carried out here; {}", known_experiments()),
        ),
        _ => {}
    }
}

fn known_experiments() -> String {
    format!("experiments are {}", EXPERIMENTS.map(|(kind, _)| kind).join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_experiment_is_refused_by_name() {
        let found = problems("IOChaos", &json!({"spec": {"action": "latency"}}));
        assert!(
            found[0].message.contains("IOChaos cannot be carried out"),
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
