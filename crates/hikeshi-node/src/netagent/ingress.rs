//! Ingress objects as the data plane's rules, and what of them cannot be honoured.
//!
//! Weights follow the AWS load balancer controller: a backend whose port is named `use-annotation` means the forward
//! action in the annotation `alb.ingress.kubernetes.io/actions.SERVICE-NAME`.

use std::collections::BTreeMap;

use hikeshi_proxy::{Condition, IngressBackend, IngressRule, PathKind};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend as Named, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde::Deserialize;

/// Classes served here: our own name, and those that people's manifests carry.
const CLASSES: [&str; 3] = ["hikeshi", "alb", "nginx"];
/// Where a class stood before it became a field.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const ACTIONS: &str = "alb.ingress.kubernetes.io/actions.";
/// And what else a request to that backend must be.
const CONDITIONS: &str = "alb.ingress.kubernetes.io/conditions.";
/// The port's name that sends the reader to an action.
const BY_ACTION: &str = "use-annotation";
const MOST_WEIGHT: u16 = 1_000;

/// Annotations of a class that change where or how requests go.
const PREFIXES: [&str; 2] = ["alb.ingress.kubernetes.io/", "nginx.ingress.kubernetes.io/"];
/// Those about the load balancer as a machine (its subnets, certificates, health checks): there is none to set up here,
/// and requests go the same way without them.
const MACHINERY: [&str; 25] = [
    "alb.ingress.kubernetes.io/backend-protocol",
    "alb.ingress.kubernetes.io/certificate-arn",
    "alb.ingress.kubernetes.io/group.name",
    "alb.ingress.kubernetes.io/group.order",
    "alb.ingress.kubernetes.io/healthcheck-interval-seconds",
    "alb.ingress.kubernetes.io/healthcheck-path",
    "alb.ingress.kubernetes.io/healthcheck-port",
    "alb.ingress.kubernetes.io/healthcheck-protocol",
    "alb.ingress.kubernetes.io/healthcheck-timeout-seconds",
    "alb.ingress.kubernetes.io/healthy-threshold-count",
    "alb.ingress.kubernetes.io/unhealthy-threshold-count",
    "alb.ingress.kubernetes.io/success-codes",
    "alb.ingress.kubernetes.io/ip-address-type",
    "alb.ingress.kubernetes.io/listen-ports",
    "alb.ingress.kubernetes.io/load-balancer-attributes",
    "alb.ingress.kubernetes.io/load-balancer-name",
    "alb.ingress.kubernetes.io/manage-backend-security-group-rules",
    "alb.ingress.kubernetes.io/scheme",
    "alb.ingress.kubernetes.io/security-groups",
    "alb.ingress.kubernetes.io/ssl-policy",
    "alb.ingress.kubernetes.io/subnets",
    "alb.ingress.kubernetes.io/tags",
    "alb.ingress.kubernetes.io/target-group-attributes",
    "alb.ingress.kubernetes.io/target-node-labels",
    "alb.ingress.kubernetes.io/target-type",
];

/// What one Ingress asks for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Translation {
    /// Served here at all: of a class of ours, and nothing in it changes what its rules mean.
    pub served: bool,
    pub rules: Vec<IngressRule>,
    /// What is not honoured: each names its field and how to mend it.
    pub refusals: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Action {
    #[serde(rename = "type")]
    type_: String,
    forward_config: Option<Forward>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Forward {
    target_groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    service_name: String,
    service_port: IntOrString,
    weight: Option<u16>,
}

/// One of the AWS load balancer controller's conditions. Paths and hosts are said by the rule itself.
#[derive(Debug, Deserialize)]
#[serde(
    tag = "field",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
enum ConditionSaid {
    HttpRequestMethod { http_request_method_config: Values },
    HttpHeader { http_header_config: HeaderValues },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderValues {
    http_header_name: String,
    values: Vec<String>,
}

struct Translator<'a> {
    namespace: String,
    class: &'a str,
    annotations: &'a BTreeMap<String, String>,
    services: &'a [&'a Service],
    made: Translation,
}

/// The oldest first: of rules that are alike, the first wins.
pub(super) fn in_order<'a>(ingresses: impl Iterator<Item = &'a Ingress>) -> Vec<&'a Ingress> {
    let mut all: Vec<_> = ingresses.collect();
    all.sort_by_key(|one| {
        let made = one.creation_timestamp().map(|time| time.0);
        (made, one.namespace(), one.name_any())
    });
    all
}

/// Reads one Ingress. `services` are all of the cluster's.
pub(super) fn translate(ingress: &Ingress, services: &[&Service]) -> Translation {
    let mut refusals = Vec::new();
    let spec = ingress.spec.clone().unwrap_or_default();
    let by_annotation = ingress.annotations().get(CLASS_ANNOTATION).map(String::as_str);
    let class = spec
        .ingress_class_name
        .as_deref()
        .or(by_annotation)
        .unwrap_or("hikeshi");
    if !CLASSES.contains(&class) {
        refusals.push(format!(
            "spec.ingressClassName: {class:?} is served by nobody here: use one of {}",
            CLASSES.join(", ")
        ));
        return Translation {
            refusals,
            ..Translation::default()
        };
    }
    for name in ingress.annotations().keys() {
        let of_a_backend = [ACTIONS, CONDITIONS]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        let known = MACHINERY.contains(&name.as_str()) || of_a_backend;
        if !known && PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            refusals.push(format!(
                "metadata.annotations[{name}]: not supported here, so none of this Ingress' rules is served: remove it"
            ));
        }
    }
    if !refusals.is_empty() {
        return Translation {
            refusals,
            ..Translation::default()
        };
    }
    if spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()) {
        refusals.push("spec.tls: not supported here: the entrance speaks plain HTTP only".to_owned());
    }
    let mut translator = Translator {
        namespace: ingress.namespace().unwrap_or_default(),
        class,
        annotations: ingress.annotations(),
        services,
        made: Translation {
            served: true,
            rules: Vec::new(),
            refusals,
        },
    };
    for (n, rule) in spec.rules.iter().flatten().enumerate() {
        let host = rule.host.clone().filter(|host| !host.is_empty());
        if let Some(wrong) = host.as_deref().filter(|host| !is_host(host)) {
            translator.refuse(
                &format!("spec.rules[{n}].host"),
                &format!("{wrong:?} is neither a name nor `*.` and a name"),
            );
            continue;
        }
        for (p, path) in rule.http.iter().flat_map(|http| http.paths.iter().enumerate()) {
            translator.path(host.as_deref(), path, &format!("spec.rules[{n}].http.paths[{p}]"));
        }
    }
    if let Some(backend) = &spec.default_backend {
        let backends = translator.backends(backend, "spec.defaultBackend");
        translator.made.rules.push(IngressRule {
            host: None,
            path: "/".to_owned(),
            kind: PathKind::Prefix,
            conditions: Vec::new(),
            backends,
        });
    }
    translator.made
}

fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    !name.is_empty() && !name.contains(['*', '/', ':'])
}

impl Translator<'_> {
    fn refuse(&mut self, field: &str, why: &str) {
        self.made.refusals.push(format!("{field}: {why}"));
    }

    fn path(&mut self, host: Option<&str>, path: &HTTPIngressPath, field: &str) {
        let text = path.path.clone().filter(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| "/".to_owned());
        if !text.starts_with('/') {
            return self.refuse(
                &format!("{field}.path"),
                &format!("{text:?} does not begin with /"),
            );
        }
        let (text, kind) = match path.path_type.as_str() {
            "Exact" => (text, PathKind::Exact),
            "Prefix" => (text, PathKind::Prefix),
            "ImplementationSpecific" => match self.specific(&text) {
                Some(read) => read,
                None => {
                    let why = format!(
                        "{text:?}: only a `*` after the last / is supported, and with the class alb `*` and `?` anywhere"
                    );
                    return self.refuse(&format!("{field}.path"), &why);
                }
            },
            other => {
                let why = format!("{other:?} is none of Exact, Prefix, ImplementationSpecific");
                return self.refuse(&format!("{field}.pathType"), &why);
            }
        };
        let Some(conditions) = self.conditions(&path.backend) else {
            // Without its conditions the rule would be about requests that nobody meant.
            return;
        };
        let backends = self.backends(&path.backend, &format!("{field}.backend"));
        self.made.rules.push(IngressRule {
            host: host.map(str::to_owned),
            path: text,
            kind,
            conditions,
            backends,
        });
    }

    /// A path as its class reads it: with ALB a pattern (`/a` is exact, `/a/*` is what lies below), else a prefix.
    fn specific(&self, text: &str) -> Option<(String, PathKind)> {
        let below = text.strip_suffix("/*");
        let plain = below.unwrap_or(text);
        if self.class == "alb" && plain.contains(['*', '?']) {
            return Some((text.to_owned(), PathKind::Pattern));
        }
        if plain.contains(['*', '?', '(', '[', '^', '$']) {
            return None;
        }
        Some(match below {
            Some("") => ("/".to_owned(), PathKind::Prefix),
            // Without the `/` the prefix would cover the folder itself, which ALB's pattern does not; the difference is
            // one path, and people mean it to be covered.
            Some(folder) => (folder.to_owned(), PathKind::Prefix),
            None if self.class == "alb" => (text.to_owned(), PathKind::Exact),
            None => (text.to_owned(), PathKind::Prefix),
        })
    }

    /// What else a request to this backend must be; none when that cannot be honoured, which is said.
    fn conditions(&mut self, backend: &Named) -> Option<Vec<Condition>> {
        let name = backend
            .service
            .as_ref()
            .map(|service| service.name.as_str())
            .unwrap_or_default();
        let annotation = format!("{CONDITIONS}{name}");
        let Some(text) = self.annotations.get(&annotation) else {
            return Some(Vec::new());
        };
        match serde_json::from_str::<Vec<ConditionSaid>>(text) {
            Ok(said) => Some(said.into_iter().map(condition).collect()),
            Err(error) => {
                let why = format!("{error}; supported are http-header and http-request-method");
                self.refuse(&format!("metadata.annotations[{annotation}]"), &why);
                None
            }
        }
    }

    /// A rule's backends; none when it leads nowhere: such requests are answered with 503, and the field is named.
    fn backends(&mut self, backend: &Named, field: &str) -> Vec<IngressBackend> {
        let Some(service) = &backend.service else {
            self.refuse(
                &format!("{field}.resource"),
                "not supported here: use a service as the backend",
            );
            return Vec::new();
        };
        let port = service.port.clone().unwrap_or_default();
        if port.name.as_deref() == Some(BY_ACTION) {
            return self.by_action(&service.name, field);
        }
        match self.port(&service.name, &port) {
            Ok(port) => vec![self.backend(&service.name, port, 1)],
            Err(why) => {
                self.refuse(&format!("{field}.service"), &why);
                Vec::new()
            }
        }
    }

    fn backend(&self, service: &str, port: u16, weight: u16) -> IngressBackend {
        IngressBackend {
            namespace: self.namespace.clone(),
            service: service.to_owned(),
            port,
            weight,
        }
    }

    /// The number of a Service's port.
    fn port(&self, service: &str, port: &ServiceBackendPort) -> Result<u16, String> {
        let found = self.services.iter().find(|one| {
            one.namespace().as_deref() == Some(self.namespace.as_str()) && one.name_any() == service
        });
        let Some(found) = found else {
            return Err(format!(
                "there is no Service {service:?} in namespace {:?}",
                self.namespace
            ));
        };
        let mut ports = found.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let (found, asked) = match (&port.name, port.number) {
            (Some(name), _) => (ports.find(|one| one.name.as_ref() == Some(name)), name.clone()),
            (None, Some(number)) => (ports.find(|one| one.port == number), number.to_string()),
            (None, None) => return Err("port: either name or number is required".to_owned()),
        };
        found
            .and_then(|port| u16::try_from(port.port).ok())
            .ok_or_else(|| format!("Service {service:?} has no port {asked}"))
    }

    fn by_action(&mut self, name: &str, field: &str) -> Vec<IngressBackend> {
        let annotation = format!("{ACTIONS}{name}");
        let named = format!("metadata.annotations[{annotation}]");
        let Some(text) = self.annotations.get(&annotation) else {
            self.refuse(field, &format!("there is no annotation {annotation}"));
            return Vec::new();
        };
        let groups = match serde_json::from_str::<Action>(text) {
            Err(error) => {
                self.refuse(&named, &error.to_string());
                return Vec::new();
            }
            Ok(Action {
                type_,
                forward_config: Some(forward),
            }) if type_ == "forward" => forward.target_groups,
            Ok(action) => {
                let why = format!(
                    "type {:?}: only \"forward\" with a forwardConfig is supported here",
                    action.type_
                );
                self.refuse(&named, &why);
                return Vec::new();
            }
        };
        let mut backends = Vec::new();
        for (n, group) in groups.into_iter().enumerate() {
            let field = format!("{named}.forwardConfig.targetGroups[{n}]");
            let weight = group.weight.unwrap_or(1);
            if weight > MOST_WEIGHT {
                self.refuse(
                    &format!("{field}.weight"),
                    &format!("{weight} is more than {MOST_WEIGHT}"),
                );
                return Vec::new();
            }
            let port = match &group.service_port {
                IntOrString::Int(number) => ServiceBackendPort {
                    number: Some(*number),
                    name: None,
                },
                IntOrString::String(text) => ServiceBackendPort {
                    number: text.parse().ok(),
                    name: Some(text.clone()).filter(|text| text.parse::<i32>().is_err()),
                },
            };
            match self.port(&group.service_name, &port) {
                Ok(port) => backends.push(self.backend(&group.service_name, port, weight)),
                Err(why) => {
                    // A share that leads nowhere must not fall to the others: the whole action waits for its Service.
                    self.refuse(&field, &why);
                    return Vec::new();
                }
            }
        }
        backends
    }
}

fn condition(said: ConditionSaid) -> Condition {
    match said {
        ConditionSaid::HttpRequestMethod {
            http_request_method_config: methods,
        } => Condition::Method(methods.values),
        ConditionSaid::HttpHeader {
            http_header_config: header,
        } => Condition::Header {
            name: header.http_header_name,
            values: header.values,
        },
    }
}

#[cfg(test)]
mod tests;
