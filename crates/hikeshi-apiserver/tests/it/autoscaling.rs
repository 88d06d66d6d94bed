//! The metrics an autoscaler asks for.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hikeshi_apiserver::{MetricSample, MetricSource, MetricSourceError};
use jiff::Timestamp;
use serde_json::Value;

use crate::support::Cluster;

/// Remembers the questions; answers two pods, one of which the cluster does not have.
#[derive(Default)]
struct Prometheus {
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl MetricSource for Prometheus {
    async fn query(&self, promql: &str) -> Result<Vec<MetricSample>, MetricSourceError> {
        self.asked.lock().unwrap().push(promql.to_owned());
        if promql.contains("broken") {
            return Err(MetricSourceError("Prometheus is not up yet".into()));
        }
        let sample = |pod: &str, value| MetricSample {
            labels: [("__name__", "x"), ("pod", pod)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            value,
            at: Timestamp::UNIX_EPOCH,
        };
        Ok(vec![
            sample("web-1", 2.5),
            sample("gone", 7.0),
            sample("web-1", f64::NAN),
        ])
    }
}

#[test]
fn custom_and_external_metrics_come_from_prometheus() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    cluster.running_pod("web-1", &["web"]);
    let custom = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/chirpy/pods/*/http_requests_per_second";
    assert!(
        k.fails(&["get", "--raw", custom])
            .contains("unable to fetch metrics from Prometheus")
    );

    let source = Arc::new(Prometheus::default());
    cluster.handle.serve_metrics_from(source.clone());
    let get = |path: &str| -> Value { serde_json::from_str(&k.ok(&["get", "--raw", path])).unwrap() };
    let list = get(&format!(
        "{custom}?labelSelector=app%3Dweb&metricLabelSelector=code%3D200"
    ));
    assert_eq!(
        source.asked.lock().unwrap().last().unwrap(),
        "sum by (pod) (rate(http_requests_total{namespace=\"chirpy\",code=~\"200\"}[60s]))"
    );
    assert_eq!(list["kind"], "MetricValueList");
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{list}");
    assert_eq!(items[0]["describedObject"]["name"], "web-1");
    assert_eq!(items[0]["describedObject"]["kind"], "Pod");
    assert_eq!(items[0]["metric"]["name"], "http_requests_per_second");
    assert_eq!(
        (&items[0]["value"], &items[0]["windowSeconds"]),
        (&"2500m".into(), &60.into())
    );
    assert_eq!(
        get(&format!("{custom}?labelSelector=app%3Dother"))["items"],
        serde_json::json!([])
    );

    let external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/chirpy/queue_depth";
    let list = get(&format!("{external}?labelSelector=queue%3Dfanout"));
    assert_eq!(list["kind"], "ExternalMetricValueList");
    assert_eq!(list["items"][0]["metricLabels"]["pod"], "web-1");
    assert_eq!(list["items"][1]["value"], "7");
    let broken = k.fails(&["get", "--raw", &external.replace("queue_depth", "broken")]);
    assert!(broken.contains("not up yet"), "{broken}");
    let bad = k.fails(&["get", "--raw", &external.replace("queue_depth", "a-b")]);
    assert!(bad.contains("not the name of a Prometheus series"), "{bad}");

    let groups = k.ok(&["api-versions"]);
    assert!(
        groups.contains("custom.metrics.k8s.io/v1beta1")
            && groups.contains("external.metrics.k8s.io/v1beta1")
    );
    let operator = cluster.user("pika7", &["hikeshi:operator"]);
    let elsewhere = custom.replace("chirpy", "hikeshi-system");
    assert!(
        operator
            .fails(&["get", "--raw", &elsewhere])
            .contains("forbidden")
    );
}
