//! The garbage collector: deletes what has lost its last owner, and carries out foreground and orphaning deletion.

use std::collections::HashSet;
use std::sync::Mutex;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::runtime::{
    Context, Error, Key, Metadata, Outcome, Reconciler, Tables, Wiring, chaos_api_resource,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Keys of this reconciler carry the kind in front of the namespace: `Pod/chirpy`.
fn key(kind: &str, meta: &ObjectMeta) -> Key {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    Key::new(
        format!("{kind}/{namespace}"),
        meta.name.clone().unwrap_or_default(),
    )
}

/// What is to be done about one object.
#[derive(Debug, PartialEq)]
enum Verdict {
    Keep,
    /// Every owner is gone.
    Delete,
    /// Some owners are gone: keep only these references.
    Trim(Vec<OwnerReference>),
}

fn verdict(owners: &[OwnerReference], is_gone: impl Fn(&OwnerReference) -> bool) -> Verdict {
    let (gone, left): (Vec<_>, Vec<_>) = owners.iter().cloned().partition(|owner| is_gone(owner));
    match (gone.is_empty(), left.is_empty()) {
        (true, _) => Verdict::Keep,
        (false, true) => Verdict::Delete,
        (false, false) => Verdict::Trim(left),
    }
}

#[derive(Default)]
pub(crate) struct GarbageCollector {
    /// UIDs of owners that the API server said do not exist.
    absent: Mutex<HashSet<String>>,
}

fn has_owner(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|owner| owner.uid == uid)
}

fn finalizing(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|name| name == finalizer)
}

impl Reconciler for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.custom(|tables, queue| {
            let queue = queue.clone();
            tables.listen_metadata(move |tables, kind, old, new| match new {
                Some(meta) => {
                    let owners_changed = old.is_none_or(|old| old.owner_references != meta.owner_references);
                    let owned = meta
                        .owner_references
                        .as_ref()
                        .is_some_and(|owners| !owners.is_empty());
                    if owned && owners_changed || finalizing(meta, FOREGROUND) || finalizing(meta, ORPHAN) {
                        queue.add(key(kind, meta));
                    }
                }
                None => {
                    let Some(old) = old else { return };
                    let uid = old.uid.as_deref().unwrap_or_default();
                    let foreground = |owner: &OwnerReference| {
                        let owner_key =
                            Key::new(old.namespace.clone().unwrap_or_default(), owner.name.clone());
                        tables
                            .find(&owner.kind, &owner_key)
                            .filter(|found| finalizing(&found.meta, FOREGROUND))
                    };
                    for owner in old.owner_references.iter().flatten() {
                        if let Some(found) = foreground(owner) {
                            queue.add(key(&owner.kind, &found.meta));
                        }
                    }
                    for dependent in tables
                        .metadata()
                        .iter()
                        .filter(|found| has_owner(&found.meta, uid))
                    {
                        queue.add(key(&dependent.resource.kind, &dependent.meta));
                    }
                }
            })
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let Some((kind, namespace)) = key.namespace.split_once('/') else {
            return Ok(None);
        };
        let Some(object) = context.tables.find(kind, &Key::new(namespace, &key.name)) else {
            return Ok(None);
        };
        if finalizing(&object.meta, ORPHAN) {
            for dependent in dependents(&context.tables, &object) {
                let owners = dependent.meta.owner_references.iter().flatten();
                let left: Vec<_> = owners
                    .filter(|owner| Some(&owner.uid) != object.meta.uid.as_ref())
                    .cloned()
                    .collect();
                trim(context, &dependent, &left).await?;
            }
            return remove_finalizer(context, &object, ORPHAN).await;
        }
        if finalizing(&object.meta, FOREGROUND) {
            let blocking = dependents(&context.tables, &object);
            let owners = owners(&context.tables);
            for dependent in blocking
                .iter()
                .filter(|found| found.meta.deletion_timestamp.is_none())
            {
                // What owns nothing has nothing to wait for.
                let uid = dependent.meta.uid.as_deref().unwrap_or_default();
                let params = if owners.contains(uid) {
                    DeleteParams::foreground()
                } else {
                    DeleteParams::background()
                };
                delete(context, dependent, params).await?;
            }
            if blocking.is_empty() {
                return remove_finalizer(context, &object, FOREGROUND).await;
            }
            return Ok(None);
        }
        let owners = object.meta.owner_references.clone().unwrap_or_default();
        for owner in &owners {
            self.look_up(context, namespace, owner).await?;
        }
        let gone =
            |owner: &OwnerReference| self.absent.lock().is_ok_and(|absent| absent.contains(&owner.uid));
        match verdict(&owners, gone) {
            Verdict::Keep => {}
            Verdict::Trim(left) => trim(context, &object, &left).await?,
            Verdict::Delete if object.meta.deletion_timestamp.is_some() => {}
            Verdict::Delete => delete(context, &object, DeleteParams::background()).await?,
        }
        Ok(None)
    }
}

impl GarbageCollector {
    /// Asks the caches, then the API server, whether an owner exists, and remembers those that do not.
    async fn look_up(&self, context: &Context, namespace: &str, owner: &OwnerReference) -> Result<(), Error> {
        if self.absent.lock().is_ok_and(|absent| absent.contains(&owner.uid)) {
            return Ok(());
        }
        for namespace in [namespace, ""] {
            let cached = context
                .tables
                .find(&owner.kind, &Key::new(namespace, &owner.name));
            if cached.is_some_and(|found| found.meta.uid.as_deref() == Some(owner.uid.as_str())) {
                return Ok(());
            }
        }
        // A cache may lag, and not every kind is cached: nothing is deleted on its word alone.
        let (group, version) = owner
            .api_version
            .split_once('/')
            .unwrap_or(("", owner.api_version.as_str()));
        let resource = resource_of(&GroupVersionKind::gvk(group, version, &owner.kind));
        let api: Api<DynamicObject> = if cluster_scoped(&owner.kind) {
            Api::all_with(context.client.clone(), &resource)
        } else {
            Api::namespaced_with(context.client.clone(), namespace, &resource)
        };
        let found = api.get_opt(&owner.name).await?;
        if found.is_none_or(|found| found.metadata.uid.as_deref() != Some(owner.uid.as_str()))
            && let Ok(mut absent) = self.absent.lock()
        {
            // Uids are never used twice, so forgetting some only costs another question.
            if absent.len() >= 4096 {
                absent.clear();
            }
            absent.insert(owner.uid.clone());
        }
        Ok(())
    }
}

fn cluster_scoped(kind: &str) -> bool {
    matches!(
        kind,
        "Node" | "Namespace" | "PersistentVolume" | "ClusterRole" | "ClusterRoleBinding" | "StorageClass"
    )
}

fn resource_of(gvk: &GroupVersionKind) -> ApiResource {
    match gvk.kind.as_str() {
        // Some of Chaos Mesh's plurals are its singulars.
        kind if gvk.group == "chaos-mesh.org" => chaos_api_resource(kind),
        _ => ApiResource::from_gvk(gvk),
    }
}

fn dependents(tables: &Tables, object: &Metadata) -> Vec<Metadata> {
    let uid = object.meta.uid.as_deref().unwrap_or_default();
    let mut found = tables.metadata();
    found.retain(|candidate| has_owner(&candidate.meta, uid));
    found
}

/// The uids of all that own something.
fn owners(tables: &Tables) -> HashSet<String> {
    let all = tables.metadata();
    let references = all
        .iter()
        .flat_map(|found| found.meta.owner_references.iter().flatten());
    references.map(|owner| owner.uid.clone()).collect()
}

fn api(context: &Context, object: &Metadata) -> Api<DynamicObject> {
    match object.meta.namespace.as_deref() {
        Some(namespace) => Api::namespaced_with(context.client.clone(), namespace, &object.resource),
        None => Api::all_with(context.client.clone(), &object.resource),
    }
}

/// A write that finds the object gone has nothing left to do.
fn unless_gone<T>(result: kube::Result<T>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn delete(context: &Context, object: &Metadata, params: DeleteParams) -> Result<(), Error> {
    let name = object.meta.name.as_deref().unwrap_or_default();
    let preconditions = Preconditions {
        uid: object.meta.uid.clone(),
        resource_version: None,
    };
    let params = DeleteParams {
        preconditions: Some(preconditions),
        ..params
    };
    tracing::debug!(kind = %object.resource.kind, name, "collecting: its owner is gone");
    unless_gone(api(context, object).delete(name, &params).await)
}

async fn trim(context: &Context, object: &Metadata, left: &[OwnerReference]) -> Result<(), Error> {
    let name = object.meta.name.as_deref().unwrap_or_default();
    let patch = json!({"metadata": {"uid": object.meta.uid, "ownerReferences": left}});
    unless_gone(
        api(context, object)
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )
}

async fn remove_finalizer(context: &Context, object: &Metadata, finalizer: &str) -> Outcome {
    let name = object.meta.name.as_deref().unwrap_or_default();
    let left: Vec<_> = object
        .meta
        .finalizers
        .iter()
        .flatten()
        .filter(|f| *f != finalizer)
        .collect();
    let patch = json!({"metadata": {"resourceVersion": object.meta.resource_version, "finalizers": left}});
    unless_gone(
        api(context, object)
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await,
    )?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference {
            uid: uid.to_owned(),
            name: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    #[test]
    fn only_the_loss_of_the_last_owner_deletes() {
        let gone = |owner: &OwnerReference| owner.uid.starts_with("gone");
        assert_eq!(verdict(&[], gone), Verdict::Keep);
        assert_eq!(verdict(&[owner("here")], gone), Verdict::Keep);
        assert_eq!(
            verdict(&[owner("gone-1"), owner("gone-2")], gone),
            Verdict::Delete
        );
        assert_eq!(
            verdict(&[owner("gone-1"), owner("here")], gone),
            Verdict::Trim(vec![owner("here")])
        );
    }

    #[test]
    fn plurals() {
        let plural = |group: &str, kind: &str| resource_of(&GroupVersionKind::gvk(group, "v1", kind)).plural;
        assert_eq!(plural("chaos-mesh.org", "NetworkChaos"), "networkchaos");
        assert_eq!(plural("apps", "ReplicaSet"), "replicasets");
    }
}
