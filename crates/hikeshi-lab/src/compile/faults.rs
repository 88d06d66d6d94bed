//! A level as HTTPChaos objects with our annotations.

use hikeshi_chaos::annotations::{LEASE_UNTIL, PPM, QUANTILES, REQUEST_HEADERS, SEED, TO_TOTAL};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{COOKIE, LABEL, NAMESPACE, match_labels, trial_labels};
use crate::journey::{Entrance, Journey};
use crate::lab::Who;
use crate::level::{Level, secs};
use crate::normal::Normal;

/// Within the edge of an objective everything is a little within, so that the way through the ingress does not push it over.
const WITHIN: f64 = 0.97;
/// What is beyond the edge lies between this and twice it.
const BEYOND: f64 = 1.05;

/// What a level is put on, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    pub entrance: &'a Entrance,
    /// The first group's Deployment.
    pub deployment: &'a Value,
    pub journey: &'a Journey,
    pub who: Who,
    /// The person's cookie.
    pub token: &'a str,
    pub normal: &'a Normal,
    /// Tells this presentation's objects from the last one's.
    pub number: u64,
    pub seed: u64,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// The normal state of everybody: both groups as slow as every day, and (as the talk has it) no answer kept by a browser, so that
/// every request crosses the network. Always there while a lab is on.
pub fn normal(
    entrance: &Entrance,
    deployment: &Value,
    normal: &Normal,
    seed: u64,
    until: Timestamp,
) -> Value {
    let mut object = http_chaos("lab-normal", entrance, both(entrance, deployment), seed, until);
    object["spec"]["path"] = json!("*");
    object["spec"]["replace"] = json!({"headers": {"cache-control": "no-store"}});
    if normal.is_given() {
        slow(
            &mut object,
            &quantiles(normal.points.iter().copied()),
            normal.at(0.5),
        );
    }
    object
}

/// The objects of a level: none for the normal state, two for the edge of an objective, else one.
pub fn faults(level: Level, put: &Put<'_>) -> Vec<Value> {
    let object = |part: &str| {
        let Put {
            entrance,
            deployment,
            journey,
            ..
        } = put;
        let on = match put.who {
            Who::Person => labelled(entrance, &trial_labels(deployment)),
            // Background traffic does not come in by the ingress: it meets the level on the first group.
            Who::Everybody => both(entrance, deployment),
        };
        let name = format!("lab-{}{part}", put.number);
        let mut object = http_chaos(&name, entrance, on, put.seed, put.until);
        object["spec"]["path"] = json!(journey.path);
        object["spec"]["method"] = json!(journey.method);
        if put.who == Who::Person {
            let pattern = format!("cookie=*{COOKIE}={}*", put.token);
            object["metadata"]["annotations"][REQUEST_HEADERS] = json!(pattern);
        }
        object
    };
    match level {
        Level::Normal => Vec::new(),
        Level::Total { micros } => {
            let mut object = object("");
            object["spec"]["delay"] = json!(format!("{micros}us"));
            object["metadata"]["annotations"][TO_TOTAL] = json!("true");
            vec![object]
        }
        Level::Added { micros } => {
            let mut object = object("");
            object["spec"]["delay"] = json!(format!("{micros}us"));
            if put.normal.is_given() {
                // The normal state is padded to, so what is added must be added to that.
                let later = put
                    .normal
                    .points
                    .iter()
                    .map(|(share, usual)| (*share, usual + micros));
                slow(
                    &mut object,
                    &quantiles(later),
                    put.normal.at(0.5).map(|usual| usual + secs(micros)),
                );
            }
            vec![object]
        }
        Level::Errors { ppm } => {
            let mut object = object("");
            object["spec"]["replace"] = json!({"code": 500});
            object["metadata"]["annotations"][PPM] = json!(ppm.to_string());
            vec![object]
        }
        Level::Edge { micros, good_ppm } => {
            let (mut within, mut beyond) = (object("-within"), object("-beyond"));
            let good = f64::from(good_ppm) / 1e6;
            let edge = secs(micros) * WITHIN;
            let points = shape(put.normal, good, edge);
            slow(&mut within, &quantiles(points.into_iter()), Some(edge / 2.0));
            let far = [
                (0.0, length(secs(micros) * BEYOND)),
                (1.0, length(secs(micros) * 2.0)),
            ];
            slow(
                &mut beyond,
                &quantiles(far.into_iter()),
                Some(secs(micros) * BEYOND),
            );
            beyond["metadata"]["annotations"][PPM] = json!((1_000_000 - good_ppm).to_string());
            vec![within, beyond]
        }
    }
}

/// The distribution of what is within: the normal state's below its `good` quantile, made longer until that is the edge. Without a
/// normal state, evenly between a third of the edge and the edge.
fn shape(normal: &Normal, good: f64, edge: f64) -> Vec<(f64, u64)> {
    let ends = normal.at(good).filter(|ends| *ends > 0.0);
    let mut points: Vec<(f64, u64)> = Vec::new();
    match ends {
        Some(ends) if normal.points.len() > 1 => {
            let below = normal.points.iter().filter(|(share, _)| *share < good);
            points.extend(below.map(|(share, micros)| (share / good, length(secs(*micros) / ends * edge))));
        }
        _ => points.push((0.0, length(edge / 3.0))),
    }
    points.push((1.0, length(edge)));
    points
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a level"
)]
fn length(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// As the annotation has them.
fn quantiles(points: impl Iterator<Item = (f64, u64)>) -> String {
    let round = |share: f64| (share * 1e8).round() / 1e6;
    let point = |(share, micros): (f64, u64)| format!("p{}={micros}us", round(share));
    points.map(point).collect::<Vec<_>>().join(",")
}

/// Pads to a distribution. `middle` is what a Chaos Mesh that knows no annotation of ours would do.
fn slow(object: &mut Value, quantiles: &str, middle: Option<f64>) {
    object["spec"]["delay"] = json!(format!("{}us", length(middle.unwrap_or_default()).max(1)));
    object["metadata"]["annotations"][QUANTILES] = json!(quantiles);
    object["metadata"]["annotations"][TO_TOTAL] = json!("true");
}

fn http_chaos(name: &str, entrance: &Entrance, selector: Value, seed: u64, until: Timestamp) -> Value {
    json!({
        "apiVersion": "chaos-mesh.org/v1alpha1", "kind": "HTTPChaos",
        "metadata": {
            "name": name, "namespace": NAMESPACE, "labels": {LABEL: "fault"},
            "annotations": {LEASE_UNTIL: until.to_string(), SEED: seed.to_string()},
        },
        "spec": {"selector": selector, "mode": "all", "target": "Response", "port": entrance.target_port},
    })
}

fn labelled(entrance: &Entrance, labels: &serde_json::Map<String, Value>) -> Value {
    json!({"namespaces": [entrance.namespace], "labelSelectors": labels})
}

fn both(entrance: &Entrance, deployment: &Value) -> Value {
    let trial = trial_labels(deployment);
    let expressions: Vec<Value> = match_labels(deployment)
        .into_iter()
        .map(|(key, value)| json!({"key": key, "operator": "In", "values": [value, trial[&key]]}))
        .collect();
    json!({"namespaces": [entrance.namespace], "expressionSelectors": expressions})
}
