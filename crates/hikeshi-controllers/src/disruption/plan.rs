//! How many of a budget's pods may be disrupted now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::deployment::resolve;
use crate::object::{count, name_of, time};
use crate::pods::{is_finished, is_ready, is_terminating};

/// An evicted pod counts as gone for so long even if its deletion is not seen.
const DISRUPTED: SignedDuration = SignedDuration::from_mins(2);

/// The controller that a pod counts for, and how many pods it is to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub uid: String,
    pub replicas: i32,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub status: PodDisruptionBudgetStatus,
    /// Why the expected number of pods is not known.
    pub failure: Option<String>,
    pub recheck: Option<Duration>,
}

/// Expected and desired number of pods.
fn wanted(
    budget: &PodDisruptionBudget,
    pods: &[(Arc<Pod>, Result<Owner, String>)],
) -> Result<(i32, i32), String> {
    let spec = budget.spec.clone().unwrap_or_default();
    let expected = || {
        let mut owners = BTreeMap::new();
        for (_, owner) in pods {
            let owner = owner.clone()?;
            owners.insert(owner.uid, owner.replicas);
        }
        Ok::<i32, String>(owners.values().sum())
    };
    if let Some(most) = &spec.max_unavailable {
        let expected = expected()?;
        let least = expected.saturating_sub(resolve(Some(most), expected, true));
        return Ok((expected, least.max(0)));
    }
    match &spec.min_available {
        Some(percent @ IntOrString::String(_)) => {
            let expected = expected()?;
            Ok((expected, resolve(Some(percent), expected, true)))
        }
        Some(IntOrString::Int(least)) => Ok((count(pods.len()), *least)),
        // Neither is given: a budget asks for one pod, as the field's default says.
        None => Ok((count(pods.len()), 1)),
    }
}

/// `pods` are those the budget selects, each with the controller it counts for or why there is none.
pub(super) fn plan(
    budget: &PodDisruptionBudget,
    pods: &[(Arc<Pod>, Result<Owner, String>)],
    now: Timestamp,
) -> Plan {
    let before = budget.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.observed_generation = budget.metadata.generation;
    // Evicted pods count as gone until they are seen to go, so that two evictions never share one allowance.
    let mut soonest: Option<Timestamp> = None;
    let disrupted: BTreeMap<String, Time> = before
        .disrupted_pods
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, since)| {
            let until = since.0.saturating_add(DISRUPTED).unwrap_or(now);
            let there = pods
                .iter()
                .any(|(pod, _)| name_of(pod.as_ref()) == name && !is_terminating(pod));
            let counts = there && until > now;
            if counts {
                soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
            }
            counts
        })
        .collect();
    let healthy = pods
        .iter()
        .map(|(pod, _)| pod)
        .filter(|pod| !is_terminating(pod) && !is_finished(pod) && is_ready(pod))
        .filter(|pod| !disrupted.contains_key(name_of(pod.as_ref())))
        .count();
    status.disrupted_pods = Some(disrupted).filter(|disrupted| !disrupted.is_empty());
    let recheck = soonest.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
    let (condition, failure) = match wanted(budget, pods) {
        Ok((expected, desired)) => {
            status.current_healthy = count(healthy);
            status.desired_healthy = desired;
            status.expected_pods = expected;
            let allowed = if expected <= 0 {
                0
            } else {
                count(healthy) - desired
            };
            status.disruptions_allowed = allowed.max(0);
            let verdict = if allowed > 0 {
                ("True", "SufficientPods", String::new())
            } else {
                ("False", "InsufficientPods", String::new())
            };
            (verdict, None)
        }
        Err(error) => {
            // Nothing is evicted while it is not known what must stay.
            status.disruptions_allowed = 0;
            (("False", "SyncFailed", error.clone()), Some(error))
        }
    };
    set(&mut status, condition, budget.metadata.generation, now);
    Plan {
        status,
        failure,
        recheck,
    }
}

fn set(
    status: &mut PodDisruptionBudgetStatus,
    (value, reason, message): (&str, &str, String),
    generation: Option<i64>,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let former = conditions
        .iter()
        .find(|condition| condition.type_ == "DisruptionAllowed" && condition.status == value);
    let since = former.map_or_else(|| time(now), |condition| condition.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != "DisruptionAllowed");
    conditions.push(Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: generation,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::testing::{pod, ready};

    fn budget(spec: &Value, disrupted: &Value) -> PodDisruptionBudget {
        let base = json!({"metadata": {"namespace": "ns", "name": "web", "generation": 2}, "spec": spec,
            "status": {"disruptedPods": disrupted, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
                "disruptionsAllowed": 0}});
        serde_json::from_value(base).expect("a budget")
    }

    fn at(seconds: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
    }

    /// `healthy` of a controller's `replicas` pods are ready.
    fn pods(replicas: i32, healthy: i32) -> Vec<(Arc<Pod>, Result<Owner, String>)> {
        let of = |n: i32| {
            let extra = if n < healthy {
                ready("2026-01-01T00:00:00Z")
            } else {
                json!({"status": {"phase": "Running"}})
            };
            let owner = Owner {
                uid: "rs".to_owned(),
                replicas,
            };
            (Arc::new(pod(&format!("p{n}"), "rs", &extra)), Ok(owner))
        };
        (0..replicas).map(of).collect()
    }

    fn figures(spec: &Value, pods: &[(Arc<Pod>, Result<Owner, String>)]) -> (i32, i32, i32, i32) {
        let status = plan(&budget(spec, &json!(null)), pods, at(0)).status;
        (
            status.expected_pods,
            status.current_healthy,
            status.desired_healthy,
            status.disruptions_allowed,
        )
    }

    #[test]
    fn numbers_and_percent() {
        assert_eq!(figures(&json!({"minAvailable": 2}), &pods(3, 3)), (3, 3, 2, 1));
        assert_eq!(figures(&json!({"minAvailable": 2}), &pods(3, 1)), (3, 1, 2, 0));
        assert_eq!(
            figures(&json!({"minAvailable": "50%"}), &pods(5, 5)),
            (5, 5, 3, 2)
        );
        assert_eq!(figures(&json!({"maxUnavailable": 1}), &pods(3, 3)), (3, 3, 2, 1));
        assert_eq!(
            figures(&json!({"maxUnavailable": "30%"}), &pods(5, 4)),
            (5, 4, 3, 1)
        );
        assert_eq!(figures(&json!({"maxUnavailable": 9}), &pods(3, 3)), (3, 3, 0, 3));
        assert_eq!(figures(&json!({}), &pods(2, 2)), (2, 2, 1, 1));
        assert_eq!(figures(&json!({"maxUnavailable": 1}), &[]), (0, 0, 0, 0));
    }

    #[test]
    fn missing_pods_of_the_controller_count_as_expected() {
        let two_of_four: Vec<_> = pods(4, 4).into_iter().take(2).collect();
        assert_eq!(figures(&json!({"maxUnavailable": 1}), &two_of_four), (4, 2, 3, 0));
    }

    #[test]
    fn a_pod_without_controller_allows_nothing_where_the_number_is_needed() {
        let mut some = pods(3, 3);
        some[0].1 = Err("found no controller ref for pod \"p0\"".to_owned());
        let seen = plan(&budget(&json!({"maxUnavailable": 1}), &json!(null)), &some, at(0));
        assert_eq!(seen.status.disruptions_allowed, 0);
        let condition = &seen.status.conditions.expect("a condition")[0];
        assert_eq!((&*condition.status, &*condition.reason), ("False", "SyncFailed"));
        assert_eq!(
            figures(&json!({"minAvailable": 1}), &some).3,
            2,
            "a number needs no controller"
        );
    }

    #[test]
    fn an_evicted_pod_counts_as_gone_until_it_is_seen_to_go_or_two_minutes_pass() {
        let evicted = budget(
            &json!({"minAvailable": 1}),
            &json!({"p0": "2026-01-01T00:00:00Z"}),
        );
        let seen = plan(&evicted, &pods(3, 3), at(30));
        assert_eq!(
            (seen.status.disruptions_allowed, seen.recheck),
            (1, Some(Duration::from_secs(90)))
        );
        let late = plan(&evicted, &pods(3, 3), at(120));
        assert_eq!((late.status.disruptions_allowed, late.recheck), (2, None));
        let mut going = pods(3, 3);
        Arc::make_mut(&mut going[0].0).metadata.deletion_timestamp = Some(time(at(1)));
        let gone = plan(&evicted, &going, at(30)).status;
        assert_eq!((gone.disruptions_allowed, gone.disrupted_pods), (1, None));
    }

    proptest! {
        #[test]
        fn evicting_what_is_allowed_leaves_what_is_desired(replicas in 0_i32..20, ready in 0_i32..20, percent in 0_i32..=100) {
            let ready = ready.min(replicas);
            for spec in [json!({"minAvailable": format!("{percent}%")}), json!({"maxUnavailable": format!("{percent}%")}),
                json!({"minAvailable": percent})] {
                let (expected, healthy, desired, allowed) = figures(&spec, &pods(replicas, ready));
                prop_assert_eq!((expected, healthy), (replicas, ready));
                prop_assert!(allowed >= 0 && allowed <= healthy.max(0));
                prop_assert!(allowed == 0 || healthy - allowed >= desired);
            }
        }
    }
}
