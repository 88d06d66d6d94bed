//! Who is hit: Chaos Mesh's selectors and modes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::check::{Check, given};

type Labels = BTreeMap<String, String>;

/// `spec.selector`. What is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    pub namespaces: Option<Vec<String>>,
    pub field_selectors: Option<Labels>,
    pub label_selectors: Option<Labels>,
    pub expression_selectors: Option<Vec<Expression>>,
    pub annotation_selectors: Option<Labels>,
    pub nodes: Option<Vec<String>>,
    /// Namespace to names: overrides everything else.
    pub pods: Option<BTreeMap<String, Vec<String>>>,
    pub node_selectors: Option<Labels>,
    pub pod_phase_selectors: Option<Vec<String>>,
}

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Expression {
    pub key: String,
    pub operator: String,
    pub values: Option<Vec<String>>,
}

const FIELDS: [&str; 9] = [
    "namespaces",
    "fieldSelectors",
    "labelSelectors",
    "expressionSelectors",
    "annotationSelectors",
    "nodes",
    "pods",
    "nodeSelectors",
    "podPhaseSelectors",
];

/// The fields of a pod that a field selector may name.
pub const POD_FIELDS: [&str; 7] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
];

/// The fields that every experiment has.
pub(crate) const COMMON: [&str; 5] = ["selector", "mode", "value", "duration", "remoteCluster"];

/// Checks `at`.selector, `at`.mode and `at`.value.
pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    match &spec["selector"] {
        Value::Null => check.add(format!("{at}.selector"), "is missing"),
        selector => {
            let here = format!("{at}.selector");
            check.fields(&here, selector, &FIELDS);
            if let Some(selector) = check.read::<Selector>(&here, selector) {
                values(check, &here, &selector);
            }
        }
    }
    let mode = spec["mode"].as_str().unwrap_or_default();
    let value = &spec["value"];
    let number = value.as_str().and_then(|value| value.parse::<u32>().ok());
    let at_value = format!("{at}.value");
    match mode {
        "one" | "all" => {}
        "fixed" if number.is_some() => {}
        "fixed" => check.add(at_value, format!("{value} must be a number of pods, as a text")),
        "fixed-percent" | "random-max-percent" if number.is_some_and(|n| n <= 100) => {}
        "fixed-percent" | "random-max-percent" => {
            check.add(
                at_value,
                format!("{value} must be a percentage of the pods, \"0\" to \"100\""),
            );
        }
        _ => check.add(
            format!("{at}.mode"),
            format!("{mode:?} must be one, all, fixed, fixed-percent or random-max-percent"),
        ),
    }
}

/// What every experiment has: whom, and for how long.
pub(crate) fn check_common(check_: &mut Check, at: &str, spec: &Value) {
    check_.refuse(at, spec, "remoteCluster", "there is one cluster here");
    check(check_, at, spec);
    let duration = &spec["duration"];
    if given(duration) {
        match duration.as_str() {
            Some(text) => drop(check_.duration(format!("{at}.duration"), Some(text))),
            None => check_.add(
                format!("{at}.duration"),
                format!("{duration} is no text such as 40s"),
            ),
        }
    }
}

fn values(check: &mut Check, at: &str, selector: &Selector) {
    for name in selector.field_selectors.iter().flatten().map(|(name, _)| name) {
        if !POD_FIELDS.contains(&name.as_str()) {
            check.add(
                format!("{at}.fieldSelectors[{name}]"),
                format!("is not supported; a field can be {}", POD_FIELDS.join(", ")),
            );
        }
    }
    for expression in selector.expression_selectors.iter().flatten() {
        if !matches!(
            expression.operator.as_str(),
            "In" | "NotIn" | "Exists" | "DoesNotExist"
        ) {
            check.add(
                format!("{at}.expressionSelectors"),
                format!(
                    "operator {:?} must be In, NotIn, Exists or DoesNotExist",
                    expression.operator
                ),
            );
        }
    }
}
