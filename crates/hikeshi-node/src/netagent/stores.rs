//! What the agent watches, kept up to date.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::chaos::Kind;

pub(super) struct Stores {
    pub pods: Store<Pod>,
    pub services: Store<Service>,
    pub slices: Store<EndpointSlice>,
    pub ingresses: Store<Ingress>,
    http: Store<DynamicObject>,
    network: Store<DynamicObject>,
    /// Ends with the stores.
    _watches: JoinSet<()>,
}

impl Stores {
    /// Starts watching; `changed` is told of every change.
    pub fn start(client: &Client, changed: &Arc<Notify>) -> Self {
        let mut watches = JoinSet::new();
        let chaos = |kind| (resource(kind), Api::all_with(client.clone(), &resource(kind)));
        let ((http_type, http), (network_type, network)) = (chaos(Kind::Http), chaos(Kind::Network));
        Self {
            pods: follow(&mut watches, Api::all(client.clone()), (), changed),
            services: follow(&mut watches, Api::all(client.clone()), (), changed),
            slices: follow(&mut watches, Api::all(client.clone()), (), changed),
            ingresses: follow(&mut watches, Api::all(client.clone()), (), changed),
            http: follow(&mut watches, http, http_type, changed),
            network: follow(&mut watches, network, network_type, changed),
            _watches: watches,
        }
    }

    /// Waits for the first complete view of everything: half a view would cut pods off.
    pub async fn complete(&self) -> bool {
        let complete = tokio::join!(
            self.pods.wait_until_ready(),
            self.services.wait_until_ready(),
            self.slices.wait_until_ready(),
            self.http.wait_until_ready(),
            self.network.wait_until_ready(),
            self.ingresses.wait_until_ready(),
        );
        complete.0.is_ok()
            && complete.1.is_ok()
            && complete.2.is_ok()
            && complete.3.is_ok()
            && complete.4.is_ok()
            && complete.5.is_ok()
    }

    /// Every experiment on the network, in a stable order.
    pub fn experiments(&self) -> Vec<(Kind, Arc<DynamicObject>)> {
        let of =
            |kind, store: &Store<DynamicObject>| store.state().into_iter().map(move |object| (kind, object));
        let mut all: Vec<_> = of(Kind::Http, &self.http)
            .chain(of(Kind::Network, &self.network))
            .collect();
        // The oldest first: rules apply in the order they were made.
        all.sort_by_key(|(kind, object)| {
            let meta = &object.metadata;
            let made = meta.creation_timestamp.as_ref().map(|time| time.0);
            (made, *kind, meta.namespace.clone(), meta.name.clone())
        });
        all
    }
}

pub(super) fn resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", kind.name());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

/// Keeps a store of what `api` has, by a watch among `watches`; `changed` is told of every change.
pub(crate) fn follow<K>(
    watches: &mut JoinSet<()>,
    api: Api<K>,
    resource: K::DynamicType,
    changed: &Arc<Notify>,
) -> Store<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let writer = Writer::new(resource);
    let (store, changed) = (writer.as_reader(), changed.clone());
    let events = reflector::reflector(writer, watcher(api, watcher::Config::default()).default_backoff());
    watches.spawn(events.for_each(move |event| {
        match event {
            Ok(_) => changed.notify_one(),
            // The watcher comes back by itself, with a growing pause.
            Err(error) => tracing::debug!(%error, "a watch broke off"),
        }
        std::future::ready(())
    }));
    store
}
