//! The next size of an autoscaler's target, and what its status says about why.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus, MetricStatus,
};

use super::behavior::{History, Rules};
use super::metrics::{Reading, Target, describe, failure_reason, propose, status};
use crate::object::time;
use crate::runtime::EventType;

/// A condition as it ought to be: type, status, reason, message.
type Wanted = (&'static str, &'static str, &'static str, String);

#[derive(Debug)]
pub(super) struct Plan {
    /// The size to set and why, if it is to change.
    pub rescale: Option<(i32, String)>,
    /// As it is before `rescale` is carried out.
    pub status: HorizontalPodAutoscalerStatus,
    pub news: Vec<(EventType, &'static str, String)>,
}

/// Sets a condition; its time moves only when its status does.
pub(super) fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    (type_, value, reason, message): Wanted,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let position = conditions.iter().position(|condition| condition.type_ == type_);
    let index = position.unwrap_or_else(|| {
        conditions.push(HorizontalPodAutoscalerCondition {
            type_: type_.to_owned(),
            ..HorizontalPodAutoscalerCondition::default()
        });
        conditions.len() - 1
    });
    let condition = &mut conditions[index];
    if condition.status != value {
        value.clone_into(&mut condition.status);
        condition.last_transition_time = Some(time(now));
    }
    condition.reason = Some(reason.to_owned());
    condition.message = Some(message);
}

/// What the metrics together ask for.
struct Asked {
    replicas: i32,
    /// The metric that asked for it.
    metric: String,
    current: Vec<MetricStatus>,
}

/// The largest proposal. A metric that cannot be had forbids scaling down: it may be the one that needs the pods.
fn ask(
    spec: &HorizontalPodAutoscalerSpec,
    readings: &[Result<Reading, String>],
    target: &Target,
    rules: &Rules,
    now: Timestamp,
) -> Result<Asked, (&'static str, String, String)> {
    let metrics = spec.metrics.as_deref().unwrap_or(&[]);
    let mut asked = Asked {
        replicas: 0,
        metric: String::new(),
        current: Vec::new(),
    };
    let mut failed = 0;
    let mut first: Option<(&'static str, String)> = None;
    for (metric, reading) in metrics.iter().zip(readings) {
        let proposal = match reading {
            Ok(reading) => propose(metric, reading, target, rules.tolerance(), now),
            Err(error) => Err(error.clone()),
        };
        match proposal {
            Ok(proposal) => {
                asked.current.push(status(metric, &proposal));
                if asked.metric.is_empty() || proposal.replicas > asked.replicas {
                    asked.replicas = proposal.replicas;
                    asked.metric = describe(metric);
                }
            }
            Err(error) => {
                failed += 1;
                first.get_or_insert_with(|| {
                    let error = format!("failed to get {}: {error}", describe(metric));
                    (failure_reason(metric), error)
                });
            }
        }
    }
    match first {
        Some((reason, error)) if asked.metric.is_empty() || asked.replicas < target.current => {
            let message = format!("the HPA was unable to compute the replica count: {error}");
            let all = format!(
                "invalid metrics ({failed} invalid out of {}), first error is: {error}",
                metrics.len()
            );
            Err((reason, message, all))
        }
        None if asked.metric.is_empty() => {
            let error = "spec.metrics: Required value: at least one metric".to_owned();
            Err(("InvalidMetricSourceType", error.clone(), error))
        }
        _ => Ok(asked),
    }
}

/// `readings` answer `spec.metrics` one by one.
pub(super) fn plan(
    hpa: &HorizontalPodAutoscaler,
    target: &Target,
    readings: &[Result<Reading, String>],
    history: &mut History,
    now: Timestamp,
) -> Plan {
    let spec = &hpa.spec.clone().unwrap_or_default();
    let rules = Rules::of(spec);
    let (min, max, current) = (spec.min_replicas.unwrap_or(1), spec.max_replicas, target.current);
    let mut plan = Plan {
        rescale: None,
        status: hpa.status.clone().unwrap_or_default(),
        news: Vec::new(),
    };
    let status = &mut plan.status;
    status.observed_generation = hpa.metadata.generation;
    status.current_replicas = Some(current);
    status.desired_replicas = current;
    let message = "the HPA controller was able to get the target's current scale".to_owned();
    set(status, ("AbleToScale", "True", "SucceededGetScale", message), now);
    history.begin(current, now);

    if current == 0 && min != 0 {
        status.desired_replicas = 0;
        let message = "scaling is disabled since the replica count of the target is zero".to_owned();
        set(
            status,
            ("ScalingActive", "False", "ScalingDisabled", message),
            now,
        );
        return plan;
    }
    let outside = if current > max {
        Some((max, "Current number of replicas above Spec.MaxReplicas"))
    } else if current < min {
        Some((min, "Current number of replicas below Spec.MinReplicas"))
    } else {
        None
    };
    if let Some((bound, reason)) = outside {
        plan.rescale = Some((bound, reason.to_owned()));
        return plan;
    }
    let asked = match ask(spec, readings, target, &rules, now) {
        Ok(asked) => asked,
        Err((reason, message, all)) => {
            plan.news.push((EventType::Warning, reason, message.clone()));
            plan.news
                .push((EventType::Warning, "FailedComputeMetricsReplicas", all));
            set(status, ("ScalingActive", "False", reason, message), now);
            return plan;
        }
    };
    let metric = &asked.metric;
    let message = format!("the HPA was able to successfully calculate a replica count from {metric}");
    set(
        status,
        ("ScalingActive", "True", "ValidMetricFound", message),
        now,
    );
    status.current_metrics = Some(asked.current);

    let decision = rules.decide(current, asked.replicas, history, now);
    let (reason, message) = decision.able;
    set(status, ("AbleToScale", "True", reason, message.to_owned()), now);
    let (reason, message) = decision.limit;
    let limited = if decision.limited { "True" } else { "False" };
    set(
        status,
        ("ScalingLimited", limited, reason, message.to_owned()),
        now,
    );
    if decision.replicas != current {
        let reason = if decision.replicas > current {
            format!("{metric} above target")
        } else {
            "All metrics below target".to_owned()
        };
        plan.rescale = Some((decision.replicas, reason));
    }
    plan
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::super::replicas::Sample;
    use super::*;
    use crate::pods::testing::{merge, pod, ready};

    fn at(seconds: i64) -> Timestamp {
        "2026-01-01T01:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(seconds)
    }

    fn hpa(spec: &Value) -> HorizontalPodAutoscaler {
        let mut base = json!({"metadata": {"namespace": "ns", "name": "web", "generation": 3},
            "spec": {"minReplicas": 1, "maxReplicas": 10, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 80}}}]}});
        merge(&mut base["spec"], spec);
        serde_json::from_value(base).expect("an HPA")
    }

    fn target(current: i32) -> Target {
        let one = |n: i32| {
            let mut extra = ready("2026-01-01T00:00:05Z");
            extra["status"]["startTime"] = json!("2026-01-01T00:00:00Z");
            extra["spec"]["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]);
            pod(&format!("p{n}"), "rs", &extra)
        };
        Target {
            current,
            running: current,
            pods: (0..current).map(one).collect(),
        }
    }

    fn usage(each: i128, pods: i32) -> Result<Reading, String> {
        let sample = Sample {
            value: each,
            at: at(0),
            window: SignedDuration::from_secs(10),
        };
        Ok(Reading::PerPod(
            (0..pods).map(|n| (format!("p{n}"), sample)).collect(),
        ))
    }

    fn reason<'a>(plan: &'a Plan, type_: &str) -> (&'a str, &'a str) {
        let conditions = plan.status.conditions.as_deref().unwrap_or(&[]);
        let one = conditions.iter().find(|condition| condition.type_ == type_);
        one.map_or(("", ""), |one| {
            (one.status.as_str(), one.reason.as_deref().unwrap_or(""))
        })
    }

    #[test]
    fn above_its_target_it_scales_and_says_why() {
        let seen = plan(
            &hpa(&json!({})),
            &target(2),
            &[usage(160, 2)],
            &mut History::default(),
            at(0),
        );
        assert_eq!(
            seen.rescale,
            Some((
                4,
                "cpu resource utilization (percentage of request) above target".to_owned()
            ))
        );
        assert_eq!(reason(&seen, "AbleToScale"), ("True", "ReadyForNewScale"));
        assert_eq!(reason(&seen, "ScalingActive"), ("True", "ValidMetricFound"));
        assert_eq!(reason(&seen, "ScalingLimited"), ("False", "DesiredWithinRange"));
        let current = &seen.status.current_metrics.expect("metrics")[0];
        let current = &current.resource.as_ref().expect("a resource").current;
        assert_eq!(current.average_utilization, Some(160));
        assert_eq!(current.average_value.as_ref().map(|q| q.0.as_str()), Some("160m"));
    }

    #[test]
    fn below_its_target_it_waits_for_the_window() {
        let mut history = History::default();
        let seen = plan(&hpa(&json!({})), &target(4), &[usage(10, 4)], &mut history, at(0));
        assert_eq!(seen.rescale, None);
        assert_eq!(reason(&seen, "AbleToScale"), ("True", "ScaleDownStabilized"));
        let seen = plan(
            &hpa(&json!({})),
            &target(4),
            &[usage(10, 4)],
            &mut history,
            at(300),
        );
        assert_eq!(seen.rescale, Some((1, "All metrics below target".to_owned())));
    }

    #[test]
    fn the_greatest_metric_wins_and_a_broken_one_forbids_scaling_down() {
        let two = hpa(
            &json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}}]}),
        );
        let queue = |total| Ok(Reading::Total(total));
        let run = |cpu, queue| plan(&two, &target(3), &[cpu, queue], &mut History::default(), at(0));
        let up = run(usage(80, 3), queue(60_000));
        assert_eq!(
            up.rescale,
            Some((6, "external metric queue() above target".to_owned()))
        );
        let broken = || Err("no metrics returned from external metrics API".to_owned());
        assert_eq!(run(usage(160, 3), broken()).rescale.expect("up").0, 6);
        let down = run(usage(10, 3), broken());
        assert_eq!(down.rescale, None);
        assert_eq!(
            reason(&down, "ScalingActive"),
            ("False", "FailedGetExternalMetric")
        );
        assert_eq!(down.news[1].1, "FailedComputeMetricsReplicas");
        assert!(
            down.news[1]
                .2
                .starts_with("invalid metrics (1 invalid out of 2), first error is: ")
        );
        assert_eq!(run(usage(10, 3), queue(1_000)).rescale.expect("down").0, 1);
    }

    #[test]
    fn bounds_come_first_and_zero_switches_it_off() {
        let seen = plan(&hpa(&json!({})), &target(12), &[], &mut History::default(), at(0));
        assert_eq!(
            seen.rescale,
            Some((10, "Current number of replicas above Spec.MaxReplicas".to_owned()))
        );
        let seen = plan(
            &hpa(&json!({"minReplicas": 2})),
            &target(1),
            &[],
            &mut History::default(),
            at(0),
        );
        assert_eq!(seen.rescale.expect("up").0, 2);
        let off = plan(&hpa(&json!({})), &target(0), &[], &mut History::default(), at(0));
        assert_eq!(off.rescale, None);
        assert_eq!(reason(&off, "ScalingActive"), ("False", "ScalingDisabled"));
    }
}
