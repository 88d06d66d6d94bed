//! The experiments that the agent watches.

use std::sync::Arc;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::Store;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::netagent::stores::follow;

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
            let api = Api::all_with(client.clone(), &resource);
            (kind, follow(&mut watches, api, resource, changed))
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
