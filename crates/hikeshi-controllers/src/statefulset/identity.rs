//! Names, labels and volumes that stay with an ordinal.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};

use crate::object::{controller_reference, controller_uid, name_of};
use crate::pods::from_template;
use crate::revision::{REVISION_LABEL, template_of};
use crate::selector::matches;

/// The ordinal in a pod's name, if the name is one of this set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let text = name_of(pod).strip_prefix(name_of(set))?.strip_prefix('-')?;
    // "web-01" is not a name that this set would give.
    text.parse()
        .ok()
        .filter(|ordinal: &i32| ordinal.to_string() == text)
}

/// A pod without controller that fits by name and labels (left by `delete --cascade=orphan`).
pub(super) fn is_orphan_of(pod: &Pod, set: &StatefulSet) -> bool {
    let Some(spec) = set.spec.as_ref() else {
        return false;
    };
    controller_uid(&pod.metadata).is_none()
        && pod.metadata.deletion_timestamp.is_none()
        && ordinal(set, pod).is_some()
        && matches(&spec.selector, pod.metadata.labels.as_ref())
}

fn claim_name(template: &PersistentVolumeClaim, set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", name_of(template), name_of(set))
}

/// The claims of an ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let Some(spec) = set.spec.as_ref() else {
        return Vec::new();
    };
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let goes_with_set = policy.and_then(|policy| policy.when_deleted.as_deref()) == Some("Delete");
    spec.volume_claim_templates
        .iter()
        .flatten()
        .map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(claim_name(template, set, ordinal));
            claim.metadata.namespace = set.metadata.namespace.clone();
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
            if goes_with_set {
                claim.metadata.owner_references = Some(vec![controller_reference(set)]);
            }
            claim.status = None;
            claim
        })
        .collect()
}

/// The pod of an ordinal at a revision.
pub(super) fn pod(set: &StatefulSet, ordinal: i32, revision: &ControllerRevision) -> Pod {
    let spec = set.spec.clone().unwrap_or_default();
    let template: PodTemplateSpec = template_of(revision).unwrap_or(spec.template);
    let name = format!("{}-{ordinal}", name_of(set));
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = from_template(&template, namespace, name.clone(), controller_reference(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
    labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
    labels.insert(REVISION_LABEL.to_owned(), name_of(revision).to_owned());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name);
    pod_spec.subdomain = spec.service_name.filter(|name| !name.is_empty());
    let templates = spec.volume_claim_templates.unwrap_or_default();
    if !templates.is_empty() {
        let volumes = pod_spec.volumes.get_or_insert_default();
        volumes.retain(|volume| !templates.iter().any(|template| name_of(template) == volume.name));
        volumes.extend(templates.iter().map(|template| Volume {
            name: name_of(template).to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(template, set, ordinal),
                read_only: None,
            }),
            ..Volume::default()
        }));
    }
    pod
}
