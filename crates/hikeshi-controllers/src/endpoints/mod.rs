//! Endpoints: which pods stand behind a Service, as an EndpointSlice and as the older Endpoints object.

mod plan;

use k8s_openapi::api::core::v1::{Endpoints as CoreEndpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::object::{is_controlled_by, name_of};
use crate::runtime::{Context, Key, Outcome, Reconciler, Wiring};

pub(crate) struct Endpoints;

impl Reconciler for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn wire(&self, wiring: &mut Wiring<'_>) {
        wiring.own::<Service>();
        wiring.mapped::<Pod>(|tables, pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            tables
                .services
                .in_namespace(namespace)
                .iter()
                .filter(|service| plan::selects(service, pod))
                .map(|service| Key::of(service.as_ref()))
                .collect()
        });
        wiring.owned::<EndpointSlice>("Service");
        wiring.custom(|tables, _| {
            vec![
                tables.endpoint_slices.synced(),
                tables.endpoints.synced(),
                tables.nodes.synced(),
            ]
        });
    }

    async fn reconcile(&self, context: &Context, key: &Key) -> Outcome {
        let tables = &context.tables;
        let Some(service) = tables
            .services
            .get(key)
            .filter(|s| s.metadata.deletion_timestamp.is_none())
        else {
            // The slice is owned by the Service and is collected with it; Endpoints carry no owner.
            if let Some(endpoints) = tables.endpoints.get(key) {
                context.delete(endpoints.as_ref(), None).await?;
            }
            return Ok(None);
        };
        if !plan::has_selector(&service) {
            return Ok(None);
        }
        let pods = tables.pods.in_namespace(&key.namespace);
        let zone = |node: &str| {
            let node = tables.nodes.get(&Key::new("", node))?;
            node.metadata
                .labels
                .as_ref()?
                .get("topology.kubernetes.io/zone")
                .cloned()
        };
        let mine = tables
            .endpoint_slices
            .in_namespace(&key.namespace)
            .into_iter()
            .filter(|slice| {
                is_controlled_by(&slice.metadata, service.metadata.uid.as_ref())
                    && slice.metadata.deletion_timestamp.is_none()
            });
        let mut mine: Vec<_> = mine.collect();
        // One slice per distinct set of port numbers, as a named targetPort may differ from pod to pod.
        for wanted in plan::slices(&service, &pods, zone) {
            let at = mine
                .iter()
                .position(|slice| slice.metadata.name == wanted.metadata.name);
            match at.map(|at| mine.swap_remove(at)) {
                None => {
                    context.create::<EndpointSlice>(&wanted).await?;
                }
                Some(found) if plan::same_slice(&found, &wanted) => {}
                Some(found) => {
                    let mut changed = wanted;
                    changed.metadata.resource_version = found.metadata.resource_version.clone();
                    context.replace::<EndpointSlice>(&changed).await?;
                }
            }
        }
        for surplus in mine {
            context.delete(surplus.as_ref(), None).await?;
        }
        let wanted = plan::endpoints(&service, &pods);
        match tables.endpoints.get(key) {
            None => {
                context.create::<CoreEndpoints>(&wanted).await?;
            }
            Some(found)
                if found.subsets.as_deref().unwrap_or(&[]) == wanted.subsets.as_deref().unwrap_or(&[]) => {}
            Some(found) => {
                tracing::trace!(service = name_of(service.as_ref()), "endpoints changed");
                let mut changed = wanted;
                changed.metadata.resource_version = found.metadata.resource_version.clone();
                context.replace::<CoreEndpoints>(&changed).await?;
            }
        }
        Ok(None)
    }
}
