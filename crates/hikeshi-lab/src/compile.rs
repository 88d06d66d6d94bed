//! Manifests of a lab: the talk's two target groups behind one ingress, and the HTTPChaos objects of a level.
//!
//! The Deployment behind the ingress is made a second time. Requests on trial go to the second (*trial*) group, by the path, the
//! method and, where only one person is to feel it, that person's cookie; all others go where they always go.

mod faults;
mod groups;
mod talk;

use serde_json::{Value, json};

pub use faults::{Put, faults, normal};
pub use groups::{ingress, service, trial_group};
pub use talk::{Exported, talk};

use crate::journey::Entrance;

/// Where the lab's faults live: out of the seats' sight, and of the experiments' list.
pub const NAMESPACE: &str = "hikeshi-lab";
/// On everything that a lab makes.
pub const LABEL: &str = "hikeshi.dev/lab";
/// Marks the person in the lab.
pub const COOKIE: &str = "hikeshi_lab";
/// The ingress that leads to both groups.
pub const INGRESS: &str = "hikeshi-lab";
/// A target group's heaviest weight.
pub const WHOLE_WEIGHT: u32 = 1_000;

/// Name of the trial group's Deployment and Service.
pub fn trial_name(of: &str) -> String {
    format!("{of}-lab")
}

impl Entrance {
    /// What the ingress' edge to the trial group is called in the data plane's metrics.
    pub fn trial_workload(&self) -> String {
        trial_name(&self.deployment)
    }
}

/// The labels by which a Deployment finds its pods.
fn match_labels(deployment: &Value) -> serde_json::Map<String, Value> {
    deployment["spec"]["selector"]["matchLabels"]
        .as_object()
        .cloned()
        .unwrap_or_default()
}

/// The trial group's: others, or the first group's Service would find its pods, too.
fn trial_labels(deployment: &Value) -> serde_json::Map<String, Value> {
    let other = |(key, value): (String, Value)| {
        let value = value.as_str().map(|value| json!(trial_name(value)));
        (key, value.unwrap_or(Value::Null))
    };
    match_labels(deployment).into_iter().map(other).collect()
}

#[cfg(test)]
mod tests;
