//! The server as kube-rs sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Resource;
use kube::api::{Api, AttachParams, DeleteParams, EvictParams, LogParams, Patch, PatchParams, PostParams};
use kube::discovery::Discovery;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::wait::await_condition;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Cluster, deployment};

fn map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"v": value}})).unwrap()
}

/// A watcher's view, kept from its events until it equals what is wanted.
async fn follow(maps: Api<ConfigMap>, config: watcher::Config, wanted: &BTreeMap<String, String>) {
    let mut events = watcher(maps, config).boxed();
    let (mut seen, mut building) = (BTreeMap::new(), BTreeMap::new());
    let entry = |map: ConfigMap| {
        let value = map.data.unwrap_or_default().remove("v").unwrap_or_default();
        (map.metadata.name.unwrap(), value)
    };
    while seen != *wanted {
        match events.try_next().await.unwrap().unwrap() {
            Event::Init => building = BTreeMap::new(),
            Event::InitApply(map) => building.extend([entry(map)]),
            Event::InitDone => seen = std::mem::take(&mut building),
            Event::Apply(map) => seen.extend([entry(map)]),
            Event::Delete(map) => drop(seen.remove(&entry(map).0)),
        }
    }
}

#[test]
fn watchers_of_both_kinds_see_what_there_is_and_what_changes() {
    let cluster = Cluster::start();
    cluster.run(async {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await, "chirpy");
        maps.create(&PostParams::default(), &map("a", "1")).await.unwrap();
        maps.create(&PostParams::default(), &map("b", "1")).await.unwrap();
        for config in [
            watcher::Config::default(),
            watcher::Config::default().streaming_lists(),
        ] {
            let wanted = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("c".to_owned(), "1".to_owned())]);
            let changes = async {
                // Some of it comes before the watcher's list, some after: its view ends up the same.
                let _ = maps.delete("a", &DeleteParams::default()).await;
                let merge = Patch::Merge(json!({"data": {"v": "2"}}));
                maps.patch("b", &PatchParams::default(), &merge).await.unwrap();
                maps.create(&PostParams::default(), &map("c", "1")).await.unwrap();
            };
            tokio::join!(follow(maps.clone(), config, &wanted), changes);
            maps.delete("c", &DeleteParams::default()).await.unwrap();
        }
    });
}

#[test]
fn apply_scale_logs_exec_and_eviction() {
    let cluster = Cluster::start();
    cluster.running_pod("web-1", &["web"]);
    cluster.run(async {
        let client = cluster.client().await;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "chirpy");
        let apply = PatchParams::apply("me");
        let wanted = Patch::Apply(deployment("web", "web:1"));
        deployments.patch("web", &apply, &wanted).await.unwrap();
        let scaled = Patch::Merge(json!({"spec": {"replicas": 5}}));
        let scale = deployments
            .patch_scale("web", &PatchParams::default(), &scaled)
            .await
            .unwrap();
        assert_eq!(scale.spec.unwrap().replicas, Some(5));
        let scale = deployments.get_scale("web").await.unwrap();
        assert_eq!(scale.spec.unwrap().replicas, Some(5));
        // Applied again, the owner of the field gets its value back.
        let back = deployments
            .patch("web", &apply.clone().force(), &wanted)
            .await
            .unwrap();
        assert_eq!(back.spec.unwrap().replicas, Some(2));

        let pods: Api<Pod> = Api::namespaced(client, "chirpy");
        let tail = LogParams {
            tail_lines: Some(1),
            ..LogParams::default()
        };
        assert_eq!(pods.logs("web-1", &tail).await.unwrap(), "web-1 web line 5\n");
        let params = AttachParams::default().stdin(true).stderr(false);
        let mut process = pods.exec("web-1", ["head", "-c", "5"], &params).await.unwrap();
        process.stdin().unwrap().write_all(b"hello").await.unwrap();
        let mut out = String::new();
        process.stdout().unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "hello");
        let status = process.take_status().unwrap().await.unwrap();
        assert_eq!(status.status.as_deref(), Some("Success"));
        pods.evict("web-1", &EvictParams::default()).await.unwrap();
        assert!(
            pods.get("web-1")
                .await
                .unwrap()
                .metadata
                .deletion_timestamp
                .is_some()
        );
    });
}

#[test]
fn a_controller_sees_what_it_watches_and_what_it_owns() {
    let cluster = Cluster::start();
    cluster.run(async {
        let client = cluster.client().await;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "chirpy");
        let secrets: Api<Secret> = Api::namespaced(client, "chirpy");
        // Keeps a Secret with the text of each ConfigMap that is labelled.
        let reconcile = |map: Arc<ConfigMap>, secrets: Arc<Api<Secret>>| async move {
            let name = map.metadata.name.clone().unwrap();
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": map.data,
                "metadata": {"name": name, "ownerReferences": [map.controller_owner_ref(&())]}});
            let apply = PatchParams::apply("mirror").force();
            secrets.patch(&name, &apply, &Patch::Apply(secret)).await?;
            Ok::<_, kube::Error>(Action::await_change())
        };
        let again =
            |_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Api<Secret>>| Action::requeue(Duration::from_secs(1));
        let controller = Controller::new(maps.clone(), watcher::Config::default().labels("mirror=yes"))
            .owns(secrets.clone(), watcher::Config::default())
            .run(reconcile, again, Arc::new(secrets.clone()));
        let running = tokio::spawn(controller.for_each(|_| std::future::ready(())));

        let holds = |value: &'static str, not: Option<String>| {
            move |secret: Option<&Secret>| {
                let text = secret.and_then(|secret| secret.data.as_ref()?.get("v"));
                text.is_some_and(|text| text.0 == value.as_bytes())
                    && secret.is_some_and(|secret| secret.metadata.uid != not)
            }
        };
        let mut map = map("a", "1");
        map.metadata.labels = Some(BTreeMap::from([("mirror".to_owned(), "yes".to_owned())]));
        maps.create(&PostParams::default(), &map).await.unwrap();
        let first = await_condition(secrets.clone(), "a", holds("1", None))
            .await
            .unwrap();
        let merge = Patch::Merge(json!({"data": {"v": "2"}}));
        maps.patch("a", &PatchParams::default(), &merge).await.unwrap();
        await_condition(secrets.clone(), "a", holds("2", None))
            .await
            .unwrap();
        // What it owns is gone: its owner is looked at again.
        secrets.delete("a", &DeleteParams::default()).await.unwrap();
        let uid = first.unwrap().metadata.uid;
        await_condition(secrets, "a", holds("2", uid)).await.unwrap();
        running.abort();
    });
}

#[test]
fn discovery_finds_every_group() {
    let cluster = Cluster::start();
    cluster.run(async {
        let discovery = Discovery::new(cluster.client().await).run().await.unwrap();
        for group in ["", "apps", "rbac.authorization.k8s.io", "custom.metrics.k8s.io"] {
            assert!(discovery.has_group(group), "{group:?}");
        }
    });
}

#[test]
fn portforward() {
    let cluster = Cluster::start();
    cluster.running_pod("web-1", &["web"]);
    cluster.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = [0; 4];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(&said.repeat(50_000)).await.unwrap();
        });
        let closed = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let pods: Api<Pod> = Api::namespaced(cluster.client().await, "chirpy");
        let mut forward = pods.portforward("web-1", &[port, closed]).await.unwrap();
        let refused = forward.take_error(closed).unwrap().await.unwrap();
        assert!(refused.contains("error forwarding port"), "{refused}");
        let mut stream = forward.take_stream(port).unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "ping".repeat(50_000));
    });
}
