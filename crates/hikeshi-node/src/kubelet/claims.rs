//! Persistent volume claims: every claim is a folder of this machine, bound when a pod first wants it.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::Kubelet;
use super::step::one_step;
use super::volumes::VolumeError;

impl Kubelet {
    /// Marks the claims of a pod Bound.
    pub(super) async fn bind_claims(&self, pod: &Pod) -> Result<(), VolumeError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let Some(claim) = &volume.persistent_volume_claim else {
                continue;
            };
            let failed = |reason: String| VolumeError::NotReady {
                volume: volume.name.clone(),
                reason,
            };
            let name = one_step(&claim.claim_name).map_err(|error| failed(error.to_string()))?;
            let found = api
                .get_opt(name)
                .await
                .map_err(|error| failed(error.to_string()))?;
            let Some(object) = found else {
                return Err(failed(format!("persistentvolumeclaim {name:?} not found")));
            };
            if object.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
                continue;
            }
            let spec = object.spec.as_ref();
            let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            let capacity = requests
                .and_then(|requests| requests.get("storage"))
                .map_or("1Gi", |size| size.0.as_str());
            let status = json!({
                "phase": "Bound", "capacity": {"storage": capacity},
                "accessModes": spec.and_then(|spec| spec.access_modes.clone()),
            });
            let volume_name = format!("pvc-{}", object.metadata.uid.as_deref().unwrap_or_default());
            let parameters = PatchParams::default();
            // The data lies on this pod's node from now on: the scheduler sends later pods here.
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let annotations = json!({"volume.kubernetes.io/selected-node": node});
            let spec = Patch::Merge(
                json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume_name}}),
            );
            api.patch(name, &parameters, &spec)
                .await
                .map_err(|error| failed(error.to_string()))?;
            let status = Patch::Merge(json!({"status": status}));
            api.patch_status(name, &parameters, &status)
                .await
                .map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }
}
