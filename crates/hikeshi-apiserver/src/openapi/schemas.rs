//! The schemas of the kinds that are Kubernetes' own, from its published types: what `kubectl explain` reads.

use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling, batch::v1 as batch,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
    networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

use crate::registry::Resource;

/// The schemas of one document: a kind's own and all it refers to, each once.
pub(super) struct Schemas(SchemaGenerator);

impl Schemas {
    pub fn new() -> Schemas {
        let settings = SchemaSettings::openapi3().with(|settings| {
            // Optional fields are simply not required, as in Kubernetes' own document.
            settings.transforms.clear();
        });
        Schemas(settings.into_generator())
    }

    /// Adds a kind's schema; its name. `None`: not a kind whose types are known.
    pub fn add(&mut self, resource: &Resource) -> Option<String> {
        let reference = refer(resource, &mut self.0)?;
        let path = reference.get("$ref")?.as_str()?;
        Some(path.rsplit('/').next()?.to_owned())
    }

    /// All that were added, by name.
    pub fn into_map(mut self) -> Map<String, Value> {
        self.0.take_definitions(true)
    }
}

/// One line per kind.
fn refer(resource: &Resource, to: &mut SchemaGenerator) -> Option<schemars::Schema> {
    Some(match (&*resource.group, &*resource.kind) {
        ("", "ConfigMap") => to.subschema_for::<core::ConfigMap>(),
        ("", "Endpoints") => to.subschema_for::<core::Endpoints>(),
        ("", "Event") => to.subschema_for::<core::Event>(),
        ("", "LimitRange") => to.subschema_for::<core::LimitRange>(),
        ("", "Namespace") => to.subschema_for::<core::Namespace>(),
        ("", "Node") => to.subschema_for::<core::Node>(),
        ("", "PersistentVolume") => to.subschema_for::<core::PersistentVolume>(),
        ("", "PersistentVolumeClaim") => to.subschema_for::<core::PersistentVolumeClaim>(),
        ("", "Pod") => to.subschema_for::<core::Pod>(),
        ("", "ResourceQuota") => to.subschema_for::<core::ResourceQuota>(),
        ("", "Secret") => to.subschema_for::<core::Secret>(),
        ("", "Service") => to.subschema_for::<core::Service>(),
        ("", "ServiceAccount") => to.subschema_for::<core::ServiceAccount>(),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            to.subschema_for::<apiextensions::CustomResourceDefinition>()
        }
        ("apps", "ControllerRevision") => to.subschema_for::<apps::ControllerRevision>(),
        ("apps", "DaemonSet") => to.subschema_for::<apps::DaemonSet>(),
        ("apps", "Deployment") => to.subschema_for::<apps::Deployment>(),
        ("apps", "ReplicaSet") => to.subschema_for::<apps::ReplicaSet>(),
        ("apps", "StatefulSet") => to.subschema_for::<apps::StatefulSet>(),
        ("autoscaling", "HorizontalPodAutoscaler") if resource.version == "v1" => {
            to.subschema_for::<autoscaling_v1::HorizontalPodAutoscaler>()
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            to.subschema_for::<autoscaling::HorizontalPodAutoscaler>()
        }
        ("batch", "CronJob") => to.subschema_for::<batch::CronJob>(),
        ("batch", "Job") => to.subschema_for::<batch::Job>(),
        ("coordination.k8s.io", "Lease") => to.subschema_for::<coordination::Lease>(),
        ("discovery.k8s.io", "EndpointSlice") => to.subschema_for::<discovery::EndpointSlice>(),
        ("networking.k8s.io", "Ingress") => to.subschema_for::<networking::Ingress>(),
        ("networking.k8s.io", "IngressClass") => to.subschema_for::<networking::IngressClass>(),
        ("networking.k8s.io", "NetworkPolicy") => to.subschema_for::<networking::NetworkPolicy>(),
        ("policy", "PodDisruptionBudget") => to.subschema_for::<policy::PodDisruptionBudget>(),
        ("rbac.authorization.k8s.io", "ClusterRole") => to.subschema_for::<rbac::ClusterRole>(),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => to.subschema_for::<rbac::ClusterRoleBinding>(),
        ("rbac.authorization.k8s.io", "Role") => to.subschema_for::<rbac::Role>(),
        ("rbac.authorization.k8s.io", "RoleBinding") => to.subschema_for::<rbac::RoleBinding>(),
        ("scheduling.k8s.io", "PriorityClass") => to.subschema_for::<scheduling::PriorityClass>(),
        ("storage.k8s.io", "StorageClass") => to.subschema_for::<storage::StorageClass>(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::find;

    #[test]
    fn a_deployments_fields_are_described_down_to_the_last() {
        let mut schemas = Schemas::new();
        let name = schemas.add(&find("apps", "v1", "deployments").unwrap()).unwrap();
        let schemas = schemas.into_map();
        assert_eq!(name, "io.k8s.api.apps.v1.Deployment");
        let strategy = &schemas["io.k8s.api.apps.v1.RollingUpdateDeployment"]["properties"]["maxSurge"];
        assert!(
            strategy["description"]
                .as_str()
                .unwrap()
                .contains("above the desired number")
        );
        let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
        assert_eq!(
            spec["$ref"],
            "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"
        );
    }

    #[test]
    fn each_version_has_its_own_fields() {
        let mut schemas = Schemas::new();
        let name = |version: &str| find("autoscaling", version, "horizontalpodautoscalers").unwrap();
        let (old, new) = (
            schemas.add(&name("v1")).unwrap(),
            schemas.add(&name("v2")).unwrap(),
        );
        assert_ne!(old, new);
        let spec = &schemas.into_map()["io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerSpec"];
        assert!(spec["properties"]["targetCPUUtilizationPercentage"].is_object());
    }

    #[test]
    fn every_kind_that_kubectl_has_built_in_and_that_is_stored_has_one() {
        let missing: Vec<String> = crate::registry::built_in()
            .iter()
            .filter(|r| r.built_in && r.backing == crate::registry::Backing::Store)
            // Served in another version of a kind that is in the list.
            .filter(|r| r.group != "events.k8s.io")
            .filter(|r| Schemas::new().add(r).is_none())
            .map(|r| r.key())
            .collect();
        assert_eq!(missing, Vec::<String>::new());
    }
}
