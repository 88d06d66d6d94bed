//! Tells each Ingress where it is served, and in events what of it is not.

use std::collections::HashMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::ingress::Translation;

/// What every Ingress (by uid) has been told already.
#[derive(Default)]
pub(super) struct Told {
    refusals: HashMap<String, Vec<String>>,
}

/// The `status.loadBalancer` of a served Ingress; empty for one that is not.
fn load_balancer(served: Option<SocketAddr>) -> Value {
    served.map_or(json!({}), |address| {
        json!({"ingress": [{"ip": address.ip(), "ports": [{"port": address.port(), "protocol": "TCP"}]}]})
    })
}

/// The status to write; `None` when it is so already.
fn status(ingress: &Ingress, served: Option<SocketAddr>) -> Option<Value> {
    let known = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let known = known.and_then(|known| serde_json::to_value(known).ok());
    let wanted = load_balancer(served);
    (known.unwrap_or_else(|| json!({})) != wanted).then(|| {
        // A merge keeps what is not named: a lost address must be named.
        let list = wanted.get("ingress").cloned().unwrap_or(Value::Null);
        json!({"status": {"loadBalancer": {"ingress": list}}})
    })
}

impl Told {
    /// Brings the status and events of every Ingress up to date; `bound` is the entrance's address. Whether all of it
    /// was written.
    pub async fn tell(
        &mut self,
        client: &Client,
        all: &[(&Ingress, Translation)],
        bound: Option<SocketAddr>,
    ) -> bool {
        let mut written = true;
        for (ingress, made) in all {
            if let Some(status) = status(ingress, bound.filter(|_| made.served)) {
                written &= write(client, ingress, &status).await;
            }
            let uid = ingress.uid().unwrap_or_default();
            let known = self.refusals.get(&uid).map_or(&[][..], Vec::as_slice);
            for refusal in made.refusals.iter().filter(|one| !known.contains(one)) {
                warn(client, ingress, refusal).await;
            }
            self.refusals.insert(uid, made.refusals.clone());
        }
        self.refusals
            .retain(|uid, _| all.iter().any(|(ingress, _)| ingress.uid().as_ref() == Some(uid)));
        written
    }
}

async fn write(client: &Client, ingress: &Ingress, status: &Value) -> bool {
    let api: Api<Ingress> = Api::namespaced(client.clone(), &ingress.namespace().unwrap_or_default());
    let (name, parameters) = (ingress.name_any(), PatchParams::default());
    match api.patch_status(&name, &parameters, &Patch::Merge(status)).await {
        Ok(_) => true,
        // Gone meanwhile; the watch tells.
        Err(kube::Error::Api(status)) if status.code == 404 => true,
        Err(error) => {
            tracing::warn!(%error, name, "an Ingress' status was not written");
            false
        }
    }
}

async fn warn(client: &Client, ingress: &Ingress, message: &str) {
    let (namespace, name) = (ingress.namespace().unwrap_or_default(), ingress.name_any());
    let now = Timestamp::now();
    let at = format!("{now:.0}");
    let event = json!({
        "metadata": {"name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": namespace},
        "involvedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": namespace,
            "name": name, "uid": ingress.uid()},
        "reason": "Refused", "message": message, "type": "Warning", "count": 1,
        "firstTimestamp": at, "lastTimestamp": at,
        "source": {"component": "ingress"}, "reportingComponent": "ingress", "reportingInstance": "",
    });
    let made = match serde_json::from_value::<Event>(event) {
        Ok(event) => {
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            api.create(&PostParams::default(), &event).await.map(drop)
        }
        Err(error) => Err(kube::Error::SerdeError(error)),
    };
    if let Err(error) = made {
        tracing::warn!(%error, name, message, "an Ingress' refusal was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_where_it_is_served_and_nothing_when_it_is_not() {
        let bare: Ingress = serde_json::from_value(json!({"metadata": {"name": "web"}})).unwrap();
        let address: SocketAddr = "127.0.0.1:7781".parse().unwrap();
        let patch = status(&bare, Some(address)).expect("to be told");
        assert_eq!(
            patch["status"]["loadBalancer"]["ingress"],
            json!([{"ip": "127.0.0.1", "ports": [{"port": 7781, "protocol": "TCP"}]}])
        );
        assert_eq!(status(&bare, None), None);
        let told: Ingress =
            serde_json::from_value(json!({"metadata": {"name": "web"}, "status": patch["status"]})).unwrap();
        assert_eq!(status(&told, Some(address)), None, "nothing is written twice");
        let gone = status(&told, None).expect("to be told");
        assert_eq!(gone["status"]["loadBalancer"]["ingress"], Value::Null);
    }
}
