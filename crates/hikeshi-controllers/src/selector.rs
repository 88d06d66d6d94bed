//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

type Labels = BTreeMap<String, String>;

/// Whether an expression `key operator values` (of a label, node or field selector) holds for `value`.
///
/// Returns `None` for an operator that does not exist.
pub(crate) fn holds(value: Option<&str>, operator: &str, values: &[String]) -> Option<bool> {
    let among = |value: &str| values.iter().any(|v| v == value);
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
    let limit = || number(values.first().map(String::as_str));
    Some(match operator {
        "In" => value.is_some_and(among),
        "NotIn" => !value.is_some_and(among),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => matches!((number(value), limit()), (Some(v), Some(l)) if v > l),
        "Lt" => matches!((number(value), limit()), (Some(v), Some(l)) if v < l),
        _ => return None,
    })
}

/// Whether `labels` satisfy the selector. An empty selector matches everything, as in Kubernetes.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let get = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| get(key).is_some_and(|have| have == value));
    equal
        && selector.match_expressions.iter().flatten().all(|requirement| {
            holds(
                get(&requirement.key),
                &requirement.operator,
                requirement.values.as_deref().unwrap_or(&[]),
            )
            .unwrap_or(false)
        })
}

/// Whether the selector selects by nothing at all.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether every pair of `wanted` is among `labels`.
pub(crate) fn contains(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| {
        labels
            .and_then(|labels| labels.get(key))
            .is_some_and(|have| have == value)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: serde_json::Value, labels: serde_json::Value) -> bool {
        let labels: Labels = serde_json::from_value(labels).expect("labels");
        matches(
            &serde_json::from_value(selector).expect("a selector"),
            Some(&labels),
        )
    }

    #[test]
    fn every_operator_means_what_kubernetes_means() {
        let labels = json!({"app": "web", "tier": "2"});
        let expression = |operator, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
        assert!(selects(expression("In", &["db", "web"]), labels.clone()));
        assert!(!selects(expression("NotIn", &["web"]), labels.clone()));
        assert!(selects(expression("Exists", &[]), labels.clone()));
        assert!(!selects(expression("DoesNotExist", &[]), labels.clone()));
        assert!(
            selects(expression("NotIn", &["web"]), json!({})),
            "NotIn holds where the label is absent"
        );
        assert!(!selects(expression("Almost", &["web"]), labels.clone()));
        assert!(selects(json!({}), labels.clone()));
        assert!(!selects(json!({"matchLabels": {"app": "db"}}), labels));
        assert_eq!(holds(Some("5"), "Gt", &["4".to_owned()]), Some(true));
        assert_eq!(holds(Some("x"), "Lt", &["4".to_owned()]), Some(false));
    }
}
