//! The experiments that the agent watches.

use std::sync::Arc;

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Kind and plural.
const KINDS: [(&str, &str); 3] = [
    ("PodChaos", "podchaos"),
    ("StressChaos", "stresschaos"),
    ("TimeChaos", "timechaos"),
];

pub(super) struct Stores {
    stores: Vec<(&'static str, Store<DynamicObject>)>,
    /// Ends with the stores.
    _watches: JoinSet<()>,
}

impl Stores {
    /// Starts watching; `changed` is told of every change.
    pub fn start(client: &Client, changed: &Arc<Notify>) -> Self {
        let mut watches = JoinSet::new();
        let stores = KINDS.map(|(kind, _)| {
            let resource = resource(kind);
            let writer = Writer::new(resource.clone());
            let (store, changed) = (writer.as_reader(), changed.clone());
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let events = watcher(api, watcher::Config::default()).default_backoff();
            let events = reflector::reflector(writer, events);
            watches.spawn(events.for_each(move |event| {
                match event {
                    Ok(_) => changed.notify_one(),
                    // The watcher comes back by itself, with a growing pause.
                    Err(error) => tracing::debug!(%error, kind, "a watch broke off"),
                }
                std::future::ready(())
            }));
            (kind, store)
        });
        Self {
            stores: stores.into(),
            _watches: watches,
        }
    }

    /// Waits for the first complete view.
    pub async fn complete(&self) -> bool {
        for (_, store) in &self.stores {
            if store.wait_until_ready().await.is_err() {
                return false;
            }
        }
        true
    }

    /// Every experiment, with its kind.
    pub fn experiments(&self) -> Vec<(&'static str, Arc<DynamicObject>)> {
        let of = |(kind, store): &(&'static str, Store<DynamicObject>)| {
            let kind = *kind;
            store.state().into_iter().map(move |object| (kind, object))
        };
        self.stores.iter().flat_map(of).collect()
    }
}

pub(super) fn resource(kind: &str) -> ApiResource {
    let plural = KINDS.iter().find(|(known, _)| *known == kind);
    let gvk = GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", kind);
    ApiResource::from_gvk_with_plural(&gvk, plural.map_or("", |(_, plural)| plural))
}
