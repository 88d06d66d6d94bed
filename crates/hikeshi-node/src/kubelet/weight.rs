//! A pod's share of the CPU while there is not enough for all: by what it requests, as cgroups' `cpu.weight` gives it.
//!
//! We have no cgroups. Where the kernel groups tasks by session (autogroup, sched(7)), each session's group has a nice
//! value of its own, and a step of it is a quarter more weight. A session's group starts at 0 and does not inherit
//! (PostgreSQL makes one per connection), so they are looked for again and again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use super::{Kubelet, pods, quantity, sandbox};
use crate::shim::launch::read_record;
use crate::shim::stats;

/// How often new sessions are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// The kernel changes one group in a tenth of a second, for all who are not its administrator together.
const PER_CHANGE: Duration = Duration::from_millis(105);

/// What weighs as much as a process outside of the cluster, which only an administrator may go beyond. With a whole core
/// here, what manifests ask for would stand far behind any browser or compiler on the same machine.
const FULL_MILLICORES: f64 = 100.0;

/// What requests less, or nothing, weighs as much as this: it has others to wait for, but is not shut out.
const LEAST_MILLICORES: f64 = 5.0;

/// The group's nice value for a pod that requests so much: the one whose weight (1024 / 1.25^nice, sched(7)) is nearest.
fn nice(millicores: u64) -> i32 {
    let counted = (millicores as f64).clamp(LEAST_MILLICORES, FULL_MILLICORES);
    ((FULL_MILLICORES / counted).ln() / 1.25_f64.ln()).round() as i32
}

/// By what its containers request together. What the cluster leans on is never held back.
fn wanted(pod: &Pod) -> i32 {
    if sandbox::is_critical(pod) {
        return 0;
    }
    let requests = pods::containers(pod).iter().filter_map(|container| {
        let requests = container.resources.as_ref()?.requests.as_ref()?;
        quantity::millis(&requests.get("cpu")?.0)
    });
    nice(requests.sum())
}

/// Where a process stands among the others.
#[derive(Clone, Copy)]
struct Place {
    parent: i32,
    session: i32,
}

/// One process of each session below the inits, with the value that its pod's init has in `pods`.
fn sessions(processes: &HashMap<i32, Place>, pods: &HashMap<i32, i32>) -> BTreeMap<i32, (i32, i32)> {
    let mut found = BTreeMap::new();
    for (&pid, place) in processes {
        let mut at = pid;
        // A process can be gone, and its number taken, between two looks: no more steps than there are processes.
        for _ in 0..processes.len() {
            if let Some(&nice) = pods.get(&at) {
                found.insert(place.session, (pid, nice));
                break;
            }
            let Some(above) = processes.get(&at) else { break };
            at = above.parent;
        }
    }
    found
}

/// Every process that can be read.
fn processes() -> HashMap<i32, Place> {
    let placed = stats().map(|(pid, stat)| {
        let (parent, session) = (stat.parent, stat.session);
        (pid, Place { parent, session })
    });
    placed.collect()
}

/// The value in `/proc/PID/autogroup` (`/autogroup-25 nice 0`).
fn value(text: &str) -> Option<i32> {
    text.trim_end().rsplit(' ').next()?.parse().ok()
}

/// Whether the session's group now has the value, or cannot have it: `false` asks to be tried again.
fn set(pid: i32, nice: i32) -> bool {
    let path = format!("/proc/{pid}/autogroup");
    let Some(now) = fs::read_to_string(&path).ok().as_deref().and_then(value) else {
        return true;
    };
    if now == nice {
        return true;
    }
    match fs::write(&path, nice.to_string()) {
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        Ok(()) => true,
    }
}

impl Kubelet {
    /// Keeps every session of our pods at its pod's weight.
    pub(super) async fn keep_weights(self: std::sync::Arc<Self>, shutdown: CancellationToken) {
        // A kernel without such groups gives all the same share.
        if fs::read_to_string("/proc/self/autogroup").is_err() {
            return;
        }
        // Hikeshi may have been started nice (`nice hikeshi up`): then its pods are at least as nice.
        // SAFETY: takes integers only, and is about the caller itself.
        let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let inits = self.our_pods().into_iter().filter_map(|(uid, pod)| {
                let record = read_record(&self.pod_dir(&uid))?;
                Some((record.pid, wanted(&pod).max(own)))
            });
            for (pid, nice) in sessions(&processes(), &inits.collect()).into_values() {
                while !set(pid, nice) {
                    tokio::select! {
                        () = tokio::time::sleep(PER_CHANGE) => {}
                        () = shutdown.cancelled() => return,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_request_is_three_steps_which_is_twice_the_weight() {
        assert_eq!([100, 50, 25].map(nice), [0, 3, 6]);
        assert_eq!((nice(1000), nice(0)), (0, 13));
    }

    #[test]
    fn a_pod_without_requests_yields_and_a_critical_one_does_not() {
        let pod = |spec| serde_json::from_value(serde_json::json!({"spec": spec})).unwrap();
        let container = |cpu| serde_json::json!({"name": "a", "resources": {"requests": {"cpu": cpu}}});
        let two = serde_json::json!({"containers": [container("25m"), container("25m")]});
        assert_eq!(wanted(&pod(two)), 3);
        let none = serde_json::json!({"containers": [{"name": "a"}]});
        assert_eq!(wanted(&pod(none)), 13);
        let critical =
            serde_json::json!({"priorityClassName": "system-node-critical", "containers": [{"name": "a"}]});
        assert_eq!(wanted(&pod(critical)), 0);
    }

    #[test]
    fn sessions_are_found_below_their_init_however_deep() {
        let place = |parent, session| Place { parent, session };
        let processes = HashMap::from([
            (1, place(0, 1)),
            (10, place(1, 10)),
            (11, place(10, 11)),
            (12, place(11, 12)),
            (13, place(12, 12)),
            (20, place(1, 20)),
            // Its parent is gone.
            (30, place(29, 30)),
        ]);
        let found = sessions(&processes, &HashMap::from([(10, 7)]));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [10, 11, 12]);
        assert!(found.values().all(|(_, nice)| *nice == 7));
    }

    #[test]
    fn the_kernels_line_ends_in_the_value() {
        assert_eq!(value("/autogroup-25 nice 0\n"), Some(0));
        assert_eq!(value("/autogroup-25 nice -3\n"), Some(-3));
        assert_eq!(value(""), None);
    }
}
