//! What containers and claims ask for: quantities, none below zero, no request above its limit.

use serde_json::Value;

use super::Causes;
use crate::admission::quantity::thousandths;

/// Checks a container's `resources`; `at` says where they are.
pub(super) fn container(at: &str, resources: &Value, causes: &mut Causes) {
    for kind in ["limits", "requests"] {
        for (name, amount) in resources[kind].as_object().into_iter().flatten() {
            let bad = bad(amount, 0, "must be greater than or equal to 0");
            causes.extend(bad.map(|problem| (format!("{at}.{kind}[{name}]"), problem)));
        }
    }
    for (name, asked) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if thousandths(limit).is_some_and(|limit| thousandths(asked) > Some(limit)) {
            let limit = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
            let problem =
                format!("Invalid value: {asked}: must be less than or equal to {name} limit of {limit}");
            causes.push((format!("{at}.requests"), problem));
        }
    }
}

/// Checks a claim's `spec`; `at` says where it is.
pub(super) fn claim(at: &str, spec: &Value, causes: &mut Causes) {
    for (name, amount) in spec["resources"]["requests"].as_object().into_iter().flatten() {
        let bad = bad(amount, 1, "must be greater than zero");
        causes.extend(bad.map(|problem| (format!("{at}.resources[{name}]"), problem)));
    }
}

/// What is wrong with an amount of which there must be at least so many thousandths.
fn bad(amount: &Value, least: i128, otherwise: &str) -> Option<String> {
    match thousandths(amount) {
        None => Some(format!(
            "Invalid value: {amount}: quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )),
        Some(given) if given < least => Some(format!("Invalid value: {amount}: {otherwise}")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_quantities_not_below_zero_and_requests_within_limits() {
        let of = |resources: Value| {
            let mut causes = Vec::new();
            container("c.resources", &resources, &mut causes);
            causes
        };
        let good =
            json!({"requests": {"cpu": "0", "memory": "64Mi"}, "limits": {"cpu": 1, "memory": "64Mi"}});
        assert_eq!(of(good), []);
        for (resources, field, problem) in [
            (
                json!({"requests": {"cpu": "-1000"}}),
                "c.resources.requests[cpu]",
                "Invalid value: \"-1000\": must be greater than or equal to 0",
            ),
            (
                json!({"limits": {"memory": "-1m"}}),
                "c.resources.limits[memory]",
                "must be greater than or equal to 0",
            ),
            (
                json!({"limits": {"memory": "much"}}),
                "c.resources.limits[memory]",
                "quantities must match",
            ),
            (
                json!({"requests": {"cpu": "1e99"}}),
                "c.resources.requests[cpu]",
                "quantities must match",
            ),
            (
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}),
                "c.resources.requests",
                "Invalid value: \"2\": must be less than or equal to cpu limit of 1500m",
            ),
        ] {
            let causes = of(resources);
            assert!(
                causes.len() == 1 && causes[0].0 == field && causes[0].1.contains(problem),
                "{causes:?}"
            );
        }
    }

    #[test]
    fn claims_ask_for_something() {
        let of = |storage: &str| {
            let mut causes = Vec::new();
            claim(
                "spec",
                &json!({"resources": {"requests": {"storage": storage}}}),
                &mut causes,
            );
            causes
        };
        assert_eq!(of("1Gi"), []);
        for bad in ["0", "-1Gi"] {
            let wanted = format!("Invalid value: \"{bad}\": must be greater than zero");
            assert_eq!(of(bad), [("spec.resources[storage]".to_owned(), wanted)]);
        }
    }
}
