//! LimitRange: what containers get when they ask for nothing, and the least and most that they may ask for.

use serde_json::{Map, Value};

use super::all_problems;
use super::quantity::{text, thousandths};
use super::usage::pod_total;
use crate::registry::Resource;
use crate::status::ApiResult;
use crate::store::View;

/// Kubernetes' defaults of a LimitRange itself: `default` from `max`, `defaultRequest` from `default`, then from `min`.
pub(crate) fn fill_range(spec: &mut Value) {
    for item in spec["limits"].as_array_mut().into_iter().flatten() {
        if item["type"] != "Container" {
            continue;
        }
        for (to, from) in [
            ("default", "max"),
            ("defaultRequest", "default"),
            ("defaultRequest", "min"),
        ] {
            let given = item[from].as_object().cloned().unwrap_or_default();
            for (resource, amount) in given {
                if item[to].get(&resource).is_none() {
                    item[to][&resource] = amount;
                }
            }
        }
    }
}

fn items<'a>(view: &'a View, namespace: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    view.list("limitranges", Some(namespace))
        .flat_map(|range| range["spec"]["limits"].as_array().into_iter().flatten())
        .filter(move |item| item["type"] == kind)
}

/// Gives a new pod's containers what the namespace's LimitRanges say they get.
pub(crate) fn fill_pod(view: &View, namespace: &str, pod: &mut Value) {
    for item in items(view, namespace, "Container") {
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                for (kind, from) in [("limits", "default"), ("requests", "defaultRequest")] {
                    for (resource, amount) in item[from].as_object().into_iter().flatten() {
                        if container["resources"][kind].get(resource).is_none() {
                            container["resources"][kind][resource] = amount.clone();
                        }
                    }
                }
            }
        }
    }
}

/// Refuses a new pod or claim that asks for less or more than the namespace's LimitRanges allow.
pub(crate) fn admit(view: &View, resource: &Resource, namespace: &str, object: &Value) -> ApiResult<()> {
    if !resource.group.is_empty() || namespace.is_empty() {
        return Ok(());
    }
    let mut problems = Vec::new();
    match &*resource.kind {
        "Pod" => {
            for item in items(view, namespace, "Container") {
                for list in ["initContainers", "containers"] {
                    for container in object["spec"][list].as_array().into_iter().flatten() {
                        let amount =
                            |kind: &str, resource: &str| thousandths(&container["resources"][kind][resource]);
                        check("Container", item, &amount, &mut problems);
                    }
                }
            }
            for item in items(view, namespace, "Pod") {
                let amount = |kind: &str, resource: &str| {
                    Some(pod_total(&object["spec"], kind, resource)).filter(|amount| *amount > 0)
                };
                check("Pod", item, &amount, &mut problems);
            }
        }
        "PersistentVolumeClaim" => {
            for item in items(view, namespace, "PersistentVolumeClaim") {
                // A claim has no limit: its request is both.
                let amount =
                    |_: &str, resource: &str| thousandths(&object["spec"]["resources"]["requests"][resource]);
                check("PersistentVolumeClaim", item, &amount, &mut problems);
            }
        }
        _ => {}
    }
    all_problems(resource, object, &problems)
}

type Amount<'a> = &'a dyn Fn(&str, &str) -> Option<i128>;

fn check(per: &str, item: &Value, amount: Amount<'_>, problems: &mut Vec<String>) {
    let each = |field: &str| -> Vec<(String, i128)> {
        let map: Option<&Map<String, Value>> = item[field].as_object();
        map.into_iter()
            .flatten()
            .filter_map(|(name, limit)| Some((name.clone(), thousandths(limit)?)))
            .collect()
    };
    for (name, least) in each("min") {
        let bound = format!("minimum {name} usage per {per} is {}", text(&name, least));
        match amount("requests", &name) {
            None => problems.push(format!("{bound}.  No request is specified")),
            Some(asked) if asked < least => {
                problems.push(format!("{bound}, but request is {}", text(&name, asked)));
            }
            Some(_) => {}
        }
    }
    for (name, most) in each("max") {
        let bound = format!("maximum {name} usage per {per} is {}", text(&name, most));
        match amount("limits", &name) {
            None => problems.push(format!("{bound}.  No limit is specified")),
            Some(asked) if asked > most => {
                problems.push(format!("{bound}, but limit is {}", text(&name, asked)));
            }
            Some(_) => {}
        }
        if let Some(asked) = amount("requests", &name).filter(|asked| *asked > most) {
            problems.push(format!("{bound}, but request is {}", text(&name, asked)));
        }
    }
    for (name, ratio) in each("maxLimitRequestRatio") {
        if let (Some(limit), Some(request @ 1..)) = (amount("limits", &name), amount("requests", &name))
            && limit.saturating_mul(1000) > ratio.saturating_mul(request)
        {
            problems.push(format!(
                "{name} max limit to request ratio per {per} is {}, but provided ratio is {:.6}",
                text(&name, ratio),
                limit as f64 / request as f64
            ));
        }
    }
}
