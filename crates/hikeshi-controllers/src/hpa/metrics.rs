//! What an autoscaler measures, and how a measurement becomes a proposal. The reading of answers is pure; asking is not.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::replicas::{Proposal, Sample, Samples, Tolerance, by_average, by_share, by_total, by_utilization};
use crate::quantity::{text, thousandths};

/// What was asked for a metric and came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    PerPod(Samples),
    /// Thousandths.
    Total(i128),
}

/// The target as it is now.
#[derive(Debug)]
pub(super) struct Target {
    /// `spec.replicas`, what is asked for.
    pub current: i32,
    /// `status.replicas`, what there is.
    pub running: i32,
    pub pods: Vec<Pod>,
}

/// The reason for `ScalingActive: False` when the metric cannot be had.
pub(super) fn failure_reason(metric: &MetricSpec) -> &'static str {
    match metric.type_.as_str() {
        "Resource" => "FailedGetResourceMetric",
        "ContainerResource" => "FailedGetContainerResourceMetric",
        "Pods" => "FailedGetPodsMetric",
        "External" => "FailedGetExternalMetric",
        _ => "InvalidMetricSourceType",
    }
}

/// Kubernetes' name of the metric in messages.
pub(super) fn describe(metric: &MetricSpec) -> String {
    let percent = |target: &MetricTarget| {
        if target.average_utilization.is_some() {
            " utilization (percentage of request)"
        } else {
            ""
        }
    };
    if let Some(source) = &metric.resource {
        return format!("{} resource{}", source.name, percent(&source.target));
    }
    if let Some(source) = &metric.container_resource {
        return format!("{} container resource{}", source.name, percent(&source.target));
    }
    if let Some(source) = &metric.pods {
        return format!("pods metric {}", source.metric.name);
    }
    if let Some(source) = &metric.external {
        let selector = selector_text(source.metric.selector.as_ref());
        return format!("external metric {}({selector})", source.metric.name);
    }
    format!("{} metric", metric.type_)
}

/// A label selector as a query carries it.
fn selector_text(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return String::new();
    };
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.as_deref().unwrap_or(&[]).join(",");
        match one.operator.as_str() {
            "In" => format!("{} in ({values})", one.key),
            "NotIn" => format!("{} notin ({values})", one.key),
            "DoesNotExist" => format!("!{}", one.key),
            _ => one.key.clone(),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

/// A text as part of a query or a path segment.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Where to ask for a metric of the pods that `selector` selects.
///
/// # Errors
/// The metric's type is not supported, or its source is missing.
pub(super) fn path(metric: &MetricSpec, namespace: &str, selector: &str) -> Result<String, String> {
    let (namespace, pods) = (escaped(namespace), escaped(selector));
    let named = |one: &MetricIdentifier, parameter: &str| match &one.selector {
        None => String::new(),
        some => format!("{parameter}{}", escaped(&selector_text(some.as_ref()))),
    };
    match metric.type_.as_str() {
        "Resource" | "ContainerResource" => Ok(format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={pods}"
        )),
        "Pods" => {
            let source = &metric
                .pods
                .as_ref()
                .ok_or("spec.metrics: pods: Required value")?
                .metric;
            let (name, labels) = (escaped(&source.name), named(source, "&metricLabelSelector="));
            Ok(format!(
                "/apis/custom.metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/*/{name}?labelSelector={pods}{labels}"
            ))
        }
        "External" => {
            let source = metric
                .external
                .as_ref()
                .ok_or("spec.metrics: external: Required value")?;
            let source = &source.metric;
            let (name, labels) = (escaped(&source.name), named(source, "?labelSelector="));
            Ok(format!(
                "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}{labels}"
            ))
        }
        other => Err(format!(
            "spec.metrics: type {other:?} is not supported here: use Resource, ContainerResource, Pods or External"
        )),
    }
}

fn quantity(value: &Value) -> Option<i128> {
    thousandths(&Quantity(value.as_str()?.to_owned()))
}

fn sample(item: &Value, value: i128) -> Sample {
    let at = item["timestamp"].as_str().and_then(|at| at.parse().ok());
    let seconds = item["windowSeconds"].as_i64().map(SignedDuration::from_secs);
    let window = item["window"]
        .as_str()
        .and_then(|window| hikeshi_chaos::quantity::duration(window).ok());
    Sample {
        value,
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
        window: seconds
            .or_else(|| SignedDuration::try_from(window?).ok())
            .unwrap_or(SignedDuration::from_mins(1)),
    }
}

/// The resource's use in one PodMetrics: of all containers, or of one. `None` where it was not measured.
fn usage(item: &Value, resource: &str, container: Option<&str>) -> Option<i128> {
    let of = |one: &Value| quantity(&one["usage"][resource]);
    let mut containers = item["containers"].as_array()?.iter();
    match container {
        Some(name) => of(containers.find(|one| one["name"] == name)?),
        // A pod with one container unmeasured is not measured.
        None => containers.map(of).sum::<Option<i128>>(),
    }
}

/// Reads the answer to [`path`].
///
/// # Errors
/// Nothing of use is in it.
pub(super) fn read(metric: &MetricSpec, answer: &Value) -> Result<Reading, String> {
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    let resource = match (&metric.resource, &metric.container_resource) {
        (Some(source), _) => Some((source.name.as_str(), None)),
        (None, Some(source)) => Some((source.name.as_str(), Some(source.container.as_str()))),
        (None, None) => None,
    };
    if let Some((name, container)) = resource {
        let found: Samples = items
            .iter()
            .filter_map(|item| {
                let pod = item["metadata"]["name"].as_str()?.to_owned();
                Some((pod, sample(item, usage(item, name, container)?)))
            })
            .collect();
        return if found.is_empty() {
            Err("no metrics returned from resource metrics API".to_owned())
        } else {
            Ok(Reading::PerPod(found))
        };
    }
    if metric.pods.is_some() {
        let found: Samples = items
            .iter()
            .filter_map(|item| {
                let pod = item["describedObject"]["name"].as_str()?.to_owned();
                Some((pod, sample(item, quantity(&item["value"])?)))
            })
            .collect();
        return if found.is_empty() {
            Err("no metrics returned from custom metrics API".to_owned())
        } else {
            Ok(Reading::PerPod(found))
        };
    }
    let values: Vec<i128> = items.iter().filter_map(|item| quantity(&item["value"])).collect();
    if values.is_empty() {
        return Err("no metrics returned from external metrics API".to_owned());
    }
    Ok(Reading::Total(values.into_iter().sum()))
}

fn wanted(value: Option<&Quantity>, what: &str) -> Result<i128, String> {
    value
        .and_then(thousandths)
        .filter(|value| *value > 0)
        .ok_or_else(|| format!("invalid metric target: {what} must be a quantity above 0"))
}

/// What the metric asks for.
///
/// # Errors
/// Too little was measured, or the metric's target makes no sense.
pub(super) fn propose(
    metric: &MetricSpec,
    reading: &Reading,
    target: &Target,
    tolerance: Tolerance,
    now: Timestamp,
) -> Result<Proposal, String> {
    let (pods, current) = (&target.pods, target.current);
    let of_resource = |name: &str, container: Option<&str>, wants: &MetricTarget, samples: &Samples| {
        if let Some(percent) = wants.average_utilization {
            by_utilization(
                pods,
                samples,
                (name, container),
                (current, percent),
                tolerance,
                now,
            )
        } else {
            let each = wanted(wants.average_value.as_ref(), "averageValue")?;
            by_average(pods, samples, name == "cpu", (current, each), tolerance, now)
        }
    };
    match (
        reading,
        &metric.resource,
        &metric.container_resource,
        &metric.pods,
        &metric.external,
    ) {
        (Reading::PerPod(samples), Some(source), ..) => {
            of_resource(&source.name, None, &source.target, samples)
        }
        (Reading::PerPod(samples), None, Some(source), ..) => {
            of_resource(&source.name, Some(&source.container), &source.target, samples)
        }
        (Reading::PerPod(samples), None, None, Some(source), _) => {
            let each = wanted(source.target.average_value.as_ref(), "averageValue")?;
            by_average(pods, samples, false, (current, each), tolerance, now)
        }
        (Reading::Total(total), .., Some(source)) => {
            if source.target.average_value.is_some() {
                let each = wanted(source.target.average_value.as_ref(), "averageValue")?;
                Ok(by_share(*total, (current, target.running, each), tolerance))
            } else {
                let whole = wanted(source.target.value.as_ref(), "value")?;
                let ready = pods.iter().filter(|pod| crate::pods::is_ready(pod)).count();
                Ok(by_total(ready, *total, (current, whole), tolerance))
            }
        }
        _ => Err(format!(
            "invalid metric source: no source for type {}",
            metric.type_
        )),
    }
}

/// The entry of `status.currentMetrics`.
pub(super) fn status(metric: &MetricSpec, seen: &Proposal) -> MetricStatus {
    let current = MetricValueStatus {
        average_utilization: seen.utilization,
        average_value: seen.average.map(text),
        value: seen.total.map(text),
    };
    MetricStatus {
        type_: metric.type_.clone(),
        resource: metric.resource.as_ref().map(|source| ResourceMetricStatus {
            name: source.name.clone(),
            current: current.clone(),
        }),
        container_resource: metric
            .container_resource
            .as_ref()
            .map(|source| ContainerResourceMetricStatus {
                name: source.name.clone(),
                container: source.container.clone(),
                current: current.clone(),
            }),
        pods: metric.pods.as_ref().map(|source| PodsMetricStatus {
            metric: source.metric.clone(),
            current: current.clone(),
        }),
        external: metric.external.as_ref().map(|source| ExternalMetricStatus {
            metric: source.metric.clone(),
            current: current.clone(),
        }),
        object: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metric(value: Value) -> MetricSpec {
        serde_json::from_value(value).expect("a metric")
    }

    #[test]
    fn each_type_asks_its_api() {
        let cpu = metric(
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}),
        );
        assert_eq!(
            path(&cpu, "shop", "app=web,tier in (a)").expect("a path"),
            "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods?labelSelector=app%3Dweb%2Ctier%20in%20%28a%29"
        );
        let custom = metric(
            json!({"type": "Pods", "pods": {"metric": {"name": "requests_per_second",
            "selector": {"matchLabels": {"path": "/"}}}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
        );
        assert_eq!(
            path(&custom, "shop", "app=web").expect("a path"),
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/shop/pods/*/requests_per_second?labelSelector=app%3Dweb&metricLabelSelector=path%3D%2F"
        );
        let external = metric(
            json!({"type": "External", "external": {"metric": {"name": "queue_length"},
            "target": {"type": "Value", "value": "30"}}}),
        );
        assert_eq!(
            path(&external, "shop", "app=web").expect("a path"),
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/queue_length"
        );
        let object = metric(json!({"type": "Object"}));
        assert!(
            path(&object, "shop", "")
                .expect_err("not supported")
                .contains("\"Object\"")
        );
    }

    #[test]
    fn answers_are_read_as_kubernetes_writes_them() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        let answer = json!({"items": [
            {"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "10.5s", "containers": [
                {"name": "app", "usage": {"cpu": "90000000n", "memory": "1Mi"}}, {"name": "log", "usage": {"cpu": "10m"}}]},
            {"metadata": {"name": "half"}, "containers": [{"name": "app", "usage": {"cpu": "1m"}}, {"name": "log", "usage": {}}]}]});
        let Ok(Reading::PerPod(samples)) = read(&metric(cpu), &answer) else {
            panic!("per pod");
        };
        assert_eq!(samples.len(), 1, "a pod half measured is not measured");
        assert_eq!(
            (samples["a"].value, samples["a"].window),
            (100, SignedDuration::from_millis(10_500))
        );
        let one = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app",
            "target": {"type": "AverageValue", "averageValue": "50m"}}});
        let Ok(Reading::PerPod(samples)) = read(&metric(one), &answer) else {
            panic!("per pod");
        };
        assert_eq!((samples.len(), samples["a"].value), (2, 90));
        let custom = json!({"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
        let values = json!({"items": [{"describedObject": {"name": "a"}, "metricName": "rps", "value": "12500m",
            "timestamp": "2026-01-01T00:00:00Z", "windowSeconds": 30}]});
        let Ok(Reading::PerPod(samples)) = read(&metric(custom), &values) else {
            panic!("per pod");
        };
        assert_eq!(
            (samples["a"].value, samples["a"].window),
            (12_500, SignedDuration::from_secs(30))
        );
        let external = metric(
            json!({"type": "External", "external": {"metric": {"name": "queue"},
            "target": {"type": "Value", "value": "30"}}}),
        );
        let values = json!({"items": [{"value": "10"}, {"value": "5k"}]});
        assert_eq!(read(&external, &values), Ok(Reading::Total(5_010_000)));
        assert!(read(&external, &json!({"items": []})).is_err());
    }
}
