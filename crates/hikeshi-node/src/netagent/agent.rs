//! Keeps the data plane told and the experiments' statuses true.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hikeshi_proxy::faults::Fault;
use hikeshi_proxy::protocol::LEASE;
use hikeshi_proxy::{Applied, ClientError, DataplaneClient, HostListener, IngressRule, Snapshot};
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::chaos::{self, Kind};
use super::names::Names;
use super::status::{self, Outcome};
use super::stores::Stores;
use super::writes::Writes;
use super::{HostListenerSpec, METRICS, NetAgentConfig, entrance, ingress, world};

/// Changes come in swarms (a pod, its endpoint, its status): wait for the rest of a swarm.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The lease on the faults is renewed this often, and what ends by the clock is looked for.
const BEAT: Duration = Duration::from_secs(1);
/// Longer than any apply takes.
const UNRESPONSIVE: Duration = Duration::from_secs(15);
/// Most that telling the Ingresses may hold up the agent's other work: well within the lease.
const TELLING: Duration = Duration::from_secs(2);
/// After something failed, and while a pod's init does not answer.
const RETRY: Duration = Duration::from_millis(300);

pub(super) struct Agent {
    client: Client,
    config: NetAgentConfig,
    version: u64,
    dataplane: Option<Dataplane>,
    told: entrance::Told,
    writes: Writes,
}

/// A connection that holds the lease on the faults.
struct Dataplane {
    client: DataplaneClient,
    beaten: Instant,
    /// The last snapshot that was applied without a problem.
    settled: Option<Snapshot>,
    applied: Applied,
}

impl Dataplane {
    async fn connect(config: &NetAgentConfig) -> Result<Self, ClientError> {
        Ok(Self {
            client: DataplaneClient::connect(&config.dataplane_dir).await?,
            beaten: Instant::now(),
            settled: None,
            applied: Applied::default(),
        })
    }

    /// Renews the lease when it is time to. Whether the data plane is still there.
    async fn beat(&mut self) -> bool {
        if self.beaten.elapsed() < BEAT {
            return true;
        }
        match timeout(LEASE, self.client.heartbeat()).await {
            Ok(Ok(())) => {
                self.beaten = Instant::now();
                return true;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the data plane is lost"),
            Err(_elapsed) => tracing::warn!("the data plane does not answer"),
        }
        false
    }

    async fn apply(&mut self, snapshot: Snapshot) -> Result<(), ClientError> {
        self.applied = timeout(UNRESPONSIVE, self.client.apply(snapshot))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok(())
    }
}

/// An experiment and what was made of it.
struct Experiment {
    kind: Kind,
    object: Arc<DynamicObject>,
    compiled: Option<Result<Vec<Fault>, String>>,
}

impl Agent {
    pub fn new(client: Client, config: NetAgentConfig) -> Self {
        Self {
            client,
            config,
            version: 0,
            dataplane: None,
            told: entrance::Told::default(),
            writes: Writes::default(),
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let stores = Stores::start(&self.client, &changed);
        let work = async {
            if !stores.complete().await {
                return;
            }
            // The heart beats in this loop and nowhere else: should it stop, the faults end.
            let mut beat = tokio::time::interval(BEAT);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut again, mut end) = (Some(Instant::now()), None);
            loop {
                let mut due = tokio::select! {
                    () = changed.notified() => {
                        sleep(DEBOUNCE).await;
                        true
                    }
                    () = maybe(again.map(sleep_until)) => true,
                    failed = self.writes.ended() => {
                        again = again.or(failed.then(|| Instant::now() + RETRY));
                        false
                    }
                    _ = beat.tick() => false,
                };
                if let Some(dataplane) = &mut self.dataplane
                    && !dataplane.beat().await
                {
                    self.dataplane = None;
                    due = true;
                }
                let now = Timestamp::now();
                if due || end.is_some_and(|end| end <= now) {
                    let failed = self.sync(&stores, now).await.is_err();
                    again = failed.then(|| Instant::now() + RETRY);
                    end = next_end(&stores, now);
                }
            }
        };
        tokio::select! {
            () = work => tracing::error!("the network agent's watches have ended"),
            () = shutdown.cancelled() => {}
        }
    }

    /// One pass: world -> snapshot -> data plane -> statuses. `Err` asks for another soon.
    async fn sync(&mut self, stores: &Stores, now: Timestamp) -> Result<(), Again> {
        let ingresses = stores.ingresses.state();
        let services = stores.services.state();
        let services: Vec<_> = services.iter().map(Arc::as_ref).collect();
        let translated: Vec<_> = ingress::in_order(ingresses.iter().map(Arc::as_ref))
            .into_iter()
            .map(|one| (one, ingress::translate(one, &services)))
            .collect();
        let rules: Vec<IngressRule> = translated
            .iter()
            .flat_map(|(_, made)| made.rules.iter().cloned())
            .collect();
        let (mut snapshot, experiments, names) = self.describe(stores, &rules, now);
        let links = snapshot.pods.clone();
        if self.dataplane.is_none() {
            self.dataplane = Some(Dataplane::connect(&self.config).await.map_err(|error| {
                tracing::debug!(%error, "no data plane yet");
                Again
            })?);
            self.keep_addresses();
            snapshot.host_listeners = self.listeners(&rules);
        }
        let Some(dataplane) = &mut self.dataplane else {
            return Err(Again);
        };
        if dataplane.settled.as_ref() != Some(&snapshot) {
            self.version += 1;
            let settled = snapshot.clone();
            snapshot.version = self.version;
            if let Err(error) = dataplane.apply(snapshot).await {
                tracing::warn!(%error, "a snapshot was not applied");
                self.dataplane = None;
                return Err(Again);
            }
            for problem in &dataplane.applied.problems {
                tracing::debug!(
                    subject = problem.subject,
                    message = problem.message,
                    "not in force"
                );
            }
            // A refused fault stays refused: only the rest is worth another attempt.
            let hopeful = |subject: &str| !subject.starts_with("fault/");
            let unsettled = dataplane
                .applied
                .problems
                .iter()
                .any(|problem| hopeful(&problem.subject));
            dataplane.settled = (!unsettled).then_some(settled);
        }
        let (applied, unsettled) = (dataplane.applied.clone(), dataplane.settled.is_none());
        self.tell_bound(&applied);
        let entrance = self.config.host_listeners.iter().find(|spec| spec.is_ingress());
        let bound = entrance.and_then(|spec| applied.bound.get(&spec.name).copied());
        let telling = self.told.tell(&self.client, &translated, bound);
        let told = timeout(TELLING, telling).await.unwrap_or(false);
        for experiment in &experiments {
            let outcome = outcome(experiment, &applied);
            let reach = chaos::Reach::of(experiment.kind, &experiment.object, &links, &names);
            let of = |record: &serde_json::Value| match &outcome {
                Outcome::InForce => reach.outcome(record),
                outcome => outcome.clone(),
            };
            if let Some(patch) = status::patch(&experiment.object, of, Timestamp::now()) {
                self.writes
                    .begin(&self.client, experiment.kind, &experiment.object, patch);
            }
        }
        if unsettled || !told { Err(Again) } else { Ok(()) }
    }

    /// The world as the stores have it. Its version stays 0, so that equal worlds are equal.
    fn describe(
        &self,
        stores: &Stores,
        rules: &[IngressRule],
        now: Timestamp,
    ) -> (Snapshot, Vec<Experiment>, Names) {
        let (pods, services, slices) = (
            stores.pods.state(),
            stores.services.state(),
            stores.slices.state(),
        );
        let services: Vec<_> = services.iter().map(Arc::as_ref).collect();
        let slices: Vec<_> = slices.iter().map(Arc::as_ref).collect();
        let pods = world::pod_links(pods.iter().map(Arc::as_ref), &services, &self.config.state_dir);
        let names = Names::of(&services, &slices);
        let experiments: Vec<Experiment> = stores
            .experiments()
            .into_iter()
            .map(|(kind, object)| {
                let compiled =
                    chaos::should_run(&object, now).then(|| chaos::compile(kind, &object, &pods, &names));
                Experiment {
                    kind,
                    object,
                    compiled,
                }
            })
            .collect();
        let in_force = experiments
            .iter()
            .filter_map(|experiment| experiment.compiled.as_ref()?.as_ref().ok());
        let snapshot = Snapshot {
            version: 0,
            faults: in_force.flatten().cloned().collect(),
            services: world::routes(&services, &slices, &pods),
            pods,
            host_listeners: self.listeners(rules),
            metrics_listen: self.config.metrics_listen,
        };
        (snapshot, experiments, names)
    }

    fn listeners(&self, rules: &[IngressRule]) -> Vec<HostListener> {
        let listeners = self.config.host_listeners.iter();
        listeners.map(|spec| host_listener(spec, rules)).collect()
    }

    /// A new data plane is asked for the addresses that people already know, not for any free ones.
    fn keep_addresses(&mut self) {
        let known = self.config.on_bound.borrow().clone();
        for listener in &mut self.config.host_listeners {
            if let Some(address) = known.get(&listener.name) {
                listener.listen = *address;
            }
        }
    }

    fn tell_bound(&self, applied: &Applied) {
        let mut bound = applied.bound.clone();
        bound.extend(applied.metrics.map(|address| (METRICS.to_string(), address)));
        self.config.on_bound.send_if_modified(|known| {
            let differs = *known != bound;
            *known = bound;
            differs
        });
    }
}

/// Asks for another pass soon.
struct Again;

/// When the first experiment that ran at `now` ends by itself. The watch does not tell of it before the controller has
/// written it down.
fn next_end(stores: &Stores, now: Timestamp) -> Option<Timestamp> {
    let running = stores.experiments().into_iter();
    running
        .filter(|(_, object)| chaos::should_run(object, now))
        .filter_map(|(_, object)| chaos::end(&object))
        .min()
}

async fn maybe(wait: Option<impl Future<Output = ()>>) {
    match wait {
        Some(wait) => wait.await,
        None => std::future::pending().await,
    }
}

fn host_listener(spec: &HostListenerSpec, rules: &[IngressRule]) -> HostListener {
    HostListener {
        name: spec.name.clone(),
        listen: spec.listen,
        namespace: spec.namespace.clone(),
        service: spec.service.clone(),
        port: spec.port,
        rules: if spec.is_ingress() {
            rules.to_vec()
        } else {
            Vec::new()
        },
    }
}

fn outcome(experiment: &Experiment, applied: &Applied) -> Outcome {
    let faults = match &experiment.compiled {
        None => return Outcome::Lifted,
        Some(Err(message)) => return Outcome::Refused(message.clone()),
        Some(Ok(faults)) => faults,
    };
    let problems: HashMap<&str, &str> = applied
        .problems
        .iter()
        .map(|problem| (problem.subject.as_str(), problem.message.as_str()))
        .collect();
    let refused = faults
        .iter()
        .find_map(|fault| problems.get(format!("fault/{}", fault.id).as_str()));
    refused.map_or(Outcome::InForce, |message| Outcome::Refused(message.to_string()))
}

#[cfg(test)]
mod tests;
