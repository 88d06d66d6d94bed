//! Records core/v1 Events; the same event again raises the count of the first instead of making another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// The two types of Kubernetes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Object uid, reason and message.
type Sameness = (String, String, String);

/// How many recent events are remembered to be counted up.
const REMEMBERED: usize = 1024;

#[derive(Default)]
pub(crate) struct Recorder {
    /// Name and count of the event already in the API server.
    recent: Mutex<HashMap<Sameness, (String, i32)>>,
}

impl Recorder {
    pub(crate) async fn record(
        &self,
        client: &Client,
        source: &'static str,
        about: ObjectReference,
        kind: EventType,
        reason: &str,
        message: &str,
    ) {
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let same = (
            about.uid.clone().unwrap_or_default(),
            reason.to_owned(),
            message.to_owned(),
        );
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let now = Timestamp::now();
        if let Some((name, count)) = self.seen_again(&same) {
            let patch = json!({"count": count, "lastTimestamp": Time(now)});
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "the former event is gone; making another"),
            }
        }
        let name = format!(
            "{}.{:x}",
            about.name.as_deref().unwrap_or("unknown"),
            now.as_nanosecond()
        );
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: about,
            type_: Some(kind.as_str().to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            source: Some(EventSource {
                component: Some(source.to_owned()),
                host: None,
            }),
            reporting_component: Some(source.to_owned()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            ..Event::default()
        };
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                if recent.len() >= REMEMBERED {
                    recent.clear();
                }
                recent.insert(same, (name, 1));
            }
            Err(error) => tracing::debug!(%error, reason, message, "an event was not recorded"),
        }
    }

    fn seen_again(&self, same: &Sameness) -> Option<(String, i32)> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, count) = recent.get_mut(same)?;
        *count = count.saturating_add(1);
        Some((name.clone(), *count))
    }
}
