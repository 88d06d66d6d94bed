//! From what a pod's containers do to the pod's status.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use serde_json::{Value, json};

use super::backoff::Backoff;
use super::nodes::HOST_IP;
use super::pods;
use crate::shim::protocol::ContainerExit;

/// How a run ended, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    /// The run this was.
    pub restart: u32,
}

impl Ended {
    pub fn new(exit: &ContainerExit, started_at: Timestamp, restart: u32) -> Self {
        let reason = match exit {
            ContainerExit { oom_killed: true, .. } => "OOMKilled",
            ContainerExit { code: 0, .. } => "Completed",
            _ => "Error",
        };
        Self {
            code: exit.code,
            signal: exit.signal,
            reason: reason.to_owned(),
            message: None,
            started_at: Some(started_at),
            finished_at: exit.finished_at,
            restart,
        }
    }

    fn to_json(&self, pod_uid: &str, name: &str) -> Value {
        json!({"terminated": {
            "exitCode": self.code, "reason": self.reason, "message": self.message,
            "startedAt": self.started_at.map(time), "finishedAt": time(self.finished_at),
            "containerID": container_id(pod_uid, name, self.restart),
        }})
    }
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Waiting {
        reason: String,
        message: Option<String>,
        /// When to try (again); at once without it.
        until: Option<Instant>,
    },
    Running {
        started_at: Timestamp,
    },
    Ended(Ended),
}

/// A container's story so far.
#[derive(Debug)]
pub struct Run {
    /// The number of the newest run; 0 for the first, also before it has begun.
    pub restart: u32,
    pub state: State,
    pub last: Option<Ended>,
    pub backoff: Backoff,
    pub pull_backoff: Backoff,
    /// The image that was missing, and when it is looked for again.
    pub pulled: String,
    pub next_pull: Option<Instant>,
    pub started: bool,
    pub ready: bool,
}

impl Run {
    pub fn new(reason: &str) -> Self {
        Self {
            restart: 0,
            state: State::Waiting {
                reason: reason.to_owned(),
                message: None,
                until: None,
            },
            last: None,
            backoff: Backoff::default(),
            pull_backoff: Backoff::default(),
            pulled: String::new(),
            next_pull: None,
            started: false,
            ready: false,
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    pub fn exit_code(&self) -> Option<i32> {
        match &self.state {
            State::Ended(ended) => Some(ended.code),
            _ => None,
        }
    }
}

fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn container_id(pod_uid: &str, name: &str, restart: u32) -> String {
    format!("hikeshi://{pod_uid}/{name}/{restart}")
}

/// A container's entry in `containerStatuses`.
pub fn container(pod_uid: &str, container: &Container, run: Option<&Run>) -> Value {
    let image = container.image.clone().unwrap_or_default();
    let Some(run) = run else {
        return json!({"name": container.name, "image": image, "imageID": "", "ready": false, "started": false,
            "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}, "lastState": {}});
    };
    let (state, id) = match &run.state {
        State::Waiting { reason, message, .. } => (
            json!({"waiting": {"reason": reason, "message": message}}),
            run.last
                .as_ref()
                .map(|last| container_id(pod_uid, &container.name, last.restart)),
        ),
        State::Running { started_at } => (
            json!({"running": {"startedAt": time(*started_at)}}),
            Some(container_id(pod_uid, &container.name, run.restart)),
        ),
        State::Ended(ended) => (
            ended.to_json(pod_uid, &container.name),
            Some(container_id(pod_uid, &container.name, run.restart)),
        ),
    };
    json!({
        "name": container.name, "image": image, "imageID": format!("native://{image}"), "ready": run.ready,
        "started": run.is_running() && run.started, "restartCount": run.restart, "state": state,
        "lastState": run.last.as_ref().map_or(json!({}), |last| last.to_json(pod_uid, &container.name)),
        "containerID": id,
    })
}

/// Whether every container has ended for good, so that the sidecars may go.
pub fn is_done(pod: &Pod, runs: &BTreeMap<String, Run>) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    pods::containers(pod).iter().all(|container| {
        let code = runs.get(&container.name).and_then(Run::exit_code);
        match policy {
            Some("Never") => code.is_some(),
            Some("OnFailure") => code == Some(0),
            _ => false,
        }
    })
}

/// The phase of a pod whose containers have these runs.
pub fn phase(pod: &Pod, runs: &BTreeMap<String, Run>) -> &'static str {
    let run_of = |name: &str| {
        runs.get(name)
            .map(|run| (run.is_running(), run.exit_code(), run.last.is_some()))
    };
    let policy = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always");
    for container in pods::init_containers(pod) {
        let run = runs.get(&container.name);
        match run_of(&container.name) {
            _ if pods::is_sidecar(container) => {
                if !run.is_some_and(|run| run.started || run.exit_code().is_some() || run.last.is_some()) {
                    return "Pending";
                }
            }
            Some((_, Some(0), _)) => {}
            Some((_, Some(_), _)) if policy == "Never" => return "Failed",
            _ => return "Pending",
        }
    }
    let (mut started, mut over, mut failed) = (false, true, false);
    for container in pods::containers(pod) {
        match run_of(&container.name) {
            Some((running, code, ran_before)) => {
                started |= running || code.is_some() || ran_before;
                over &= code.is_some();
                failed |= code.is_some_and(|code| code != 0);
            }
            None => over = false,
        }
    }
    let sidecar = |container: &Container| pods::is_sidecar(container) && runs_now(runs, &container.name);
    if pods::init_containers(pod).iter().any(sidecar) {
        over = false;
    }
    match (policy, over, failed) {
        ("Never", true, true) => "Failed",
        ("Never" | "OnFailure", true, false) => "Succeeded",
        _ if started => "Running",
        _ => "Pending",
    }
}

fn runs_now(runs: &BTreeMap<String, Run>, name: &str) -> bool {
    runs.get(name).is_some_and(Run::is_running)
}

/// One condition, keeping its transition time while the status stays.
fn condition(
    previous: &Pod,
    kind: &str,
    status: bool,
    reason: Option<&str>,
    message: Option<String>,
    now: Timestamp,
) -> Value {
    let status = if status { "True" } else { "False" };
    let conditions = previous
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    json!({"type": kind, "status": status, "reason": reason, "message": message,
           "lastProbeTime": null, "lastTransitionTime": time(since)})
}

/// The conditions that the kubelet tells of a pod; others' are left as they are.
const OURS: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
];

/// Whether `shown` conditions say otherwise than the kubelet did in the status `written`.
pub fn contradicts(shown: &[PodCondition], written: &Value) -> bool {
    let told = written["conditions"].as_array().into_iter().flatten();
    told.filter(|told| OURS.iter().any(|ours| told["type"] == *ours))
        .any(|told| {
            let shown = shown.iter().find(|shown| told["type"] == shown.type_.as_str());
            shown.is_none_or(|shown| told["status"] != shown.status.as_str())
        })
}

/// The pod's whole status. `previous` is the pod as last seen, for transition times and conditions of others.
pub fn pod(
    previous: &Pod,
    statuses: (Vec<Value>, Vec<Value>),
    phase: &str,
    sandbox: Option<(&str, Timestamp)>,
    now: Timestamp,
) -> Value {
    let (init_statuses, container_statuses) = statuses;
    let sidecars: Vec<&str> = pods::init_containers(previous)
        .iter()
        .filter(|container| pods::is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let is_sidecar = |status: &Value| {
        status["name"]
            .as_str()
            .is_some_and(|name| sidecars.contains(&name))
    };
    let passed = |status: &Value| {
        if is_sidecar(status) {
            // One that starts again has been started once: the containers run.
            status["started"] == true || status["restartCount"] != 0
        } else {
            status["state"]["terminated"]["exitCode"] == 0
        }
    };
    let initialized = init_statuses.iter().all(passed);
    let kept = init_statuses.iter().filter(|status| is_sidecar(status));
    let unready = container_statuses
        .iter()
        .chain(kept)
        .filter(|status| status["ready"] != true);
    let unready = unready
        .filter_map(|status| status["name"].as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let over = phase == "Succeeded" || phase == "Failed";
    let ready = unready.is_empty() && !over && phase == "Running";
    let (reason, message) = match (ready, phase) {
        (true, _) => (None, None),
        (_, "Succeeded") => (Some("PodCompleted"), None),
        (_, "Failed") => (Some("PodFailed"), None),
        _ => (
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: [{unready}]")),
        ),
    };
    let mut conditions: Vec<Value> = previous
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .filter(|condition| !OURS.contains(&condition.type_.as_str()))
        .filter_map(|condition| serde_json::to_value(condition).ok())
        .collect();
    let init_unready: Vec<&str> = init_statuses
        .iter()
        .filter(|status| !passed(status))
        .filter_map(|status| status["name"].as_str())
        .collect();
    let (init_reason, init_message) = if initialized {
        (None, None)
    } else {
        (
            Some("ContainersNotInitialized"),
            Some(format!(
                "containers with incomplete status: [{}]",
                init_unready.join(" ")
            )),
        )
    };
    conditions.extend([
        condition(
            previous,
            "PodReadyToStartContainers",
            sandbox.is_some(),
            None,
            None,
            now,
        ),
        condition(
            previous,
            "Initialized",
            initialized,
            init_reason,
            init_message,
            now,
        ),
        condition(previous, "Ready", ready, reason, message.clone(), now),
        condition(previous, "ContainersReady", ready, reason, message, now),
    ]);
    let mut status = json!({
        "phase": phase, "conditions": conditions, "hostIP": HOST_IP, "hostIPs": [{"ip": HOST_IP}],
        "containerStatuses": container_statuses,
    });
    if !init_statuses.is_empty() {
        status["initContainerStatuses"] = init_statuses.into();
    }
    if let Some((ip, since)) = sandbox {
        status["podIP"] = ip.into();
        status["podIPs"] = json!([{"ip": ip}]);
        // A pod starts once: a new sandbox does not make it younger.
        let first = previous
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref());
        status["startTime"] = time(first.map_or(since, |first| first.0)).into();
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(policy: &str, runs: &[(&str, State)]) -> &'static str {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}],
        }}))
        .unwrap();
        let runs = runs.iter().map(|(name, state)| {
            (
                (*name).to_owned(),
                Run {
                    state: state.clone(),
                    ..Run::new("x")
                },
            )
        });
        phase(&pod, &runs.collect())
    }

    fn ended(code: i32) -> State {
        let exit = ContainerExit {
            code,
            signal: None,
            oom_killed: false,
            finished_at: Timestamp::UNIX_EPOCH,
        };
        State::Ended(Ended::new(&exit, Timestamp::UNIX_EPOCH, 0))
    }

    #[test]
    fn only_the_kubelet_s_own_conditions_contradict_it() {
        let written = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        let shown = |all: Value| serde_json::from_value::<Vec<PodCondition>>(all).unwrap();
        let agreed = shown(json!([{"type": "Ready", "status": "True", "reason": "x"},
            {"type": "DisruptionTarget", "status": "True"}]));
        assert!(!contradicts(&agreed, &written));
        let marked = shown(json!([{"type": "Ready", "status": "False", "reason": "NodeNotReady"}]));
        assert!(contradicts(&marked, &written));
        assert!(contradicts(&[], &written), "taken away");
    }

    #[test]
    fn the_phase_follows_the_containers() {
        let running = State::Running {
            started_at: Timestamp::UNIX_EPOCH,
        };
        let waiting = State::Waiting {
            reason: "x".into(),
            message: None,
            until: None,
        };
        assert_eq!(made("Always", &[("i", running.clone())]), "Pending");
        assert_eq!(made("Never", &[("i", ended(1))]), "Failed");
        assert_eq!(
            made(
                "Always",
                &[("i", ended(0)), ("a", running), ("b", waiting.clone())]
            ),
            "Running"
        );
        assert_eq!(
            made("Always", &[("i", ended(0)), ("a", ended(0)), ("b", ended(1))]),
            "Running"
        );
        assert_eq!(
            made("Never", &[("i", ended(0)), ("a", ended(0)), ("b", ended(1))]),
            "Failed"
        );
        assert_eq!(
            made("OnFailure", &[("i", ended(0)), ("a", ended(0)), ("b", ended(0))]),
            "Succeeded"
        );
        assert_eq!(
            made("OnFailure", &[("i", ended(0)), ("a", ended(0)), ("b", ended(1))]),
            "Running"
        );
        assert_eq!(
            made(
                "Always",
                &[("i", ended(0)), ("a", waiting.clone()), ("b", waiting)]
            ),
            "Pending"
        );
    }
}
