//! Pods that are ended as Failed from outside their programs: their time or their room is used up.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::worker::{IDLE, Worker};
use super::{sandbox, status, storage};
use crate::shim::protocol::{Request, UsageReply};

/// How often the storage of a pod with limits is measured.
const LOOK: Duration = Duration::from_secs(10);

/// Why a pod is being ended.
#[derive(Debug)]
pub(super) struct Failing {
    reason: &'static str,
    message: String,
}

/// When the pod's storage was last measured.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Instant>,
}

/// When the pod must have ended, by `spec.activeDeadlineSeconds`.
fn deadline(pod: &Pod, started: Timestamp) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    started.checked_add(SignedDuration::from_secs(seconds)).ok()
}

impl Worker {
    /// Ends a pod that is beyond its time or its storage; returns when to look again.
    pub(super) async fn keep_bounds(&mut self) -> Duration {
        if self.failing.is_some() || self.sandbox.is_none() {
            return IDLE;
        }
        let told = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref());
        let started = told
            .map(|time| time.0)
            .or_else(|| sandbox::SandboxRecord::read(&self.dir).map(|record| record.started_at));
        let due = started.and_then(|started| deadline(&self.pod, started));
        let mut wait = IDLE;
        if let Some(due) = due {
            match Duration::try_from(due.duration_since(Timestamp::now())) {
                Ok(left) if !left.is_zero() => wait = wait.min(left),
                _ => {
                    let message = "Pod was active on the node longer than the specified deadline".to_owned();
                    self.fail("DeadlineExceeded", message, self.grace()).await;
                    return IDLE;
                }
            }
        }
        if storage::is_limited(&self.pod) {
            if self.storage.last.is_none_or(|last| last.elapsed() >= LOOK) {
                self.storage.last = Some(Instant::now());
                let root = self.written_outside_volumes().await;
                let (pod, dir) = (self.pod.clone(), self.dir.clone());
                let look = move || storage::excess(&pod, &storage::measure(&pod, &dir, root));
                // A panic there would be a bug: the next look repeats it where it is seen.
                if let Ok(Some(message)) = tokio::task::spawn_blocking(look).await {
                    self.fail("Evicted", message, Duration::ZERO).await;
                    return IDLE;
                }
            }
            wait = wait.min(LOOK);
        }
        wait
    }

    /// Bytes in the pod's root. An init that does not tell is looked after elsewhere.
    async fn written_outside_volumes(&mut self) -> u64 {
        let Some(sandbox) = &mut self.sandbox else {
            return 0;
        };
        let usage = sandbox.init.call::<UsageReply>(&Request::Usage).await;
        usage.map_or(0, |usage| usage.root_bytes)
    }

    async fn fail(&mut self, reason: &'static str, message: String, grace: Duration) {
        tracing::info!(pod = self.name(), reason, message, "the pod is ended");
        self.kubelet
            .events
            .warning(&self.pod, None, reason, message.clone());
        self.probes.clear();
        let running: Vec<String> = self
            .runs
            .iter()
            .filter(|(_, run)| run.is_running())
            .map(|(name, _)| name.clone())
            .collect();
        for name in running {
            let message = format!("Stopping container {name}");
            self.kubelet
                .events
                .normal(&self.pod, Some(&name), "Killing", message);
            if grace.is_zero() {
                self.kill(&name).await;
            } else {
                self.signal(&name, libc::SIGTERM).await;
                self.stopping.insert(name, Instant::now() + grace);
            }
        }
        self.failing = Some(Failing { reason, message });
    }

    /// The phase, which is Failed once a failing pod's containers have ended.
    pub(super) fn phase(&self) -> &'static str {
        match &self.failing {
            Some(_) if !self.runs.values().any(|run| run.is_running()) => "Failed",
            Some(_) => "Running",
            None => status::phase(&self.pod, &self.runs),
        }
    }

    pub(super) fn say_why_failing(&self, status: &mut Value) {
        if let Some(failing) = &self.failing {
            status["reason"] = failing.reason.into();
            status["message"] = failing.message.clone().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_deadline_counts_from_the_start_of_the_pod() {
        let started: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let with = |seconds: Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [], "activeDeadlineSeconds": seconds}}))
                .unwrap()
        };
        assert_eq!(deadline(&with(json!(null)), started), None);
        let due = deadline(&with(json!(90)), started).unwrap();
        assert_eq!(due.to_string(), "2026-01-01T00:01:30Z");
    }
}
