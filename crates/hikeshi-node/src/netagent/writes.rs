//! Writes experiments' statuses beside the agent's loop: an API that hangs must not hold up what ends faults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use super::chaos::Kind;
use super::stores::resource;

/// How long one write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The writes under way, one an object.
#[derive(Default)]
pub(super) struct Writes {
    tasks: JoinSet<bool>,
    open: HashMap<Id, Open>,
}

struct Open {
    object: (Kind, String, String),
    /// Something else was to be written meanwhile.
    outdated: bool,
}

impl Writes {
    /// Begins to write a status. While one of the same object is under way it is only noted, for when that has ended.
    pub fn begin(&mut self, client: &Client, kind: Kind, object: &Arc<DynamicObject>, patch: Value) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let object = (kind, namespace.clone(), name.clone());
        if let Some(open) = self.open.values_mut().find(|open| open.object == object) {
            open.outdated = true;
            return;
        }
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource(kind));
        let task = self
            .tasks
            .spawn(async move { write(&api, &namespace, &name, &patch).await });
        let outdated = false;
        self.open.insert(task.id(), Open { object, outdated });
    }

    /// Waits for a write's end; whether its object needs another. Waits for ever when none is under way.
    pub async fn ended(&mut self) -> bool {
        let (id, written) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, written))) => (id, written),
            Some(Err(error)) => (error.id(), false),
            None => return std::future::pending().await,
        };
        let outdated = self.open.remove(&id).is_some_and(|open| open.outdated);
        outdated || !written
    }
}

/// Whether it need not be tried again. After a conflict the newer object comes by the watch anyway.
async fn write(api: &Api<DynamicObject>, namespace: &str, name: &str, patch: &Value) -> bool {
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    match timeout(PATIENCE, api.patch_status(name, &parameters, &patch)).await {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, namespace, name, "an experiment's status was not written");
            false
        }
        Err(_elapsed) => {
            tracing::warn!(
                namespace,
                name,
                "an experiment's status was not written: the API does not answer"
            );
            false
        }
    }
}
