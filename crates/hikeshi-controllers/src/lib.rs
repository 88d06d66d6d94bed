//! The controller manager and the scheduler of the embedded cluster.
//!
//! Every reconciler speaks only the Kubernetes API. Each is split in two: a *plan*, a pure function from what was
//! observed (and the time, passed in) to actions, and a thin shell that reads the shared caches and carries the
//! actions out. The runtime underneath ([`run`]) watches each kind once, shares the cache between reconcilers, and
//! never runs two reconciliations of one object at a time.

mod chaos;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod gc;
mod hpa;
mod job;
mod node;
mod object;
mod pods;
mod quantity;
mod replicaset;
mod revision;
mod runtime;
mod scheduler;
mod selector;
mod statefulset;
mod template;

use kube::Client;
use tokio_util::sync::CancellationToken;

use runtime::Manager;

/// Why the controllers stopped.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A controller's task ended by a panic; the others were stopped. Run again to go on: no state is kept here.
    #[error("a controller task died: {0}")]
    TaskDied(#[from] tokio::task::JoinError),
}

/// Runs every reconciler until `shutdown` is cancelled.
///
/// Losing the API server is not an error: watches and writes are retried with backoff until it is back.
///
/// # Errors
/// Returns [`ControllerError::TaskDied`] when a task panicked.
pub async fn run(client: Client, shutdown: CancellationToken) -> Result<(), ControllerError> {
    let mut manager = Manager::new(client, shutdown);
    manager.add(scheduler::Scheduler);
    manager.add(deployment::Deployments);
    manager.add(replicaset::ReplicaSets);
    manager.add(statefulset::StatefulSets);
    manager.add(daemonset::DaemonSets);
    manager.add(job::Jobs);
    manager.add(cronjob::CronJobs);
    manager.add(node::Nodes::default());
    manager.add(disruption::Disruptions);
    manager.add(hpa::Autoscalers::default());
    manager.add(endpoints::Endpoints);
    manager.add(gc::GarbageCollector::default());
    manager.add(chaos::Schedules);
    manager.add(chaos::Workflows::default());
    for controller in chaos::controllers() {
        manager.add(controller);
    }
    manager.run().await
}
