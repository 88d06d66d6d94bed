//! ControllerRevisions: the history of a StatefulSet's or DaemonSet's pod template.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Resource;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use crate::object::{controller_reference, is_controlled_by, name_of};
use crate::runtime::{Context, Error};
use crate::template::{canonical_template, hash};

/// The label on pods that names the revision they were made from.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";

/// What to do so that the owner's present template has the newest revision.
#[derive(Debug)]
pub(crate) enum Step {
    /// It has: this is its revision.
    Current(Arc<ControllerRevision>),
    /// It was used before (`rollout undo`): this one, renumbered.
    Renumber(Box<ControllerRevision>),
    Create(Box<ControllerRevision>),
}

/// The template that a revision recorded.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let data = revision.data.as_ref()?;
    let mut template = data.0.pointer("/spec/template")?.clone();
    if let Value::Object(fields) = &mut template {
        fields.remove("$patch");
    }
    serde_json::from_value(template).ok()
}

/// `history` holds the owner's revisions.
pub(crate) fn plan<K: Resource<DynamicType = ()>>(
    owner: &K,
    template: &PodTemplateSpec,
    history: &[Arc<ControllerRevision>],
    collisions: i32,
) -> Result<Step, serde_json::Error> {
    let target = canonical_template(template)?;
    let newest = history
        .iter()
        .map(|revision| revision.revision)
        .max()
        .unwrap_or(0);
    let mut same: Vec<_> = Vec::new();
    for revision in history {
        if let Some(recorded) = template_of(revision)
            && canonical_template(&recorded)? == target
        {
            same.push(revision.clone());
        }
    }
    if let Some(found) = same.into_iter().max_by_key(|revision| revision.revision) {
        if found.revision == newest {
            return Ok(Step::Current(found));
        }
        let renumbered = ControllerRevision {
            revision: newest + 1,
            ..found.as_ref().clone()
        };
        return Ok(Step::Renumber(Box::new(renumbered)));
    }
    let mut recorded = serde_json::to_value(template)?;
    recorded["$patch"] = json!("replace");
    let hash = hash(&target, collisions);
    let mut labels = template
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    labels.insert("controller.kubernetes.io/hash".to_owned(), hash.clone());
    Ok(Step::Create(Box::new(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name_of(owner))),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone().map(|mut annotations| {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
                annotations
            }),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(json!({"spec": {"template": recorded}}))),
        revision: newest + 1,
    })))
}

/// The owner's revisions, oldest first.
pub(crate) fn history<K: Resource>(context: &Context, owner: &K) -> Vec<Arc<ControllerRevision>> {
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let mut found = context.tables.revisions.in_namespace(namespace);
    found.retain(|revision| is_controlled_by(&revision.metadata, owner.meta().uid.as_ref()));
    found.sort_by_key(|revision| revision.revision);
    found
}

/// Makes the present template the newest revision and returns it.
pub(crate) async fn sync<K: Resource<DynamicType = ()> + Sync>(
    context: &Context,
    owner: &K,
    template: &PodTemplateSpec,
    collisions: i32,
) -> Result<Arc<ControllerRevision>, Error> {
    match plan(owner, template, &history(context, owner), collisions)? {
        Step::Current(revision) => Ok(revision),
        Step::Renumber(revision) => Ok(Arc::new(context.replace(revision.as_ref()).await?)),
        Step::Create(revision) => Ok(Arc::new(context.create(revision.as_ref()).await?)),
    }
}

/// Deletes the oldest revisions that nothing in `live` names, beyond `limit`.
pub(crate) async fn truncate<K: Resource + Sync>(
    context: &Context,
    owner: &K,
    live: &[String],
    limit: Option<i32>,
) -> Result<(), Error> {
    let idle: Vec<_> = history(context, owner)
        .into_iter()
        .filter(|revision| !live.iter().any(|name| name == name_of(revision.as_ref())))
        .collect();
    let surplus = idle
        .len()
        .saturating_sub(usize::try_from(limit.unwrap_or(10)).unwrap_or(0));
    for revision in idle.iter().take(surplus) {
        context.delete(revision.as_ref(), None).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;

    use super::*;

    #[test]
    fn going_back_renumbers_the_old_revision() {
        let owner: StatefulSet =
            serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "db", "uid": "u"},
            "spec": {"selector": {}, "template": {}}}))
            .expect("a StatefulSet");
        let template = |image: &str| -> PodTemplateSpec {
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}}))
                .expect("a template")
        };
        let mut history = Vec::new();
        for image in ["a:1", "a:2"] {
            match plan(&owner, &template(image), &history, 0).expect("a plan") {
                Step::Create(revision) => history.push(Arc::new(*revision)),
                other => panic!("expected a new revision: {other:?}"),
            }
        }
        assert_eq!(history.iter().map(|r| r.revision).collect::<Vec<_>>(), [1, 2]);
        assert!(
            matches!(plan(&owner, &template("a:2"), &history, 0), Ok(Step::Current(r)) if r.revision == 2)
        );
        match plan(&owner, &template("a:1"), &history, 0).expect("a plan") {
            Step::Renumber(revision) => {
                assert_eq!(
                    (revision.revision, revision.metadata.name.clone()),
                    (3, history[0].metadata.name.clone())
                );
                assert_eq!(template_of(&revision), Some(template("a:1")));
            }
            other => panic!("expected the old revision: {other:?}"),
        }
    }
}
