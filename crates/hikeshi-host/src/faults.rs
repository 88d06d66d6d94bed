//! Puts a scenario's faults in and takes them out, through the Kubernetes API like everything else.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::library::LoadedScenario;

/// Fault objects carry this, so that they can be found without knowing their names.
pub const LABEL: &str = "hikeshi.dev/injected";

/// Applies and deletes fault objects.
#[derive(Clone)]
pub struct Faults {
    client: kube::Client,
}

/// Which object, and what the API said.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name}: {source}")]
pub struct FaultError {
    kind: String,
    name: String,
    source: Box<kube::Error>,
}

impl Faults {
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Creates every object of a fault file. Answers their names, `kind/name`.
    pub async fn put_in(&self, objects: &[Value]) -> Result<String, FaultError> {
        let mut names = Vec::new();
        for object in objects {
            let mut object = object.clone();
            object["metadata"]["labels"][LABEL] = Value::from("true");
            let (api, kind, name) = self.api(&object);
            api.patch(
                &name,
                &PatchParams::apply("hikeshi-drill").force(),
                &Patch::Apply(&object),
            )
            .await
            .map_err(|source| failed(&kind, &name, source))?;
            names.push(format!("{}/{name}", kind.to_lowercase()));
        }
        Ok(names.join(" "))
    }

    /// Deletes every object of a fault file and waits until they are gone: then traffic is back to normal.
    pub async fn take_out(&self, objects: &[Value]) -> Result<(), FaultError> {
        for object in objects {
            let (api, kind, name) = self.api(object);
            let uid = match api.delete(&name, &DeleteParams::default()).await {
                Ok(deleted) => deleted.left().and_then(|object| object.metadata.uid),
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(source) => return Err(failed(&kind, &name, source)),
            };
            if let Some(uid) = uid {
                let gone = kube::runtime::wait::conditions::is_deleted(&uid);
                let waited = tokio::time::timeout(
                    std::time::Duration::from_secs(10),
                    kube::runtime::wait::await_condition(api, &name, gone),
                );
                if waited.await.is_err() {
                    tracing::warn!(
                        kind,
                        name,
                        "the fault was deleted but its finalizer is still there after 10 s"
                    );
                }
            }
        }
        Ok(())
    }

    /// Deletes every fault object of a scenario; one that is not there is no error.
    pub async fn lift(&self, scenario: &LoadedScenario) {
        for (file, objects) in &scenario.faults {
            if let Err(error) = self.take_out(objects).await {
                tracing::error!(file, %error, "a fault could not be lifted; its lease ends it");
            }
        }
    }

    fn api(&self, object: &Value) -> (Api<DynamicObject>, String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, version) = (text(&object["kind"]), text(&object["apiVersion"]));
        let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
        let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        if group == "chaos-mesh.org" {
            // Chaos Mesh's plurals are its kinds in small letters: `networkchaos`.
            resource.plural = kind.to_lowercase();
        }
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::default_namespaced_with(self.client.clone(), &resource),
        };
        (api, kind, text(&object["metadata"]["name"]))
    }
}

fn failed(kind: &str, name: &str, source: kube::Error) -> FaultError {
    FaultError {
        kind: kind.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    }
}
