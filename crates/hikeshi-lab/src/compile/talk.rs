//! The talk's own kind of manifests, for a real cluster with Chaos Mesh and a load balancer's weights: nothing in them is ours.

use hikeshi_scenario::Text;
use serde_json::{Value, json};

use super::groups::{ingress, service, trial_group};
use super::{LABEL, WHOLE_WEIGHT, match_labels, trial_labels};
use crate::journey::{Entrance, Journey};
use crate::level::{Level, secs};
use crate::normal::Normal;
use crate::words::{percent, seconds, text};

/// Manifests, and what they cannot say.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    pub objects: Vec<Value>,
    pub notes: Vec<Text>,
}

/// Two target groups with their weights, the normal group at its normal delay, the trial group slow or answering 500.
///
/// # Errors
/// What this kind of manifest cannot make, and what can.
pub fn talk(
    entrance: &Entrance,
    deployment: &Value,
    journey: &Journey,
    level: Level,
    normal: &Normal,
    token: Option<&str>,
) -> Result<Exported, Text> {
    let mut notes = Vec::new();
    let usual = normal.at(0.5).filter(|_| normal.is_given());
    let (weight, fault) = match level {
        Level::Normal => (0, None),
        Level::Added { micros } => (WHOLE_WEIGHT, Some(json!({"delay": format!("{micros}us")}))),
        Level::Total { micros } => {
            let s = seconds(secs(micros));
            notes.push(text(
                format!("Chaos Mesh の delay は追加分です。合計を {} に合わせるには、実測を見て delay を減らしてください", s.ja),
                format!("Chaos Mesh adds its delay: to make {} of the whole, measure and lessen it", s.en),
            ));
            (WHOLE_WEIGHT, Some(json!({"delay": format!("{micros}us")})))
        }
        Level::Errors { ppm } => {
            let per_weight = 1_000_000 / WHOLE_WEIGHT;
            if ppm < per_weight {
                return Err(text(
                    format!(
                        "{} は重みでは作れません。ロードバランサーの重みは 1/{WHOLE_WEIGHT}（0.1 %）刻みです。これより細かい割合は、組み込みのクラスターなら hikeshi lab start で作れます",
                        percent(f64::from(ppm) / 1e6)
                    ),
                    format!(
                        "{} cannot be made by weights: a load balancer's are in steps of 1/{WHOLE_WEIGHT} (0.1 %). On the embedded cluster `hikeshi lab start` can",
                        percent(f64::from(ppm) / 1e6)
                    ),
                ));
            }
            if !ppm.is_multiple_of(per_weight) {
                let made = percent(f64::from(ppm / per_weight) / f64::from(WHOLE_WEIGHT));
                notes.push(text(
                    format!("重みは 0.1 % 刻みなので、{made} になります"),
                    format!("weights are in steps of 0.1 %: it becomes {made}"),
                ));
            }
            (ppm / per_weight, Some(json!({"replace": {"code": 500}})))
        }
        Level::Edge { .. } => {
            return Err(text(
                "分布（99 % が 1 秒以内など）は Chaos Mesh だけでは作れません。一定の長さ（1s、+800ms）にしてください",
                "Chaos Mesh by itself has no distributions: export a constant length such as 1s or +800ms",
            ));
        }
    };
    if !normal.is_given() {
        notes.push(text(
            "平常時が指定されていません。--normal 200ms のように付けると、通常処理の側にも遅延が入ります",
            "no normal state was given: with --normal 200ms the normal group is delayed, too",
        ));
    }
    let mut objects = vec![
        trial_group(deployment),
        service(entrance, deployment),
        ingress(entrance, Some(journey), token, weight),
        normal_group(entrance, deployment, usual),
    ];
    if let Some(mut effect) = fault {
        // One object for each group: two on the same pods leave them dumb on some versions of Chaos Mesh.
        if let (Some(usual), None) = (usual, effect.get("delay")) {
            effect["delay"] = json!(format!("{:.0}ms", usual * 1e3));
        }
        let mut object = chaos("lab-trial", entrance, &trial_labels(deployment));
        if let (Some(spec), Some(effect)) = (object["spec"].as_object_mut(), effect.as_object()) {
            spec.extend(effect.clone());
        }
        object["spec"]["path"] = json!("*");
        objects.push(object);
    }
    Ok(Exported { objects, notes })
}

fn normal_group(entrance: &Entrance, deployment: &Value, usual: Option<f64>) -> Value {
    let mut object = chaos("lab-normal", entrance, &match_labels(deployment));
    object["spec"]["path"] = json!("*");
    if let Some(usual) = usual {
        object["spec"]["delay"] = json!(format!("{:.0}ms", usual * 1e3));
    }
    object["spec"]["replace"] = json!({"headers": {"Cache-Control": "no-store"}});
    object
}

fn chaos(name: &str, entrance: &Entrance, labels: &serde_json::Map<String, Value>) -> Value {
    json!({
        "apiVersion": "chaos-mesh.org/v1alpha1", "kind": "HTTPChaos",
        "metadata": {"name": name, "namespace": entrance.namespace, "labels": {LABEL: "fault"}},
        "spec": {
            "selector": {"namespaces": [entrance.namespace], "labelSelectors": labels},
            "mode": "all", "target": "Response", "port": entrance.target_port,
        },
    })
}
