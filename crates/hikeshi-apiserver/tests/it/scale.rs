//! A thousand pods and fifty watchers.

use std::collections::HashMap;
use std::io::Write;
use std::time::Instant;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::sync::Barrier;

use crate::support::Cluster;

const PODS: usize = 1000;
const CHANGED: usize = 200;
const WATCHERS: usize = 50;

fn pod(n: usize) -> Pod {
    let object = json!({"metadata": {"name": format!("pod-{n:04}"), "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "web:1",
            "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 8080}]}]}});
    serde_json::from_value(object).unwrap()
}

/// What one watcher saw, in order.
#[derive(Default)]
struct Seen {
    revision: u64,
    events: HashMap<String, String>,
}

impl Seen {
    fn note(&mut self, letter: char, name: &str, revision: u64) {
        assert!(
            revision > self.revision,
            "revision {revision} after {}",
            self.revision
        );
        self.revision = revision;
        self.events.entry(name.to_owned()).or_default().push(letter);
    }
}

#[test]
fn fifty_watchers_see_every_change_of_a_thousand_pods_once_and_in_order() {
    let cluster = Cluster::start();
    cluster.run(async {
        let pods: Api<Pod> = Api::namespaced(cluster.client().await, "chirpy");
        let opened = Barrier::new(WATCHERS + 1);
        let watch = |_: usize| async {
            // A connection each: HTTP/2 would put all on one.
            let pods: Api<Pod> = Api::namespaced(cluster.client().await, "chirpy");
            let from = pods.list_metadata(&Default::default()).await.unwrap();
            let from = from.metadata.resource_version.unwrap();
            let events = pods.watch_metadata(&WatchParams::default(), &from).await.unwrap();
            let mut events = Box::pin(events);
            opened.wait().await;
            let (mut seen, mut left) = (Seen::default(), PODS + 2 * CHANGED);
            while left > 0 {
                let (letter, object) = match events.next().await.unwrap().unwrap() {
                    WatchEvent::Added(object) => ('A', object),
                    WatchEvent::Modified(object) => ('M', object),
                    WatchEvent::Deleted(object) => ('D', object),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(error) => panic!("{error:?}"),
                };
                let revision = object.metadata.resource_version.unwrap().parse().unwrap();
                seen.note(letter, &object.metadata.name.unwrap(), revision);
                left -= 1;
            }
            seen
        };
        let watchers = stream::iter(0..WATCHERS)
            .map(watch)
            .buffer_unordered(WATCHERS)
            .collect::<Vec<_>>();
        let changes = async {
            opened.wait().await;
            let each = |range: std::ops::Range<usize>| stream::iter(range);
            each(0..PODS)
                .for_each_concurrent(16, |n| {
                    let pods = pods.clone();
                    async move { drop(pods.create(&PostParams::default(), &pod(n)).await.unwrap()) }
                })
                .await;
            each(0..CHANGED)
                .for_each_concurrent(16, |n| {
                    let pods = pods.clone();
                    let change = Patch::Merge(json!({"metadata": {"labels": {"changed": "yes"}}}));
                    async move {
                        let name = format!("pod-{n:04}");
                        pods.patch(&name, &PatchParams::default(), &change).await.unwrap();
                        pods.delete(&name, &DeleteParams::default().grace_period(0))
                            .await
                            .unwrap();
                    }
                })
                .await;
        };
        let (seen, ()) = tokio::join!(watchers, changes);
        assert_eq!(seen.len(), WATCHERS);
        for one in &seen {
            assert_eq!(one.events.len(), PODS);
            for (name, letters) in &one.events {
                let n: usize = name[4..].parse().unwrap();
                assert_eq!(letters, if n < CHANGED { "AMD" } else { "A" }, "{name}");
            }
        }
    });
    let k = cluster.admin();
    k.ok(&["get", "pods"]);
    let time = |args: &[&str]| {
        let mut taken: Vec<_> = (0..5)
            .map(|_| {
                let start = Instant::now();
                let lines = k.ok(args).lines().count();
                (start.elapsed(), lines)
            })
            .collect();
        taken.sort_unstable();
        taken[2]
    };
    let (own, _) = time(&["version", "--client"]);
    let (get, lines) = time(&["get", "pods"]);
    assert_eq!(lines, PODS - CHANGED + 1);
    let (one, _) = time(&["get", "pods", "pod-0999"]);
    // The figure for a release build is the bench's; here only what must never be: seconds.
    assert!(
        get.as_secs_f64() < own.as_secs_f64() + 2.0,
        "get {get:?}, kubectl alone {own:?}"
    );
    let figures =
        format!("kubectl get pods: {get:?}; of one pod: {one:?}; kubectl version --client: {own:?}\n");
    std::io::stderr().write_all(figures.as_bytes()).unwrap();
}
