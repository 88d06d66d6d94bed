//! What the supervisor does in the cluster, through the Kubernetes API like everybody else.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use hikeshi_chaos::plural;
use hikeshi_experiment::annotations;
use hikeshi_experiment::manifest::API_VERSION;
use hikeshi_experiment::selector::Cluster;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Every kind that can be an experiment or a part of one.
fn watched() -> impl Iterator<Item = &'static str> {
    hikeshi_chaos::kinds().chain(["WorkflowNode"])
}

/// Chaos Mesh's own: `"true"` ends a workflow, and lifts all that it has begun.
const ABORT: &str = "workflow.chaos-mesh.org/abort";

/// The chaos objects of all namespaces, kept up to date, and the calls that change them.
pub(super) struct Chaos {
    client: kube::Client,
    /// By kind.
    stores: Vec<(&'static str, Store<DynamicObject>)>,
    /// End with this.
    _watches: JoinSet<()>,
}

impl Chaos {
    /// Starts watching; `changed` is told of every change. A kind that is not served is tried again now and then.
    pub fn watch(client: &kube::Client, changed: &Arc<Notify>) -> Self {
        let mut watches = JoinSet::new();
        let stores = watched()
            .map(|kind| {
                let resource = resource(kind);
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                let writer = Writer::new(resource);
                let (store, changed) = (writer.as_reader(), changed.clone());
                let events =
                    reflector::reflector(writer, watcher(api, watcher::Config::default()).default_backoff());
                watches.spawn(events.for_each(move |event| {
                    match event {
                        Ok(_) => changed.notify_one(),
                        Err(error) => tracing::debug!(%error, "a watch of experiments broke off"),
                    }
                    std::future::ready(())
                }));
                (kind, store)
            })
            .collect();
        Self {
            client: client.clone(),
            stores,
            _watches: watches,
        }
    }

    /// Whether the first complete view of the kinds that every cluster here serves is there.
    pub async fn ready(&self) {
        for (_, store) in &self.stores[..3] {
            // A writer lives as long as its watch, which ends with this.
            let _ = store.wait_until_ready().await;
        }
    }

    /// Whether everything of a kind has been seen once.
    pub fn is_complete(&self, kind: &str) -> bool {
        let store = self.stores.iter().find(|(name, _)| *name == kind);
        store.is_some_and(|(_, store)| {
            store
                .wait_until_ready()
                .now_or_never()
                .is_some_and(|ready| ready.is_ok())
        })
    }

    /// Every object, as JSON. A lab's are no experiments: in a list they would tell its people what they are to find out.
    pub fn objects(&self) -> Vec<Value> {
        let of_a_lab = |object: &Arc<DynamicObject>| {
            object.metadata.namespace.as_deref() == Some(hikeshi_lab::compile::NAMESPACE)
        };
        self.stores
            .iter()
            .flat_map(|(_, store)| store.state())
            .filter(|object| !of_a_lab(object))
            .filter_map(|object| serde_json::to_value(object.as_ref()).ok())
            .collect()
    }

    /// Pods, nodes and Services as they are now.
    pub async fn cluster(&self) -> Result<Cluster, kube::Error> {
        let all = ListParams::default();
        let pods: Api<Pod> = Api::all(self.client.clone());
        let nodes: Api<Node> = Api::all(self.client.clone());
        let services: Api<Service> = Api::all(self.client.clone());
        let (pods, nodes, services) =
            tokio::try_join!(pods.list(&all), nodes.list(&all), services.list(&all))?;
        Ok(Cluster {
            pods: values(pods.items),
            nodes: values(nodes.items),
            services: values(services.items),
        })
    }

    /// Creates an experiment's object, marked as control's own; answers its uid.
    pub async fn create(&self, object: &Value, id: &str) -> Result<String, kube::Error> {
        let mut object = object.clone();
        object["metadata"]["annotations"][annotations::EXPERIMENT] = json!(id);
        let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        let kind = object
            .types
            .as_ref()
            .map(|types| types.kind.clone())
            .unwrap_or_default();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let created = self
            .api(&kind, &namespace)
            .create(&PostParams::default(), &object)
            .await?;
        Ok(created.metadata.uid.unwrap_or_default())
    }

    /// Deletes the object; what somebody else made to come again is paused (Schedule) or aborted (Workflow, which cannot
    /// pause; also those that a Schedule has started). One that is gone is no error.
    pub async fn end(&self, object: &Value, owned: bool) -> Result<(), kube::Error> {
        let (kind, namespace, name) = names(object);
        let api = self.api(kind, namespace);
        match kind {
            "Schedule" if !owned => {
                unless_gone(self.annotate(&api, name, annotations::PAUSE, "true").await)?;
                if object["spec"]["type"] == "Workflow" {
                    self.abort_workflows_of(namespace, name).await?;
                }
                Ok(())
            }
            "Workflow" if !owned => unless_gone(self.annotate(&api, name, ABORT, "true").await),
            _ => unless_gone(api.delete(name, &DeleteParams::default()).await.map(drop)),
        }
    }

    async fn abort_workflows_of(&self, namespace: &str, schedule: &str) -> Result<(), kube::Error> {
        let api = self.api("Workflow", namespace);
        for workflow in api.list(&ListParams::default()).await?.items {
            let mut owners = workflow.metadata.owner_references.iter().flatten();
            let ours = owners.any(|owner| owner.kind == "Schedule" && owner.name == schedule);
            if let Some(name) = workflow.metadata.name.filter(|_| ours) {
                unless_gone(self.annotate(&api, &name, ABORT, "true").await)?;
            }
        }
        Ok(())
    }

    /// Writes until when the object may live.
    pub async fn lease(&self, object: &Value, until: Timestamp) -> Result<(), kube::Error> {
        let (kind, namespace, name) = names(object);
        let api = self.api(kind, namespace);
        self.annotate(&api, name, annotations::LEASE_UNTIL, &until.to_string())
            .await
    }

    async fn annotate(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map(drop)
    }

    /// Tells of the experiment as a Kubernetes Event on its object.
    pub async fn tell(
        &self,
        object: &Value,
        uid: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), kube::Error> {
        let (kind, namespace, name) = names(object);
        let now = Timestamp::now();
        let warning = reason != "ExperimentEnded";
        let event = json!({
            "metadata": {"generateName": format!("{name}."), "namespace": namespace},
            "involvedObject": {"apiVersion": API_VERSION, "kind": kind, "namespace": namespace, "name": name, "uid": uid},
            "type": if warning { "Warning" } else { "Normal" },
            "reason": reason, "message": message,
            "source": {"component": "hikeshi-experiment"},
            "firstTimestamp": now.to_string(), "lastTimestamp": now.to_string(), "count": 1,
        });
        let event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), namespace);
        events.create(&PostParams::default(), &event).await.map(drop)
    }

    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }
}

fn unless_gone(done: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

fn values<T: serde::Serialize>(items: Vec<T>) -> Vec<Value> {
    items
        .iter()
        .filter_map(|item| serde_json::to_value(item).ok())
        .collect()
}

fn resource(kind: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk("chaos-mesh.org", "v1alpha1", kind);
    ApiResource::from_gvk_with_plural(&gvk, &plural(kind))
}

/// Kind, namespace and name.
pub(super) fn names(object: &Value) -> (&str, &str, &str) {
    (
        object["kind"].as_str().unwrap_or_default(),
        object["metadata"]["namespace"].as_str().unwrap_or_default(),
        object["metadata"]["name"].as_str().unwrap_or_default(),
    )
}
