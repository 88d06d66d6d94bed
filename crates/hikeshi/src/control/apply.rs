//! Applies manifests as any tool would: server-side apply through the Kubernetes API.

use std::collections::HashMap;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Discovery, Scope};
use serde_json::Value;

use crate::failure::{Context, Failure};

/// The field manager under which control applies what it ships.
const MANAGER: &str = "hikeshi";

/// Applies objects through one client, looking every kind up in the API's own discovery.
pub struct Applier {
    client: kube::Client,
    kinds: HashMap<GroupVersionKind, (ApiResource, Scope)>,
}

impl Applier {
    pub async fn new(client: kube::Client) -> Result<Self, Failure> {
        let discovery = Discovery::new(client.clone())
            .run()
            .await
            .component("asking the API server which kinds it has")?;
        let kinds = discovery
            .groups()
            .flat_map(|group| {
                group
                    .versions()
                    .flat_map(|version| group.versioned_resources(version))
                    .collect::<Vec<_>>()
            })
            .map(|(resource, capabilities)| {
                let kind = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
                (kind, (resource, capabilities.scope))
            })
            .collect();
        Ok(Self { client, kinds })
    }

    /// Creates or updates `object`.
    pub async fn apply(&self, object: &Value) -> Result<(), Failure> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        let api = self.api_of(object)?;
        // A field that no kind has is a slip of whoever wrote the manifest.
        let params = PatchParams::apply(MANAGER).force().validation_strict();
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .component(format!("applying {kind} {name}"))?;
        Ok(())
    }

    fn api_of(&self, object: &Value) -> Result<Api<DynamicObject>, Failure> {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let Some((resource, scope)) = self.kinds.get(&GroupVersionKind::gvk(group, version, kind)) else {
            return Err(Failure::usage(format!(
                "no kind {kind} in {group}/{version} on this cluster"
            )));
        };
        Ok(match (scope, object["metadata"]["namespace"].as_str()) {
            (Scope::Cluster, _) => Api::all_with(self.client.clone(), resource),
            (Scope::Namespaced, Some(namespace)) => {
                Api::namespaced_with(self.client.clone(), namespace, resource)
            }
            (Scope::Namespaced, None) => Api::default_namespaced_with(self.client.clone(), resource),
        })
    }
}
