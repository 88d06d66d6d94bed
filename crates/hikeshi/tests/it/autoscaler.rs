//! An autoscaler that follows one of Chirpy's own metrics, as the system's Prometheus has it.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Home, eventually, text};
use crate::kubectl::Kubectl;

/// Two of the autoscaler's rounds, the start of a pod, and a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// Attempts at fan-out jobs a second and pod: a counter that timeline-service exposes.
const METRIC: &str = "timeline_service_fanout_attempts_per_second";

fn autoscaler(target: &str) -> String {
    format!(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: fanout, namespace: chirpy}}
spec:
  minReplicas: 2
  maxReplicas: 3
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: timeline-service}}
  metrics:
    - type: Pods
      pods: {{metric: {{name: {METRIC}}}, target: {{type: AverageValue, averageValue: {target}}}}}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 0}}}}
"
    )
}

/// Thousandths, of a quantity as the API writes it.
fn thousandths(quantity: &Value) -> Option<u64> {
    let text = quantity.as_str()?;
    match text.strip_suffix('m') {
        Some(text) => text.parse().ok(),
        None => Some(text.parse::<u64>().ok()? * 1_000),
    }
}

async fn get(admin: &Kubectl, line: &str) -> Option<Value> {
    let output = admin.run(line).await;
    serde_json::from_str(&text(&output.stdout)).ok()
}

/// Waits until timeline-service has so many ready pods, by the autoscaler's wish.
async fn scaled(admin: &Kubectl, replicas: u64) -> Value {
    eventually(
        &format!("{replicas} pods of timeline-service"),
        SOON,
        async || {
            let hpa = get(admin, "get hpa fanout -n chirpy -o json").await?;
            let target = get(admin, "get deployment timeline-service -n chirpy -o json").await?;
            let pods = get(admin, "get pods -n chirpy -l app=timeline-service -o json").await?;
            let there = hpa["status"]["desiredReplicas"] == replicas
                && target["spec"]["replicas"] == replicas
                && target["status"]["readyReplicas"] == replicas
                && pods["items"].as_array()?.len() as u64 == replicas;
            there.then_some(hpa)
        },
    )
    .await
}

/// On a system under load: up when the work for each pod is above the target, down again when it is not.
pub async fn follows_prometheus(home: &Home) {
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    let path = format!("get --raw /apis/custom.metrics.k8s.io/v1beta1/namespaces/chirpy/pods/*/{METRIC}");
    eventually("both pods' work is measured", SOON, async || {
        let list = get(&admin, &path).await?;
        let items = list["items"].as_array()?;
        let busy = |item: &Value| {
            let name = item["describedObject"]["name"].as_str().unwrap_or_default();
            name.starts_with("timeline-service-")
                && thousandths(&item["value"]).is_some_and(|value| value > 0)
        };
        (items.len() == 2 && items.iter().all(busy)).then_some(())
    })
    .await;
    admin.apply(&autoscaler("1m")).await;
    let up = scaled(&admin, 3).await;
    let current = &up["status"]["currentMetrics"][0]["pods"];
    assert_eq!(current["metric"]["name"], METRIC, "{up:#}");
    assert!(
        thousandths(&current["current"]["averageValue"]).is_some_and(|value| value > 1),
        "{up:#}"
    );
    let conditions = up["status"]["conditions"].as_array().expect("conditions");
    let is = |kind: &str, reason: &str| {
        conditions
            .iter()
            .any(|one| one["type"] == kind && one["status"] == "True" && one["reason"] == reason)
    };
    assert!(is("ScalingActive", "ValidMetricFound"), "{up:#}");
    assert!(is("ScalingLimited", "TooManyReplicas"), "{up:#}");
    let told = admin
        .ok("get events -n chirpy --field-selector reason=SuccessfulRescale")
        .await;
    assert!(
        told.contains(&format!("pods metric {METRIC} above target")),
        "{told}"
    );

    admin.apply(&autoscaler("1M")).await;
    scaled(&admin, 2).await;
    admin.ok("delete hpa fanout -n chirpy").await;
}
