//! A Service's ports and its address. The address stands in every pod's `/etc/hosts` and leads connections, so it is one
//! of ours or none.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::Causes;
use crate::registry::Resource;
use crate::status::{ApiError, ApiResult};
use crate::store::View;

const RANGE: &str = "127.96.0.0/16";
/// Kept for `kubernetes.default`, also while that Service is not there.
const API_SERVER: Ipv4Addr = Ipv4Addr::new(127, 96, 0, 1);

/// Whether Services are given this address.
fn is_in_range(ip: Ipv4Addr) -> bool {
    let [a, b, c, d] = ip.octets();
    (a, b) == (127, 96) && (c, d) != (0, 0) && (c, d) != (255, 255)
}

/// What is wrong with a Service's spec by itself.
pub(super) fn spec(spec: &Value, causes: &mut Causes) {
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    let bare = spec["clusterIP"] == "None" || spec["type"] == "ExternalName";
    if ports.is_empty() && !bare {
        causes.push(("spec.ports".into(), "Required value".into()));
    }
    for (i, port) in ports.iter().enumerate() {
        if ports.len() > 1 && port["name"].as_str().is_none_or(str::is_empty) {
            causes.push((format!("spec.ports[{i}].name"), "Required value".into()));
        }
        if !port["port"].as_i64().is_some_and(|p| (1..=65535).contains(&p)) {
            let problem = format!(
                "Invalid value: {}: must be between 1 and 65535, inclusive",
                port["port"]
            );
            causes.push((format!("spec.ports[{i}].port"), problem));
        }
        let node_port = port["nodePort"].as_i64().filter(|port| *port != 0);
        if let Some(number) = node_port.filter(|port| !(30_000..=32_767).contains(port)) {
            let problem = format!(
                "Invalid value: {number}: provided port is not in the valid range. \
                 The range of valid ports is 30000-32767"
            );
            causes.push((format!("spec.ports[{i}].nodePort"), problem));
        }
    }
    address(spec, causes);
}

fn address(spec: &Value, causes: &mut Causes) {
    let ip = given(spec);
    let all = spec["clusterIPs"].as_array().cloned().unwrap_or_default();
    if spec["type"] == "ExternalName" {
        if ip.is_some() || !all.is_empty() {
            let problem = "Forbidden: may not be set for ExternalName services";
            causes.push(("spec.clusterIPs".into(), problem.into()));
        }
        return;
    }
    if let Some(ip) = ip.filter(|ip| *ip != "None" && ip.parse::<Ipv4Addr>().is_err()) {
        let problem = format!("Invalid value: {ip:?}: must be a valid IP address, (e.g. 10.9.8.7)");
        causes.push(("spec.clusterIPs[0]".into(), problem));
    } else if all.len() > 1 {
        let problem = format!(
            "Invalid value: {}: may hold one address only: this cluster has one address family",
            Value::from(all)
        );
        causes.push(("spec.clusterIPs".into(), problem));
    } else if let Some(first) = all.first().filter(|first| first.as_str() != ip) {
        let problem = format!("Invalid value: {first}: first value must match `clusterIP`");
        causes.push(("spec.clusterIPs[0]".into(), problem));
    }
}

fn given(spec: &Value) -> Option<&str> {
    spec["clusterIP"].as_str().filter(|ip| !ip.is_empty())
}

/// Refuses a Service whose address is not one of the range, is another's, or is no longer the one it had.
pub(crate) fn cluster_ip(
    view: &View,
    resource: &Resource,
    old: Option<&Value>,
    new: &Value,
) -> ApiResult<()> {
    let external = |service: &Value| service["spec"]["type"] == "ExternalName";
    if !resource.group.is_empty() || &*resource.kind != "Service" || external(new) {
        return Ok(());
    }
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let Some(asked) = given(&new["spec"]) else {
        let message = "Internal error occurred: failed to allocate a serviceIP: range is full";
        return Err(ApiError::new(500, "InternalError", message));
    };
    let refuse = |field: &str, problem: String| {
        let cause = format!("Invalid value: {}: {problem}", json!([asked]));
        Err(ApiError::invalid(resource, name, &[(field.into(), cause)]))
    };
    let before = old
        .filter(|old| !external(old))
        .and_then(|old| given(&old["spec"]));
    match before {
        Some(before) if before == asked => return Ok(()),
        Some(_) => return refuse("spec.clusterIPs[0]", "may not change once set".into()),
        None => {}
    }
    if asked == "None" {
        return Ok(());
    }
    let field = "spec.clusterIPs";
    let Some(ip) = asked.parse::<Ipv4Addr>().ok().filter(|ip| is_in_range(*ip)) else {
        let problem = format!(
            "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. \
             The range of valid IPs is {RANGE}"
        );
        return refuse(field, problem);
    };
    let metadata = &new["metadata"];
    let is = |other: &Value| {
        other["metadata"]["namespace"] == metadata["namespace"]
            && other["metadata"]["name"] == metadata["name"]
    };
    let mut others = view.list("services", None).filter(|other| !is(other));
    let taken = others.any(|other| other["spec"]["clusterIP"] == asked);
    let kept = ip == API_SERVER && !(metadata["namespace"] == "default" && name == "kubernetes");
    if taken || kept {
        let problem = format!("failed to allocate IP {asked}: provided IP is already allocated");
        return refuse(field, problem);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults;
    use crate::registry::find;
    use crate::store::Store;

    fn service(name: &str, spec: Value) -> Value {
        let mut service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "chirpy"}, "spec": spec});
        service["spec"]["ports"] = json!([{"port": 80}]);
        service
    }

    /// What is said to a Service in a cluster that has `other` at 127.96.0.9.
    fn said(old: Option<&Value>, mut new: Value) -> String {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let resource = find("", "v1", "services").unwrap();
        store
            .write(|view| -> ApiResult<()> {
                let other = service("other", json!({"clusterIP": "127.96.0.9"}));
                view.put("services", "chirpy", "other", other)?;
                defaults::fill(&resource, &mut new, view);
                super::super::values(&resource, &new)?;
                cluster_ip(view, &resource, old, &new)
            })
            .map_or_else(|error| error.message, |()| "yes".to_owned())
    }

    #[test]
    fn an_address_is_one_of_the_range_and_free() {
        for spec in [
            json!({}),
            json!({"clusterIP": ""}),
            json!({"clusterIP": "None"}),
            json!({"clusterIP": "127.96.3.4"}),
            json!({"type": "ExternalName", "externalName": "example.com"}),
        ] {
            assert_eq!(said(None, service("web", spec.clone())), "yes", "{spec}");
        }
        let injected = "127.96.9.9 hikeshi.hikeshi-system.svc.cluster.local\n127.96.9.9";
        for (ip, wanted) in [
            (injected, "must be a valid IP address"),
            (
                "127.96.0.9",
                "failed to allocate IP 127.96.0.9: provided IP is already allocated",
            ),
            (
                "127.96.0.1",
                "failed to allocate IP 127.96.0.1: provided IP is already allocated",
            ),
            (
                "127.64.0.10",
                "the provided IP (127.64.0.10) is not in the valid range. The range of valid IPs is 127.96.0.0/16",
            ),
            ("127.0.0.1", "is not in the valid range"),
            ("127.96.0.0", "is not in the valid range"),
            ("::1", "must be a valid IP address"),
        ] {
            let said = said(None, service("web", json!({"clusterIP": ip})));
            let start = "Service \"web\" is invalid: spec.clusterIPs";
            assert!(said.starts_with(start) && said.contains(wanted), "{ip}: {said}");
        }
    }

    #[test]
    fn the_list_says_the_same_and_external_names_have_none() {
        for (spec, wanted) in [
            (
                json!({"clusterIP": "127.96.3.4", "clusterIPs": ["127.0.0.1"]}),
                "first value must match `clusterIP`",
            ),
            (
                json!({"clusterIP": "127.96.3.4", "clusterIPs": ["127.96.3.4", "::1"]}),
                "one address family",
            ),
            (
                json!({"type": "ExternalName", "clusterIP": "127.96.3.4"}),
                "may not be set for ExternalName",
            ),
        ] {
            let said = said(None, service("web", spec));
            assert!(said.contains(wanted), "{said}");
        }
    }

    #[test]
    fn node_ports_are_given_from_kubernetes_range() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let resource = find("", "v1", "services").unwrap();
        let mut new = service("web", json!({"type": "NodePort"}));
        new["spec"]["ports"] =
            json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30001}]);
        let given = store.write(|view| -> ApiResult<Value> {
            let mut other = service("other", json!({"type": "NodePort"}));
            other["spec"]["ports"][0]["nodePort"] = json!(30000);
            view.put("services", "chirpy", "other", other)?;
            defaults::fill(&resource, &mut new, view);
            Ok(new["spec"]["ports"].clone())
        });
        let given = given.unwrap();
        assert_eq!(
            (&given[0]["nodePort"], &given[1]["nodePort"]),
            (&json!(30002), &json!(30001))
        );
        let mut outside = service("web", json!({"type": "NodePort"}));
        outside["spec"]["ports"] = json!([{"port": 80, "nodePort": 80}]);
        let error = super::super::values(&resource, &outside).unwrap_err().message;
        assert!(
            error.contains("The range of valid ports is 30000-32767"),
            "{error}"
        );
    }

    #[test]
    fn an_address_stays() {
        let old = service("web", json!({"clusterIP": "127.96.3.4"}));
        assert_eq!(said(Some(&old), old.clone()), "yes");
        for ip in ["127.96.3.5", "None"] {
            let said = said(Some(&old), service("web", json!({"clusterIP": ip})));
            assert!(said.contains("may not change once set"), "{said}");
        }
        let was = service("web", json!({"type": "ExternalName"}));
        assert_eq!(said(Some(&was), service("web", json!({}))), "yes");
    }
}
