//! Puts a scenario's faults in and takes them out, through the Kubernetes API like everything else.

use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::library::LoadedScenario;

/// Fault objects carry this, so that they can be found without knowing their names.
pub const LABEL: &str = "hikeshi.dev/injected";

/// How much longer than meant a fault may live when nobody takes it out.
const MARGIN: Duration = Duration::from_secs(30);

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

    /// Creates every object of a fault file. Answers their names, `kind/name`. A fault that `lasts` for a time ends by
    /// itself soon after it, should nobody take it out.
    pub async fn put_in(&self, objects: &[Value], lasts: Option<Duration>) -> Result<String, FaultError> {
        let mut names = Vec::new();
        for object in objects {
            let mut object = leased(object, lasts);
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
            delete(api, &kind, &name).await?;
        }
        Ok(())
    }

    /// Deletes every fault object that any drill has put in.
    pub async fn sweep(&self) -> Result<(), FaultError> {
        let ours = ListParams::default().labels(&format!("{LABEL}=true"));
        for (kind, _) in hikeshi_chaos::EXPERIMENTS {
            let resource = resource("chaos-mesh.org", "v1alpha1", kind);
            let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let found = all.list(&ours).await.map_err(|source| failed(kind, "", source))?;
            for object in found {
                let namespace = object.metadata.namespace.unwrap_or_default();
                let api = Api::namespaced_with(self.client.clone(), &namespace, &resource);
                delete(api, kind, &object.metadata.name.unwrap_or_default()).await?;
            }
        }
        Ok(())
    }

    /// Deletes every fault object of a scenario; one that is not there is no error.
    pub async fn lift(&self, scenario: &LoadedScenario) {
        for (file, objects) in &scenario.faults {
            if let Err(error) = self.take_out(objects).await {
                tracing::error!(file, %error, "a fault could not be lifted; it is tried again while no drill is on");
            }
        }
    }

    fn api(&self, object: &Value) -> (Api<DynamicObject>, String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, version) = (text(&object["kind"]), text(&object["apiVersion"]));
        let (group, version) = version.rsplit_once('/').unwrap_or(("", &version));
        let resource = resource(group, version, &kind);
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::default_namespaced_with(self.client.clone(), &resource),
        };
        (api, kind, text(&object["metadata"]["name"]))
    }
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if group == "chaos-mesh.org" {
        resource.plural = hikeshi_chaos::plural(kind);
    }
    resource
}

/// Deletes one fault object and waits until it is gone; one that is not there is no error.
async fn delete(api: Api<DynamicObject>, kind: &str, name: &str) -> Result<(), FaultError> {
    let uid = match api.delete(name, &DeleteParams::default()).await {
        Ok(deleted) => deleted.left().and_then(|object| object.metadata.uid),
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(source) => return Err(failed(kind, name, source)),
    };
    if let Some(uid) = uid {
        let gone = kube::runtime::wait::conditions::is_deleted(&uid);
        let waited = tokio::time::timeout(
            Duration::from_secs(10),
            kube::runtime::wait::await_condition(api, name, gone),
        );
        if waited.await.is_err() {
            tracing::warn!(
                kind,
                name,
                "the fault was deleted but its finalizer is still there after 10 s"
            );
        }
    }
    Ok(())
}

/// The object with a duration, where its kind has one and it says none.
fn leased(object: &Value, lasts: Option<Duration>) -> Value {
    let mut object = object.clone();
    let has_one = object["kind"] != "PodChaos" && object["spec"]["duration"].is_null();
    if let Some(lasts) = lasts.filter(|_| has_one) {
        object["spec"]["duration"] = Value::from(format!("{}s", (lasts + MARGIN).as_secs()));
    }
    object
}

fn failed(kind: &str, name: &str, source: kube::Error) -> FaultError {
    FaultError {
        kind: kind.to_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_that_nobody_takes_out_ends_by_itself() {
        let spell = json!({"kind": "NetworkChaos", "spec": {"action": "delay"}});
        let lasts = Some(Duration::from_secs(40));
        assert_eq!(leased(&spell, lasts)["spec"]["duration"], "70s");
        assert_eq!(leased(&spell, None), spell);
        let own = json!({"kind": "NetworkChaos", "spec": {"duration": "5s"}});
        assert_eq!(leased(&own, lasts), own);
        let kill = json!({"kind": "PodChaos", "spec": {"action": "pod-kill"}});
        assert_eq!(leased(&kill, lasts), kill);
    }
}
