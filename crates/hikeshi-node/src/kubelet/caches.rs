//! The kubelet's view of the API: watched objects, in memory.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hosts::NameTable;
use super::pods::ConfigSource;

/// Watched objects; each has a counter that moves with every change.
pub struct Caches {
    pub pods: Store<Pod>,
    nodes: Store<Node>,
    services: Store<Service>,
    config_maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    pods_changed: watch::Sender<u64>,
    names_changed: watch::Sender<u64>,
    config_changed: watch::Sender<u64>,
}

/// The watches, to be run.
pub struct Watches {
    pods: reflector::store::Writer<Pod>,
    nodes: reflector::store::Writer<Node>,
    services: reflector::store::Writer<Service>,
    config_maps: reflector::store::Writer<ConfigMap>,
    secrets: reflector::store::Writer<Secret>,
}

impl Caches {
    pub fn new() -> (Self, Watches) {
        let (pods, pods_writer) = reflector::store();
        let (nodes, nodes_writer) = reflector::store();
        let (services, services_writer) = reflector::store();
        let (config_maps, config_maps_writer) = reflector::store();
        let (secrets, secrets_writer) = reflector::store();
        let caches = Self {
            pods,
            nodes,
            services,
            config_maps,
            secrets,
            pods_changed: watch::Sender::new(0),
            names_changed: watch::Sender::new(0),
            config_changed: watch::Sender::new(0),
        };
        let watches = Watches {
            pods: pods_writer,
            nodes: nodes_writer,
            services: services_writer,
            config_maps: config_maps_writer,
            secrets: secrets_writer,
        };
        (caches, watches)
    }

    /// The node as the API knows it.
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(&ObjectRef::new(name))
    }

    /// Moves when pods or nodes change.
    pub fn pods_changed(&self) -> watch::Receiver<u64> {
        self.pods_changed.subscribe()
    }

    /// Moves when names may mean other addresses.
    pub fn names_changed(&self) -> watch::Receiver<u64> {
        self.names_changed.subscribe()
    }

    /// Moves when ConfigMaps or Secrets change.
    pub fn config_changed(&self) -> watch::Receiver<u64> {
        self.config_changed.subscribe()
    }

    /// Waits until every cache has been filled once.
    pub async fn ready(&self) {
        let waits = (
            self.pods.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.services.wait_until_ready(),
            self.config_maps.wait_until_ready(),
            self.secrets.wait_until_ready(),
        );
        // An error means that the watches have ended: so does the kubelet then.
        let _ = tokio::join!(waits.0, waits.1, waits.2, waits.3, waits.4);
    }

    /// The names of the cluster as they are now.
    pub fn names(&self) -> NameTable {
        let (services, pods) = (self.services.state(), self.pods.state());
        NameTable::new(services.iter().map(Arc::as_ref), pods.iter().map(Arc::as_ref))
    }

    /// Keeps the caches filled until `shutdown`.
    pub async fn run(&self, client: Client, watches: Watches, shutdown: CancellationToken) {
        let Watches {
            pods,
            nodes,
            services,
            config_maps,
            secrets,
        } = watches;
        let (on_pods, on_names, on_config) = (&self.pods_changed, &self.names_changed, &self.config_changed);
        let work = async {
            tokio::join!(
                keep(client.clone(), pods, vec![on_pods, on_names]),
                keep(client.clone(), nodes, vec![on_pods]),
                keep(client.clone(), services, vec![on_names]),
                keep(client.clone(), config_maps, vec![on_config]),
                keep(client.clone(), secrets, vec![on_config]),
            )
        };
        tokio::select! {
            _ = work => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn keep<K>(client: Client, writer: reflector::store::Writer<K>, changed: Vec<&watch::Sender<u64>>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Default,
{
    let stream = watcher(Api::<K>::all(client), watcher::Config::default())
        .default_backoff()
        .reflect(writer);
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            // A list in progress is not visible in the store yet.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
            Ok(_) => {
                for counter in &changed {
                    counter.send_modify(|count| *count += 1);
                }
            }
            Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watching again"),
        }
    }
}

fn text_and_binary(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    text.chain(
        map.binary_data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone())),
    )
    .collect()
}

impl ConfigSource for Caches {
    fn config_map(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.config_maps
            .get(&ObjectRef::new(name).within(namespace))
            .map(|map| text_and_binary(&map))
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let secret = self.secrets.get(&ObjectRef::new(name).within(namespace))?;
        let text = secret
            .string_data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        Some(
            secret
                .data
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .chain(text)
                .collect(),
        )
    }
}
