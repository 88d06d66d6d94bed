//! PodChaos: pods or their containers end.

use serde::Deserialize;
use serde_json::Value;

use crate::check::Check;
use crate::selector::{self, COMMON};
use crate::shape::{Field, Shape, may, must};

/// The part of a PodChaos' spec that says what happens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub action: Action,
    /// Seconds a killed pod has to end by itself.
    pub grace_period: Option<u32>,
    pub container_names: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The pod is deleted.
    PodKill,
    /// The pod's containers do not run for the duration.
    PodFailure,
    /// Containers are killed once; the kubelet starts them again.
    ContainerKill,
}

const FIELDS: &[Field] = &[
    must(
        "action",
        Shape::Choice(&["pod-kill", "pod-failure", "container-kill"]),
    ),
    may("gracePeriod", Shape::Whole(u32::MAX as u64)),
    may("containerNames", Shape::Texts),
];

pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    selector::check(check, at, spec);
    let Some(spec) = check.read::<Spec>(at, spec, &[FIELDS, COMMON]) else {
        return;
    };
    let named = spec
        .container_names
        .as_ref()
        .is_some_and(|names| !names.is_empty());
    match (spec.action, named) {
        (Action::ContainerKill, false) => check.add(
            format!("{at}.containerNames"),
            (
                "必要ですが、ありません。action container-kill にはコンテナ名が要ります",
                "is missing; action container-kill needs the containers' names",
            ),
        ),
        (Action::PodKill | Action::PodFailure, true) => check.add(
            format!("{at}.containerNames"),
            (
                "コンテナを選べるのは action container-kill だけです",
                "only action container-kill acts on single containers",
            ),
        ),
        _ => {}
    }
    if spec.action != Action::PodKill && spec.grace_period.is_some_and(|seconds| seconds > 0) {
        let words = (
            "使えるのは action pod-kill だけです",
            "only action pod-kill has one",
        );
        check.add(format!("{at}.gracePeriod"), words);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::problems;

    #[test]
    fn actions_have_what_they_need_and_no_more() {
        for (spec, words) in [
            (json!({"action": "pod-kill", "gracePeriod": 5}), ""),
            (json!({"action": "pod-failure"}), ""),
            (json!({"action": "container-kill", "containerNames": ["a"]}), ""),
            (
                json!({"action": "container-kill"}),
                "spec.containerNames: is missing",
            ),
            (
                json!({"action": "pod-kill", "containerNames": ["a"]}),
                "spec.containerNames: only",
            ),
            (
                json!({"action": "pod-failure", "gracePeriod": 5}),
                "spec.gracePeriod: only",
            ),
            (
                json!({"action": "pod-kill", "gracePeriod": -5}),
                "spec.gracePeriod: ",
            ),
            (json!({"action": "pod-melt"}), "spec.action: "),
            (
                json!({"action": "pod-kill", "containerName": "a"}),
                "did you mean containerNames?",
            ),
        ] {
            let mut spec = spec;
            spec["selector"] = json!({});
            spec["mode"] = json!("one");
            let found = problems("PodChaos", &json!({"spec": spec}));
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.is_empty(), words.is_empty(), "{spec}: {found:?}");
            assert!(
                found.join("; ").contains(words),
                "{spec}: {found:?} does not say {words}"
            );
        }
    }
}
