//! Who is hit: Chaos Mesh's selectors and modes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::check::{Check, given};
use crate::shape::{DURATION, Field, Shape, may, must};
use crate::words::Words;

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

const SELECTOR: &[Field] = &[
    may("namespaces", Shape::Texts),
    may("fieldSelectors", Shape::TextMap),
    may("labelSelectors", Shape::TextMap),
    may("expressionSelectors", Shape::Objects(EXPRESSION)),
    may("annotationSelectors", Shape::TextMap),
    may("nodes", Shape::Texts),
    may("pods", Shape::TextsMap),
    may("nodeSelectors", Shape::TextMap),
    may("podPhaseSelectors", Shape::Texts),
];

const EXPRESSION: &[Field] = &[
    must("key", Shape::Text),
    must(
        "operator",
        Shape::Choice(&["In", "NotIn", "Exists", "DoesNotExist"]),
    ),
    may("values", Shape::Texts),
];

/// Whom a NetworkChaos' traffic must lead to or come from.
pub(crate) const TARGET: &[Field] = &[WHOM[0], WHOM[1], WHOM[2]];

const WHOM: [Field; 3] = [
    must("selector", Shape::Object(SELECTOR)),
    must(
        "mode",
        Shape::Choice(&["one", "all", "fixed", "fixed-percent", "random-max-percent"]),
    ),
    may("value", Shape::Text),
];

/// The fields that every experiment has: whom, and for how long.
pub(crate) const COMMON: &[Field] = &[
    WHOM[0],
    WHOM[1],
    WHOM[2],
    may("duration", DURATION),
    may(
        "remoteCluster",
        Shape::Refused(("クラスターは一つだけです", "there is one cluster here")),
    ),
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

/// Checks what `at`.selector, `at`.mode and `at`.value mean together; what each may hold is [`COMMON`]'s.
pub(crate) fn check(check: &mut Check, at: &str, spec: &Value) {
    let fields = spec["selector"]["fieldSelectors"].as_object();
    for (name, _) in fields.into_iter().flatten() {
        if !POD_FIELDS.contains(&name.as_str()) {
            let words = Words::new(
                format!("は使えません。使えるフィールドは {} です", POD_FIELDS.join("、")),
                format!("is not supported; a field can be {}", POD_FIELDS.join(", ")),
            );
            check.add(format!("{at}.selector.fieldSelectors[{name}]"), words);
        }
    }
    let value = &spec["value"];
    let Some(mode) = spec["mode"]
        .as_str()
        .filter(|_| value.is_null() || value.is_string())
    else {
        return;
    };
    let number = value.as_str().and_then(|value| value.parse::<u32>().ok());
    let words = match mode {
        "fixed" if number.is_none() => Words::new(
            "mode fixed には Pod の数を引用符付きで書いてください (例: \"2\")",
            "mode fixed needs a number of pods, as a text: \"2\"",
        ),
        "fixed-percent" | "random-max-percent" if number.is_none_or(|n| n > 100) => Words::new(
            format!("mode {mode} には Pod の割合を引用符付きで書いてください (\"0\"〜\"100\")"),
            format!("mode {mode} needs a percentage of the pods, \"0\" to \"100\""),
        ),
        "one" | "all" if given(value) => Words::new(
            format!("mode {mode} に value はありません。消すか、fixed か fixed-percent を使ってください"),
            format!("mode {mode} takes no value: leave it out, or use fixed or fixed-percent"),
        ),
        _ => return,
    };
    check.add(format!("{at}.value"), words);
}
