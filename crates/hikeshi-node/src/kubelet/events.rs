//! Events about pods, counted as Kubernetes counts them: the same words again raise a count.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;
use tokio::sync::mpsc;

/// More distinct events than this are forgotten (not deleted): they would count from one again.
const REMEMBERED: usize = 4096;

struct Note {
    pod: std::sync::Arc<Pod>,
    container: Option<String>,
    kind: &'static str,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events without waiting; a task writes them.
#[derive(Clone)]
pub struct Recorder {
    notes: mpsc::UnboundedSender<Note>,
}

impl Recorder {
    /// Starts the writing task; it ends with the last recorder.
    pub fn new(client: Client) -> Self {
        let (notes, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write(client, receiver));
        Self { notes }
    }

    fn note(
        &self,
        kind: &'static str,
        pod: &std::sync::Arc<Pod>,
        container: Option<&str>,
        reason: &'static str,
        message: String,
    ) {
        let note = Note {
            pod: pod.clone(),
            container: container.map(str::to_owned),
            kind,
            reason,
            message,
            at: Timestamp::now(),
        };
        // Closed only when the kubelet ends.
        let _ = self.notes.send(note);
    }

    pub fn normal(
        &self,
        pod: &std::sync::Arc<Pod>,
        container: Option<&str>,
        reason: &'static str,
        message: String,
    ) {
        self.note("Normal", pod, container, reason, message);
    }

    pub fn warning(
        &self,
        pod: &std::sync::Arc<Pod>,
        container: Option<&str>,
        reason: &'static str,
        message: String,
    ) {
        self.note("Warning", pod, container, reason, message);
    }
}

async fn write(client: Client, mut notes: mpsc::UnboundedReceiver<Note>) {
    let mut seen: HashMap<(String, String, String, String), (String, i32)> = HashMap::new();
    while let Some(note) = notes.recv().await {
        let metadata = &note.pod.metadata;
        let (namespace, name) = (
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        );
        let uid = metadata.uid.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let key = (
            uid.clone(),
            note.container.clone().unwrap_or_default(),
            note.reason.to_owned(),
            note.message.clone(),
        );
        let at = format!("{:.0}", note.at);
        if let Some((event, count)) = seen.get_mut(&key) {
            *count += 1;
            let patch = Patch::Merge(json!({"count": *count, "lastTimestamp": at}));
            match api.patch(event, &PatchParams::default(), &patch).await {
                Err(Error::Api(status)) if status.code == 404 => {
                    seen.remove(&key);
                }
                Err(error) => {
                    tracing::debug!(%error, "an event was not counted");
                    continue;
                }
                Ok(_) => continue,
            }
        }
        let node = note
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default();
        let field = note
            .container
            .as_ref()
            .map(|container| format!("spec.containers{{{container}}}"));
        let event_name = format!("{name}.{:x}", note.at.as_nanosecond());
        let event = serde_json::from_value::<Event>(json!({
            "metadata": {"name": event_name, "namespace": namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid, "fieldPath": field},
            "reason": note.reason, "message": note.message, "type": note.kind, "count": 1,
            "firstTimestamp": at, "lastTimestamp": at,
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet", "reportingInstance": node,
        }));
        let Ok(event) = event else { continue };
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if seen.len() >= REMEMBERED {
                    seen.clear();
                }
                seen.insert(key, (event_name, 1));
            }
            Err(error) => tracing::debug!(%error, reason = note.reason, "an event was not written"),
        }
    }
}
