//! `custom.metrics.k8s.io` and `external.metrics.k8s.io`, for the autoscaler: Prometheus' figures as Kubernetes' quantities.
//!
//! `/apis/custom.metrics.k8s.io/v1beta1/namespaces/NS/pods/NAME_OR_*/METRIC` takes a `labelSelector` of pods and a
//! `metricLabelSelector` of series; `/apis/external.metrics.k8s.io/v1beta1/namespaces/NS/METRIC` a `labelSelector` of
//! series. [`crate::promql`] says which query a METRIC becomes.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::write::stamp;
use crate::app::App;
use crate::metric_source::MetricSample;
use crate::promql::{MetricQuery, Shape, metric_query, quantity};
use crate::request::{Address, Params};
use crate::selector::{Selector, parse_labels};
use crate::status::{ApiError, ApiResult, json_response};

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "external.metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// The groups answered here, with their version; their metrics are whatever Prometheus holds.
pub(crate) const GROUPS: [(&str, &str); 2] = [(CUSTOM, VERSION), (EXTERNAL, VERSION)];

/// Whether an address is one of a metric's.
pub(crate) fn is_metric(address: &Address) -> bool {
    GROUPS.contains(&(address.group.as_str(), address.version.as_str()))
}

pub(crate) async fn handle(
    app: &App,
    address: &Address,
    method: &Method,
    params: &Params,
) -> ApiResult<Response> {
    if *method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    let Some(namespace) = address.namespace.as_deref() else {
        return Err(ApiError::no_such_path());
    };
    let answer = match (
        address.group.as_str(),
        address.name.as_deref(),
        address.sub.as_deref(),
    ) {
        (CUSTOM, Some(pod), Some(metric)) if address.plural == "pods" => {
            of_pods(app, namespace, pod, metric, params).await?
        }
        (CUSTOM, Some(_), Some(_)) => {
            return Err(ApiError::new(
                404,
                "NotFound",
                format!(
                    "custom metrics are served of pods only, not of {}",
                    address.plural
                ),
            ));
        }
        (EXTERNAL, None, None) => external(app, namespace, &address.plural, params).await?,
        _ => return Err(ApiError::no_such_path()),
    };
    Ok(json_response(200, &answer))
}

async fn samples(app: &App, query: &MetricQuery) -> ApiResult<Vec<MetricSample>> {
    let unavailable = |reason: &str| {
        let message = format!("unable to fetch metrics from Prometheus: {reason}");
        ApiError::new(503, "ServiceUnavailable", message)
    };
    let source = app
        .metrics
        .get()
        .ok_or_else(|| unavailable("this cluster has none yet; try again when namespace monitoring is up"))?;
    let asked = source.query(&query.promql).await;
    asked.map_err(|error| unavailable(&error.to_string()))
}

/// The fields that both kinds of value share.
fn value(sample: &MetricSample, query: &MetricQuery) -> Option<Value> {
    let mut value = json!({"timestamp": stamp(sample.at), "value": quantity(sample.value)?});
    if let Some(seconds) = query.window_seconds {
        value["windowSeconds"] = seconds.into();
    }
    Some(value)
}

async fn of_pods(app: &App, namespace: &str, pod: &str, metric: &str, params: &Params) -> ApiResult<Value> {
    let matchers = parse_labels(params.get("metricLabelSelector"))?;
    let query = metric_query(Shape::Pods, metric, namespace, &matchers).map_err(ApiError::bad_request)?;
    let mut selector = Selector::parse(params.get("labelSelector"), "")?;
    if pod != "*" {
        selector = selector.with_name(pod);
    }
    let samples = samples(app, &query).await?;
    let item = |sample: &MetricSample| {
        // A series may outlive its pod by the time Prometheus remembers it.
        let found = app.store.get("pods", namespace, sample.labels.get("pod")?)?;
        let mut item = selector.matches(&found).then(|| value(sample, &query))??;
        item["describedObject"] = json!({"kind": "Pod", "namespace": namespace,
            "name": found["metadata"]["name"], "apiVersion": "/v1"});
        item["metric"] = json!({"name": metric, "selector": null});
        Some(item)
    };
    let items: Vec<Value> = samples.iter().filter_map(item).collect();
    if items.is_empty() && pod != "*" {
        let message = format!("the server could not find the metric {metric} for pods {pod}");
        return Err(ApiError::new(404, "NotFound", message));
    }
    Ok(
        json!({"kind": "MetricValueList", "apiVersion": format!("{CUSTOM}/{VERSION}"),
        "metadata": {}, "items": items}),
    )
}

async fn external(app: &App, namespace: &str, metric: &str, params: &Params) -> ApiResult<Value> {
    let matchers = parse_labels(params.get("labelSelector"))?;
    let query = metric_query(Shape::Series, metric, namespace, &matchers).map_err(ApiError::bad_request)?;
    let samples = samples(app, &query).await?;
    let item = |sample: &MetricSample| {
        let mut item = value(sample, &query)?;
        let labels = sample.labels.iter().filter(|(name, _)| *name != "__name__");
        item["metricName"] = metric.into();
        item["metricLabels"] = labels
            .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
            .collect();
        Some(item)
    };
    let items: Vec<Value> = samples.iter().filter_map(item).collect();
    Ok(
        json!({"kind": "ExternalMetricValueList", "apiVersion": format!("{EXTERNAL}/{VERSION}"),
        "metadata": {}, "items": items}),
    )
}
