//! A Deployment's ReplicaSets: which is the new one, their revisions, their annotations.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;

use crate::object::{annotation, controller_reference, created, name_of};
use crate::template::{POD_TEMPLATE_HASH, canonical_template, template_hash};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations of a Deployment that are not handed on to its ReplicaSets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

pub(super) type Annotations = BTreeMap<String, String>;

/// What a Deployment's strategy allows, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub max_surge: i32,
    pub max_unavailable: i32,
}

pub(super) fn wanted(deployment: &Deployment) -> i32 {
    deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
        .max(0)
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

/// A count or a percentage of `total`, rounded up or down as told.
pub(crate) fn resolve(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => resolve(Some(&IntOrString::String("25%".to_owned())), total, round_up),
        Some(IntOrString::Int(count)) => (*count).max(0),
        Some(IntOrString::String(text)) => match text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()) {
            Some(percent) => {
                let scaled = percent.max(0) * i64::from(total);
                i32::try_from(if round_up {
                    (scaled + 99) / 100
                } else {
                    scaled / 100
                })
                .unwrap_or(i32::MAX)
            }
            None => text.parse().unwrap_or(0),
        },
    }
}

/// maxSurge rounds up, maxUnavailable rounds down; when both come to 0 one pod may be unavailable, as in Kubernetes.
pub(super) fn allowance(deployment: &Deployment) -> Allowance {
    let total = wanted(deployment);
    if is_recreate(deployment) {
        return Allowance {
            max_surge: 0,
            max_unavailable: 0,
        };
    }
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy
        .and_then(|strategy| strategy.rolling_update.clone())
        .unwrap_or_default();
    let max_surge = resolve(rolling.max_surge.as_ref(), total, true);
    let mut max_unavailable = resolve(rolling.max_unavailable.as_ref(), total, false);
    if max_surge == 0 && max_unavailable == 0 {
        max_unavailable = 1;
    }
    Allowance {
        max_surge,
        max_unavailable: max_unavailable.min(total),
    }
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
}

/// Available pods, never more than the set still asks for: its status may be older than its scale.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
        .min(replicas(set))
}

pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// The new set, if there is one, and the old ones.
pub(super) type Split = (Option<Arc<ReplicaSet>>, Vec<Arc<ReplicaSet>>);

/// The set whose template is the Deployment's (the oldest, if several), and the others, oldest first.
pub(super) fn split(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Result<Split, serde_json::Error> {
    let mut sets = sets.to_vec();
    sets.sort_by(|a, b| {
        created(&a.metadata)
            .cmp(&created(&b.metadata))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    let Some(spec) = deployment.spec.as_ref() else {
        return Ok((None, sets));
    };
    let target = canonical_template(&spec.template)?;
    let mut new = None;
    let mut old = Vec::new();
    for set in sets {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        if new.is_none()
            && let Some(template) = template
            && canonical_template(template)? == target
        {
            new = Some(set);
        } else {
            old.push(set);
        }
    }
    Ok((new, old))
}

/// The annotations that every scaling writes.
pub(super) fn scale_annotations(deployment: &Deployment) -> Annotations {
    let desired = wanted(deployment);
    let most = desired.saturating_add(allowance(deployment).max_surge);
    Annotations::from([
        (DESIRED_REPLICAS.to_owned(), desired.to_string()),
        (MAX_REPLICAS.to_owned(), most.to_string()),
    ])
}

/// What the new set's annotations lack: the Deployment's own, the scale, and its revision, which only ever grows.
pub(super) fn new_set_annotations(
    deployment: &Deployment,
    set: &ReplicaSet,
    next_revision: i64,
) -> Annotations {
    let mut annotations: Annotations = deployment
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(name, _)| !NOT_COPIED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    annotations.extend(scale_annotations(deployment));
    let had = revision(&set.metadata);
    if had < next_revision {
        annotations.insert(REVISION.to_owned(), next_revision.to_string());
        if had > 0 {
            let history = annotation(&set.metadata, REVISION_HISTORY);
            let history = history.map_or_else(|| had.to_string(), |former| format!("{former},{had}"));
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    annotations.retain(|name, value| annotation(&set.metadata, name) != Some(value.as_str()));
    annotations
}

/// A new set for the Deployment's template.
pub(super) fn new_set(
    deployment: &Deployment,
    replicas: i32,
    next_revision: i64,
) -> Result<Option<ReplicaSet>, serde_json::Error> {
    let Some(spec) = deployment.spec.as_ref() else {
        return Ok(None);
    };
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count)
        .unwrap_or(0);
    let hash = template_hash(&spec.template, collisions)?;
    let mut template = spec.template.clone();
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut match_labels = spec.selector.match_labels.clone().unwrap_or_default();
    match_labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name_of(deployment))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector {
                match_labels: Some(match_labels),
                match_expressions: spec.selector.match_expressions.clone(),
            },
            template: Some(template),
        }),
        status: None,
    };
    set.metadata.annotations = Some(new_set_annotations(deployment, &set, next_revision));
    Ok(Some(set))
}
