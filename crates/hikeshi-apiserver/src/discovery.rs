//! What the server serves, in both forms clients ask for: one aggregated document, or group by group.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::Resource;
use crate::rest::METRIC_GROUPS;
use crate::status::json_response;

/// Metrics have names of Prometheus', not of ours: one entry stands for all. Without any, kubectl would not keep what it
/// has discovered, and ask again at every command.
const METRIC_OF: &str = "namespaces";
const METRIC: &str = "metrics";
const METRIC_KIND: &str = "MetricValueList";

/// Groups in registry order, each with its versions (the preferred first).
fn groups(resources: &[Arc<Resource>]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for resource in resources.iter().filter(|r| !r.group.is_empty()) {
        let at = groups
            .iter()
            .position(|(group, _)| *group == resource.group)
            .unwrap_or_else(|| {
                groups.push((resource.group.to_string(), Vec::new()));
                groups.len() - 1
            });
        let versions = &mut groups[at].1;
        if !versions.iter().any(|v| *v == resource.version) {
            versions.push(resource.version.to_string());
        }
    }
    for (group, version) in METRIC_GROUPS {
        groups.push((group.to_owned(), vec![version.to_owned()]));
    }
    groups
}

/// Answers a discovery path; `None` when the path is another's.
pub(crate) fn answer(path: &str, headers: &HeaderMap, resources: &[Arc<Resource>]) -> Option<Response> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let accept = headers
        .get(http::header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    match parts.as_slice() {
        [root @ ("api" | "apis")] => {
            let aggregated = accept.contains("g=apidiscovery.k8s.io");
            Some(if aggregated {
                let version = if accept.contains("v=v2;") || accept.ends_with("v=v2") {
                    "v2"
                } else {
                    "v2beta1"
                };
                aggregate(*root == "api", version, resources, headers)
            } else if *root == "api" {
                json_response(
                    200,
                    &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
                )
            } else {
                let groups: Vec<Value> = groups(resources).iter().map(group).collect();
                json_response(
                    200,
                    &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
                )
            })
        }
        ["api", "v1"] => Some(json_response(200, &resource_list("", "v1", resources))),
        ["apis", name] => {
            let found = groups(resources).into_iter().find(|(group, _)| group == name)?;
            let mut group = group(&found);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(json_response(200, &group))
        }
        ["apis", group, version] => {
            let known = resources
                .iter()
                .any(|r| r.group == *group && r.version == *version)
                || METRIC_GROUPS.contains(&(*group, *version));
            known.then(|| json_response(200, &resource_list(group, version, resources)))
        }
        _ => None,
    }
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v}))
        .collect();
    json!({"name": name, "preferredVersion": versions[0], "versions": versions})
}

fn resource_list(group: &str, version: &str, resources: &[Arc<Resource>]) -> Value {
    let mut list = Vec::new();
    for r in resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        let mut entry = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced,
            "kind": r.kind, "verbs": r.verbs()});
        if !r.short.is_empty() {
            entry["shortNames"] = json!(r.short);
        }
        if r.in_all {
            entry["categories"] = json!(["all"]);
        }
        list.push(entry);
        for sub in r.subresources() {
            let mut entry = json!({"name": format!("{}/{}", r.plural, sub.name), "singularName": "",
                "namespaced": r.namespaced, "kind": sub.kind, "verbs": sub.verbs});
            if let Some((group, version)) = sub.gv {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            list.push(entry);
        }
    }
    if METRIC_GROUPS.contains(&(group, version)) {
        list.push(
            json!({"name": format!("{METRIC_OF}/{METRIC}"), "singularName": "", "namespaced": true,
            "kind": METRIC_KIND, "verbs": ["get"]}),
        );
    }
    let gv = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": list})
}

fn aggregate(core: bool, version: &str, resources: &[Arc<Resource>], headers: &HeaderMap) -> Response {
    let groups = if core {
        vec![(String::new(), vec!["v1".to_owned()])]
    } else {
        groups(resources)
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|v| {
                    let mine = resources.iter().filter(|r| r.group == *name && r.version == *v);
                    let mut listed: Vec<Value> = mine.map(|r| entry(r)).collect();
                    if METRIC_GROUPS.contains(&(name.as_str(), v.as_str())) {
                        let any = json!({"subresource": METRIC, "verbs": ["get"],
                            "responseKind": {"group": name, "version": v, "kind": METRIC_KIND}});
                        listed.push(
                            json!({"resource": METRIC_OF, "scope": "Namespaced", "subresources": [any]}),
                        );
                    }
                    json!({"version": v, "freshness": "Current", "resources": listed})
                })
                .collect();
            let metadata = if name.is_empty() {
                json!({})
            } else {
                json!({"name": name})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items});
    let content = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    unless_known(headers, content, document.to_string())
}

/// A document with its tag, or 304 for a client that has this very one.
fn unless_known(headers: &HeaderMap, content_type: String, document: String) -> Response {
    let digest = Sha256::digest(document.as_bytes());
    let tag: String = digest[..16].iter().map(|byte| format!("{byte:02X}")).collect();
    let tag = format!("\"{tag}\"");
    let known = headers.get(http::header::IF_NONE_MATCH);
    let same = known.and_then(|known| known.to_str().ok()).is_some_and(|known| {
        let mut known = known.split(',').map(|one| one.trim().trim_start_matches("W/"));
        known.any(|one| one == tag)
    });
    let described = [
        (http::header::ETAG, tag),
        (http::header::VARY, "Accept".to_owned()),
        (http::header::CACHE_CONTROL, "public".to_owned()),
    ];
    if same {
        return (http::StatusCode::NOT_MODIFIED, described).into_response();
    }
    (described, [(http::header::CONTENT_TYPE, content_type)], document).into_response()
}

fn entry(r: &Resource) -> Value {
    let subresources: Vec<Value> = r
        .subresources()
        .iter()
        .map(|sub| {
            let (group, version) = sub.gv.unwrap_or((&r.group, &r.version));
            json!({"subresource": sub.name, "verbs": sub.verbs,
                "responseKind": {"group": group, "version": version, "kind": sub.kind}})
        })
        .collect();
    json!({
        "resource": r.plural, "singularResource": r.singular, "verbs": r.verbs(),
        "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": r.short, "categories": if r.in_all { json!(["all"]) } else { json!([]) },
        "subresources": subresources,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_knows_the_document_is_not_sent_it_again() {
        let resources = crate::registry::built_in();
        let mut headers = HeaderMap::new();
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        headers.insert(http::header::ACCEPT, accept.parse().unwrap());
        let first = answer("/apis", &headers, resources).unwrap();
        assert_eq!(first.status(), 200);
        let tag = first.headers()[http::header::ETAG].clone();
        headers.insert(http::header::IF_NONE_MATCH, tag);
        assert_eq!(answer("/apis", &headers, resources).unwrap().status(), 304);
        // Of another document it is no tag.
        assert_eq!(answer("/api", &headers, resources).unwrap().status(), 200);
    }
}
