//! The pod's status, as the API hears of it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::worker::Worker;
use super::{pods, sandbox, status};

impl Worker {
    /// Writes the status if it has changed. `false`: to be tried again.
    pub(super) async fn write_status(&mut self, phase: &str) -> bool {
        let entry =
            |container: &Container| status::container(&self.uid, container, self.runs.get(&container.name));
        let statuses = (
            pods::init_containers(&self.pod).iter().map(entry).collect(),
            pods::containers(&self.pod).iter().map(entry).collect(),
        );
        let record = sandbox::SandboxRecord::read(&self.dir);
        let address = record
            .as_ref()
            .map(|record| (record.ip.to_string(), record.started_at));
        let sandbox = address.as_ref().map(|(ip, since)| (ip.as_str(), *since));
        let mut made = status::pod(&self.pod, statuses, phase, sandbox, Timestamp::now());
        self.say_why_failing(&mut made);
        // Transition times of a condition that the API has not shown yet would look new at every step.
        if let Some(written) = &self.written
            && same_but_times(written, &made)
        {
            if !self.is_contradicted(written) {
                return true;
            }
            // The node controller speaks for pods of a node that it has not heard of for long; this kubelet does again once
            // it has been heard.
            if !self.kubelet.has_ready_node(&self.pod) {
                return false;
            }
        }
        let name = self.pod.metadata.name.clone().unwrap_or_default();
        let patch = Patch::Merge(json!({"metadata": {"uid": self.uid}, "status": made}));
        match self
            .api()
            .patch_status(&name, &PatchParams::default(), &patch)
            .await
        {
            Ok(pod) => {
                self.written = Some(made);
                // So that the next comparison knows the transition times that were just written.
                if pod.metadata.uid.as_deref() == Some(&self.uid)
                    && self.pod.metadata.deletion_timestamp.is_none()
                {
                    self.pod = Arc::new(pod);
                }
                true
            }
            Err(kube::Error::Api(status)) if status.code == 404 => true,
            Err(error) => {
                tracing::warn!(pod = self.name(), %error, "the status was not written");
                false
            }
        }
    }

    /// Whether the API shows one of the conditions that are the kubelet's to tell otherwise than they were written.
    fn is_contradicted(&self, written: &Value) -> bool {
        let status = self.pod.status.as_ref();
        let shown = status.and_then(|status| status.conditions.as_deref());
        self.pod.metadata.deletion_timestamp.is_none()
            && status::contradicts(shown.unwrap_or_default(), written)
    }
}

/// Equal, transition times of conditions aside.
fn same_but_times(one: &Value, other: &Value) -> bool {
    let plain = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        status
    };
    plain(one) == plain(other)
}
