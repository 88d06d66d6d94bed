//! The next step of a Deployment.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::rolling::{Size, new_set_target, old_set_targets, proportional};
use super::sets::{
    Annotations, DESIRED_REPLICAS, REVISION, allowance, available, is_recreate, new_set, new_set_annotations,
    replicas, revision, scale_annotations, split, wanted,
};
use crate::object::annotation;

/// What a Deployment's plan is made from.
pub(super) struct Observed {
    pub deployment: Arc<Deployment>,
    /// The ReplicaSets it controls.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// The uids of those sets that still have pods that run (or are being stopped).
    pub pod_owners: HashSet<String>,
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug)]
pub(super) enum Action {
    Create(Box<ReplicaSet>),
    Scale {
        set: Arc<ReplicaSet>,
        replicas: i32,
        annotations: Annotations,
    },
    Delete(Arc<ReplicaSet>),
    /// Annotations for the Deployment itself.
    Annotate(Annotations),
}

fn size(set: &ReplicaSet) -> Size {
    Size {
        replicas: replicas(set),
        available: available(set),
    }
}

/// The actions of the next step; none when there is nothing to do until something changes.
pub(super) fn plan(observed: &Observed) -> Result<Vec<Action>, serde_json::Error> {
    let deployment = observed.deployment.as_ref();
    let Some(spec) = deployment.spec.as_ref() else {
        return Ok(Vec::new());
    };
    if deployment.metadata.deletion_timestamp.is_some() {
        return Ok(Vec::new());
    }
    let (new, old) = split(deployment, &observed.sets)?;
    let next_revision = old.iter().map(|set| revision(&set.metadata)).max().unwrap_or(0) + 1;
    let paused = spec.paused == Some(true);

    // Keep the revision book first: `rollout history` and `rollout undo` read it.
    if let Some(set) = &new {
        let annotations = new_set_annotations(deployment, set, next_revision);
        let touch_up = !paused
            && annotations
                .keys()
                .any(|name| name != DESIRED_REPLICAS && !name.ends_with("max-replicas"));
        if touch_up {
            let annotations = annotations
                .into_iter()
                .filter(|(name, _)| name != DESIRED_REPLICAS && !name.ends_with("max-replicas"))
                .collect();
            return Ok(vec![Action::Scale {
                set: set.clone(),
                replicas: replicas(set),
                annotations,
            }]);
        }
        let current = revision(&set.metadata).to_string();
        if annotation(&deployment.metadata, REVISION) != Some(&current) && !paused {
            return Ok(vec![Action::Annotate(Annotations::from([(
                REVISION.to_owned(),
                current,
            )]))]);
        }
    }
    let scaled = rescale(deployment, new.as_ref(), &old, paused);
    if !scaled.is_empty() || paused {
        return Ok(scaled);
    }
    let actions = if is_recreate(deployment) {
        recreate(observed, new.as_ref(), &old, next_revision)?
    } else {
        roll(deployment, new.as_ref(), &old, next_revision)?
    };
    if !actions.is_empty() {
        return Ok(actions);
    }
    Ok(clean_up(deployment, new.as_ref(), &old))
}

fn scale(deployment: &Deployment, set: &Arc<ReplicaSet>, target: i32) -> Option<Action> {
    let mut annotations = scale_annotations(deployment);
    annotations.retain(|name, value| annotation(&set.metadata, name) != Some(value.as_str()));
    (replicas(set) != target || !annotations.is_empty()).then(|| Action::Scale {
        set: set.clone(),
        replicas: target,
        annotations,
    })
}

/// Follows a change of `spec.replicas` when no rollout does it, or in the middle of one, in proportion.
fn rescale(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
    paused: bool,
) -> Vec<Action> {
    let desired = wanted(deployment);
    let active: Vec<_> = old.iter().chain(new).filter(|set| replicas(set) > 0).collect();
    let changed = active.iter().any(|set| {
        annotation(&set.metadata, DESIRED_REPLICAS)
            .and_then(|text| text.parse::<i32>().ok())
            .is_some_and(|before| before != desired)
    });
    if !changed && !paused {
        return Vec::new();
    }
    match active.as_slice() {
        // Nothing runs: the rollout brings up the new set; a paused Deployment its latest.
        [] if paused => new
            .or(old.last())
            .and_then(|set| scale(deployment, set, desired))
            .into_iter()
            .collect(),
        [] => Vec::new(),
        [only] => scale(deployment, only, desired).into_iter().collect(),
        _ if changed && !is_recreate(deployment) => {
            let allowed = if desired > 0 {
                desired + allowance(deployment).max_surge
            } else {
                0
            };
            let sizes: Vec<i32> = active.iter().map(|set| replicas(set)).collect();
            let targets = proportional(&sizes, allowed);
            active
                .iter()
                .zip(targets)
                .filter_map(|(set, target)| scale(deployment, set, target))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn roll(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
    next_revision: i64,
) -> Result<Vec<Action>, serde_json::Error> {
    let (desired, allowance) = (wanted(deployment), allowance(deployment));
    let sizes: Vec<Size> = old.iter().map(|set| size(set)).collect();
    let have = new.map_or(0, |set| replicas(set));
    let target = new_set_target(desired, have, &sizes, allowance);
    let Some(new) = new else {
        return Ok(create(deployment, target, next_revision)?.into_iter().collect());
    };
    if let Some(action) = scale(deployment, new, target) {
        return Ok(vec![action]);
    }
    let targets = old_set_targets(desired, size(new), &sizes, allowance);
    Ok(old
        .iter()
        .zip(targets)
        .filter(|(set, target)| replicas(set) != *target)
        .filter_map(|(set, target)| scale(deployment, set, target))
        .collect())
}

fn recreate(
    observed: &Observed,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
    next_revision: i64,
) -> Result<Vec<Action>, serde_json::Error> {
    let deployment = observed.deployment.as_ref();
    let shrink: Vec<_> = old
        .iter()
        .filter(|set| replicas(set) > 0)
        .filter_map(|set| scale(deployment, set, 0))
        .collect();
    if !shrink.is_empty() {
        return Ok(shrink);
    }
    if old.iter().any(|set| {
        set.metadata
            .uid
            .as_ref()
            .is_some_and(|uid| observed.pod_owners.contains(uid))
    }) {
        return Ok(Vec::new());
    }
    Ok(match new {
        None => create(deployment, wanted(deployment), next_revision)?
            .into_iter()
            .collect(),
        Some(set) => scale(deployment, set, wanted(deployment)).into_iter().collect(),
    })
}

fn create(
    deployment: &Deployment,
    replicas: i32,
    next_revision: i64,
) -> Result<Option<Action>, serde_json::Error> {
    Ok(new_set(deployment, replicas, next_revision)?.map(|set| Action::Create(Box::new(set))))
}

/// Old sets beyond `revisionHistoryLimit` go, once the rollout is over.
fn clean_up(deployment: &Deployment, new: Option<&Arc<ReplicaSet>>, old: &[Arc<ReplicaSet>]) -> Vec<Action> {
    let desired = wanted(deployment);
    if new.is_none_or(|set| available(set) < desired) {
        return Vec::new();
    }
    let limit = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit)
        .unwrap_or(10);
    let mut idle: Vec<_> = old
        .iter()
        .filter(|set| replicas(set) == 0 && set.status.as_ref().is_none_or(|status| status.replicas == 0))
        .filter(|set| set.metadata.deletion_timestamp.is_none())
        .collect();
    idle.sort_by_key(|set| revision(&set.metadata));
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    idle.into_iter()
        .take(surplus)
        .map(|set| Action::Delete(set.clone()))
        .collect()
}
