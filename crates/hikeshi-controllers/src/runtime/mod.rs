//! What every reconciler stands on: caches fed by watches, work queues, writes that go through the caches, events.

mod context;
mod events;
mod manager;
mod queue;
mod table;
mod tables;

pub(crate) use context::Context;
pub(crate) use events::EventType;
pub(crate) use manager::{Manager, Reconciler, Wiring};
pub(crate) use queue::Queue;
pub(crate) use table::Table;
pub(crate) use tables::{Metadata, Tables, chaos_api_resource};

use std::time::Duration;

/// Namespace and name of an object; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub(crate) fn of<K: kube::Resource>(object: &K) -> Self {
        Self::of_meta(object.meta())
    }

    pub(crate) fn of_meta(meta: &kube::api::ObjectMeta) -> Self {
        Self::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why one reconciliation failed; it is retried with backoff.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("serialising an object: {0}")]
    Serialise(#[from] serde_json::Error),
}

impl Error {
    /// Somebody else wrote first: retry at once from fresh state.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(kube::Error::Api(status)) if status.code == 409)
    }
}

/// When to look at the object again, if nothing changes before.
pub(crate) type Outcome = Result<Option<Duration>, Error>;
