//! A container's environment: values, references, `$(VAR)`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use super::pods::{ConfigSource, field};
use super::quantity;

/// Why an environment cannot be made yet (or ever); Kubernetes shows it as CreateContainerConfigError.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnvError(pub String);

/// The environment of `container`, over the image's own variables.
pub fn environment(
    pod: &Pod,
    container: &Container,
    base: BTreeMap<String, String>,
    config: &dyn ConfigSource,
) -> Result<BTreeMap<String, String>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut env = base;
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match config.config_map(namespace, &reference.name) {
                Some(map) => env.extend(map.into_iter().map(|(key, value)| {
                    (
                        format!("{prefix}{key}"),
                        String::from_utf8_lossy(&value).into_owned(),
                    )
                })),
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError(format!("configmap {:?} not found", reference.name))),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match config.secret(namespace, &reference.name) {
                Some(map) => env.extend(map.into_iter().map(|(key, value)| {
                    (
                        format!("{prefix}{key}"),
                        String::from_utf8_lossy(&value).into_owned(),
                    )
                })),
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError(format!("secret {:?} not found", reference.name))),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(pod, container, variable, &env, namespace, config)? {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

fn value(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    env: &BTreeMap<String, String>,
    namespace: &str,
    config: &dyn ConfigSource,
) -> Result<Option<String>, EnvError> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), env)));
    };
    let keyed = |kind: &str,
                 name: &str,
                 key: &str,
                 optional: Option<bool>,
                 map: Option<BTreeMap<String, Vec<u8>>>| {
        let missing = map.is_none();
        match map.and_then(|map| map.get(key).cloned()) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional == Some(true) => Ok(None),
            None if missing => Err(EnvError(format!("{kind} {name:?} not found"))),
            None => Err(EnvError(format!(
                "couldn't find key {key} in {kind} {namespace}/{name}"
            ))),
        }
    };
    if let Some(reference) = &source.config_map_key_ref {
        let map = config.config_map(namespace, &reference.name);
        return keyed(
            "configmap",
            &reference.name,
            &reference.key,
            reference.optional,
            map,
        );
    }
    if let Some(reference) = &source.secret_key_ref {
        let map = config.secret(namespace, &reference.name);
        return keyed("secret", &reference.name, &reference.key, reference.optional, map);
    }
    if let Some(reference) = &source.field_ref {
        return match field(pod, &reference.field_path) {
            Some(value) => Ok(Some(value)),
            None => Err(EnvError(format!(
                "unsupported fieldPath {:?}",
                reference.field_path
            ))),
        };
    }
    if let Some(reference) = &source.resource_field_ref {
        let container = reference
            .container_name
            .as_ref()
            .and_then(|name| pod.spec.as_ref()?.containers.iter().find(|one| one.name == *name))
            .unwrap_or(container);
        return Ok(Some(resource(
            container,
            &reference.resource,
            reference.divisor.as_ref().map(|d| d.0.as_str()),
        )?));
    }
    Err(EnvError(format!(
        "variable {:?} has a valueFrom of no known kind",
        variable.name
    )))
}

/// `limits.cpu` and the like, divided and rounded up. Without a limit it is the machine's.
pub fn resource(container: &Container, name: &str, divisor: Option<&str>) -> Result<String, EnvError> {
    let unknown = || EnvError(format!("unsupported resource {name:?}"));
    let (kind, resource) = name.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let listed = match kind {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let value = listed
        .and_then(|list| list.get(resource))
        .map(|quantity| quantity.0.clone());
    let value = match (value, resource) {
        (Some(value), _) => value,
        (None, "cpu") => super::nodes::machine().0.to_string(),
        (None, "memory") => super::nodes::machine().1.to_string(),
        _ => "0".to_owned(),
    };
    let divisor = divisor
        .filter(|divisor| *divisor != "0" && !divisor.is_empty())
        .unwrap_or("1");
    let parts = quantity::millis(&value).zip(quantity::millis(divisor));
    let (value, divisor) = parts.filter(|(_, divisor)| *divisor > 0).ok_or_else(unknown)?;
    Ok(value.div_ceil(divisor).to_string())
}

/// Replaces `$(NAME)` by a variable that is already set; `$$` is a dollar; anything else stays.
pub fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|tail| tail.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Maps;

    impl ConfigSource for Maps {
        fn config_map(&self, _: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
            (name == "settings").then(|| BTreeMap::from([("LEVEL".to_owned(), b"debug".to_vec())]))
        }

        fn secret(&self, _: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
            (name == "db").then(|| BTreeMap::from([("password".to_owned(), b"hush".to_vec())]))
        }
    }

    fn made(env: serde_json::Value) -> Result<BTreeMap<String, String>, EnvError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "chirpy", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-a", "containers": [{
                "name": "c", "env": env, "envFrom": [{"prefix": "S_", "configMapRef": {"name": "settings"}}],
                "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
            }]},
            "status": {"podIP": "127.64.0.10"},
        }))
        .unwrap();
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        environment(
            &pod,
            &container,
            BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            &Maps,
        )
    }

    #[test]
    fn references_become_values() {
        let env = made(json!([
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "URL", "value": "postgres://:$(PASSWORD)@$(IP)/$(NONE)?$$x=$y"},
            {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "x", "optional": true}}},
        ]))
        .unwrap();
        assert_eq!(env["URL"], "postgres://:hush@127.64.0.10/$(NONE)?$x=$y");
        assert_eq!(
            (env["APP"].as_str(), env["MEMORY"].as_str(), env["CPU"].as_str()),
            ("web", "64", "2")
        );
        assert_eq!((env["S_LEVEL"].as_str(), env["PATH"].as_str()), ("debug", "/bin"));
        assert!(!env.contains_key("MAYBE"));
    }

    #[test]
    fn a_missing_reference_is_named() {
        let missing = |name: &str, key: &str| {
            made(json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}]))
                .unwrap_err()
                .0
        };
        assert_eq!(missing("no", "x"), r#"secret "no" not found"#);
        assert_eq!(missing("db", "x"), "couldn't find key x in secret chirpy/db");
    }
}
