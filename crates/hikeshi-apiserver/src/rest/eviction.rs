//! Eviction: a deletion that asks the disruption budgets first.
//!
//! The disruption controller keeps each budget's figures; here they are read, and an allowance is taken at once, so that
//! two evictions never share one. Which pods need no allowance is Kubernetes' rule.

use std::sync::Arc;

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::delete::{Options, delete_object};
use super::write::current;
use crate::app::App;
use crate::request::Call;
use crate::selector::object_selector_matches;
use crate::status::{ApiError, ApiResult, json_response};

const BUDGETS: &str = "poddisruptionbudgets.policy";

/// More evicted pods than this wait to be seen: the controller is not keeping up.
const MOST_DISRUPTED: usize = 2_000;

/// What a budget says to one eviction.
#[derive(Debug)]
enum Verdict {
    /// The pod may go and no allowance is taken.
    Free,
    /// The pod may go; this is the budget with the allowance taken.
    Takes(Value),
    Refused(ApiError),
}

fn too_many(cause: String) -> ApiError {
    let mut error = ApiError::new(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    error.details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
    error
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|list| list.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Whether the pod may go without asking any budget: it serves nobody, or goes already.
fn is_beyond_budgets(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
        || matches!(
            pod["status"]["phase"].as_str().unwrap_or("Pending"),
            "Pending" | "Succeeded" | "Failed"
        )
}

/// `now` as the API writes times.
fn judge(budget: &Value, pod: &Value, now: &str) -> Verdict {
    let (spec, status) = (&budget["spec"], &budget["status"]);
    let figure = |name: &str| status[name].as_i64().unwrap_or(0);
    let (healthy, desired) = (figure("currentHealthy"), figure("desiredHealthy"));
    if !is_ready(pod) {
        let always = spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || (healthy >= desired && desired > 0) {
            return Verdict::Free;
        }
    }
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    if figure("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Verdict::Refused(too_many(format!(
            "The disruption budget {name} is still being processed by the server."
        )));
    }
    let waiting = status["disruptedPods"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    if figure("disruptionsAllowed") <= 0 || waiting > MOST_DISRUPTED {
        return Verdict::Refused(too_many(format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        )));
    }
    let mut taken = budget.clone();
    taken["status"]["disruptionsAllowed"] = (figure("disruptionsAllowed") - 1).into();
    let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
    taken["status"]["disruptedPods"][pod] = now.into();
    Verdict::Takes(taken)
}

pub(super) fn evict(app: &App, call: &Call) -> ApiResult<Response> {
    if call.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let eviction = call.object()?;
    let options = Options::from_object(&eviction["deleteOptions"])?;
    let dry_run = call.dry_run()?
        || eviction["deleteOptions"]["dryRun"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "All"));
    let now = super::write::stamp(jiff::Timestamp::now());
    app.store.write(|view| {
        let pod = current(view, call)?;
        let mut budgets: Vec<Arc<Value>> = Vec::new();
        if !is_beyond_budgets(&pod) {
            budgets = view
                .list(BUDGETS, call.namespace.as_deref())
                .filter(|b| {
                    let selector = &b["spec"]["selector"];
                    selector.is_object() && object_selector_matches(selector, &pod["metadata"]["labels"])
                })
                .cloned()
                .collect();
        }
        if budgets.len() > 1 {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(500, "InternalError", message));
        }
        for budget in &budgets {
            match judge(budget, &pod, &now) {
                Verdict::Free => {}
                Verdict::Refused(error) => return Err(error),
                Verdict::Takes(_) if dry_run => {}
                Verdict::Takes(taken) => {
                    let name = taken["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    view.put(BUDGETS, call.ns(), &name, taken)?;
                }
            }
        }
        if dry_run {
            return Ok(());
        }
        delete_object(view, &call.resource, &pod, &options).map(drop)
    })?;
    Ok(json_response(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ready: &str) -> Value {
        json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn budget(allowed: i64, healthy: i64) -> Value {
        json!({"metadata": {"name": "web", "generation": 1}, "spec": {},
            "status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": 2}})
    }

    fn cause(verdict: Verdict) -> String {
        match verdict {
            Verdict::Refused(error) => {
                assert_eq!(error.code, 429);
                error.details["causes"][0]["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn an_allowance_is_taken_once() {
        let Verdict::Takes(taken) = judge(&budget(1, 3), &pod("True"), "2026-01-01T00:00:00Z") else {
            panic!("one is allowed");
        };
        assert_eq!(taken["status"]["disruptionsAllowed"], 0);
        assert_eq!(taken["status"]["disruptedPods"]["p"], "2026-01-01T00:00:00Z");
        assert_eq!(
            cause(judge(&taken, &pod("True"), "")),
            "The disruption budget web needs 2 healthy pods and has 3 currently"
        );
    }

    #[test]
    fn an_unhealthy_pod_needs_no_allowance_while_enough_are_healthy_or_always() {
        assert!(matches!(judge(&budget(0, 2), &pod("False"), ""), Verdict::Free));
        assert!(cause(judge(&budget(0, 1), &pod("False"), "")).contains("has 1 currently"));
        let mut always = budget(0, 1);
        always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(matches!(judge(&always, &pod("False"), ""), Verdict::Free));
        assert!(matches!(judge(&always, &pod("True"), ""), Verdict::Refused(_)));
    }

    #[test]
    fn figures_of_a_former_spec_do_not_count() {
        let mut changed = budget(5, 9);
        changed["metadata"]["generation"] = 2.into();
        assert!(cause(judge(&changed, &pod("True"), "")).contains("still being processed"));
    }

    #[test]
    fn pods_that_serve_nobody_ask_no_budget() {
        assert!(!is_beyond_budgets(&pod("True")));
        assert!(is_beyond_budgets(&json!({"status": {"phase": "Pending"}})));
        assert!(is_beyond_budgets(
            &json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}})
        ));
    }
}
