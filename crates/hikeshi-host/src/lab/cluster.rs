//! What a lab does in the cluster, through the Kubernetes API like everybody else.

use std::time::Duration;

use hikeshi_lab::compile::{LABEL, NAMESPACE};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait;
use serde_json::{Value, json};

const MANAGER: &str = "hikeshi-lab";
/// How long a fault may take until it is in force, or gone.
const SOON: Duration = Duration::from_secs(15);
/// How long the second group may take until it is ready.
const GROUP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Cluster {
    client: kube::Client,
}

/// Why the cluster is not as the lab wants it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("{name} was not in force within {} s", SOON.as_secs())]
    NotInForce { name: String },
    #[error("{name} is not ready after {} s", GROUP.as_secs())]
    NotReady { name: String },
}

impl Cluster {
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = match kind {
            "HTTPChaos" => ApiResource::from_gvk_with_plural(&gvk, &hikeshi_chaos::plural(kind)),
            _ => ApiResource::from_gvk(&gvk),
        };
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    fn faults(&self) -> Api<DynamicObject> {
        self.api("chaos-mesh.org/v1alpha1", "HTTPChaos", NAMESPACE)
    }

    /// A Deployment as the API tells it.
    pub async fn deployment(&self, namespace: &str, name: &str) -> Result<Value, ClusterError> {
        let found = self.api("apps/v1", "Deployment", namespace).get(name).await?;
        Ok(serde_json::to_value(found).unwrap_or_default())
    }

    pub async fn apply(&self, object: &Value) -> Result<(), ClusterError> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let api = self.api(text("/apiVersion"), text("/kind"), text("/metadata/namespace"));
        let params = PatchParams::apply(MANAGER).force();
        api.patch(text("/metadata/name"), &params, &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// The namespace of the faults.
    pub async fn prepare(&self) -> Result<(), ClusterError> {
        let namespaces: Api<DynamicObject> = Api::all_with(
            self.client.clone(),
            &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace")),
        );
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        namespaces
            .patch(
                NAMESPACE,
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(&object),
            )
            .await?;
        Ok(())
    }

    /// Waits until a Deployment has a ready pod.
    pub async fn ready(&self, namespace: &str, name: &str) -> Result<(), ClusterError> {
        let api = self.api("apps/v1", "Deployment", namespace);
        let waited = tokio::time::timeout(GROUP, async {
            loop {
                let found = api.get(name).await?;
                if found.data["status"]["readyReplicas"].as_i64().unwrap_or(0) > 0 {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        waited.await.map_err(|_| ClusterError::NotReady {
            name: name.to_owned(),
        })?
    }

    /// Puts a fault in and waits until it is in force.
    pub async fn put_in(&self, fault: &Value) -> Result<(), ClusterError> {
        self.apply(fault).await?;
        let name = fault["metadata"]["name"].as_str().unwrap_or_default();
        let api = self.faults();
        let waited = tokio::time::timeout(SOON, async {
            loop {
                let found = api.get(name).await?;
                let conditions = found.data["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                if conditions
                    .iter()
                    .any(|one| one["type"] == "AllInjected" && one["status"] == "True")
                {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        waited.await.map_err(|_| ClusterError::NotInForce {
            name: name.to_owned(),
        })?
    }

    /// Takes faults out whose name fits, and waits until they are gone.
    pub async fn take_out(&self, fits: impl Fn(&str) -> bool) -> Result<(), ClusterError> {
        let api = self.faults();
        for found in api
            .list(&ListParams::default().labels(&format!("{LABEL}=fault")))
            .await?
            .items
        {
            let (Some(name), Some(uid)) = (found.metadata.name, found.metadata.uid) else {
                continue;
            };
            if !fits(&name) {
                continue;
            }
            unless_gone(api.delete(&name, &DeleteParams::default()).await.map(drop))?;
            let gone = wait::await_condition(api.clone(), &name, wait::conditions::is_deleted(&uid));
            if tokio::time::timeout(SOON, gone).await.is_err() {
                return Err(ClusterError::NotInForce {
                    name: format!("the end of {name}"),
                });
            }
        }
        Ok(())
    }

    /// Says until when the faults may be in force.
    pub async fn renew(&self, until: Timestamp) -> Result<(), ClusterError> {
        let api = self.faults();
        let patch = json!({"metadata": {"annotations": {hikeshi_chaos::annotations::LEASE_UNTIL: until.to_string()}}});
        for found in api
            .list(&ListParams::default().labels(&format!("{LABEL}=fault")))
            .await?
            .items
        {
            let name = found.metadata.name.unwrap_or_default();
            unless_gone(
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await
                    .map(drop),
            )?;
        }
        Ok(())
    }

    /// Takes out everything that any lab has made, its faults first.
    pub async fn sweep(&self, namespace: &str) -> Result<(), ClusterError> {
        match self.take_out(|_| true).await {
            // No such kind, or nothing there yet: then there is nothing of ours either.
            Err(ClusterError::Api(kube::Error::Api(status))) if status.code == 404 => {}
            other => other?,
        }
        let ours = ListParams::default().labels(&format!("{LABEL}=trial"));
        for (version, kind) in [
            ("networking.k8s.io/v1", "Ingress"),
            ("apps/v1", "Deployment"),
            ("v1", "Service"),
        ] {
            let api = self.api(version, kind, namespace);
            for found in api.list(&ours).await?.items {
                let name = found.metadata.name.unwrap_or_default();
                unless_gone(api.delete(&name, &DeleteParams::default()).await.map(drop))?;
            }
        }
        Ok(())
    }
}

fn unless_gone(done: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}
