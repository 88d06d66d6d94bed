//! `/etc/hosts` of every pod: the only resolver there is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, Service};

use super::addresses::{is_of_pods, is_of_services};
use super::pods::is_ready;

/// Kubernetes' default, and the only one here.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// The names of one namespace's services and pods with the addresses they mean.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Names {
    /// `name` without its namespace, to addresses, in order.
    entries: BTreeMap<String, Vec<String>>,
}

/// Every name of the cluster, by namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NameTable {
    namespaces: BTreeMap<String, Names>,
}

/// What stands in a file of lines and words is no more than an address of ours and DNS names.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    text.split('.').all(part)
}

fn parsed(ip: &str, is_ours: fn(Ipv4Addr) -> bool) -> Option<&str> {
    ip.parse().is_ok_and(is_ours).then_some(ip)
}

fn live(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let phase = status.phase.as_deref().unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        return None;
    }
    parsed(status.pod_ip.as_deref()?, is_of_pods)
}

impl NameTable {
    /// The table for these services and pods.
    pub fn new<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        pods: impl IntoIterator<Item = &'a Pod> + Clone,
    ) -> Self {
        let mut table = Self::default();
        for service in services {
            let (Some(name), Some(namespace)) = (&service.metadata.name, &service.metadata.namespace) else {
                continue;
            };
            let Some(spec) = &service.spec else { continue };
            if !is_name(name) || !is_name(namespace) {
                continue;
            }
            let names = table.namespaces.entry(namespace.clone()).or_default();
            match spec.cluster_ip.as_deref() {
                Some("None") => {
                    let early = spec.publish_not_ready_addresses.unwrap_or(false);
                    let Some(selector) = &spec.selector else { continue };
                    let mine = pods.clone().into_iter().filter(|pod| {
                        pod.metadata.namespace.as_ref() == Some(namespace)
                            && selector.iter().all(|(key, value)| {
                                pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value)
                            })
                            && (early || is_ready(pod))
                    });
                    for pod in mine {
                        let Some(ip) = live(pod) else { continue };
                        names.entries.entry(name.clone()).or_default().push(ip.to_owned());
                        let pod_spec = pod.spec.as_ref();
                        if pod_spec.and_then(|spec| spec.subdomain.as_ref()) == Some(name)
                            && let Some(hostname) = pod_spec.and_then(|spec| spec.hostname.as_ref())
                            && is_name(hostname)
                        {
                            names
                                .entries
                                .entry(format!("{hostname}.{name}"))
                                .or_default()
                                .push(ip.to_owned());
                        }
                    }
                }
                Some(ip) => {
                    if let Some(ip) = parsed(ip, is_of_services) {
                        names.entries.entry(name.clone()).or_default().push(ip.to_owned());
                    }
                }
                None => {}
            }
        }
        for addresses in table
            .namespaces
            .values_mut()
            .flat_map(|names| names.entries.values_mut())
        {
            addresses.sort();
            addresses.dedup();
        }
        table
    }

    /// The file for a pod of `namespace`. `own` are the pod's address and its names.
    pub fn render(&self, namespace: &str, own: Option<(&str, &[String])>) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        if let Some((ip, names)) = own {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{ip}\t{}", names.join(" "));
        }
        for (home, names) in &self.namespaces {
            for (name, addresses) in &names.entries {
                for address in addresses {
                    let short = if home == namespace {
                        format!(" {name}")
                    } else {
                        String::new()
                    };
                    let _ = writeln!(
                        text,
                        "{address}\t{name}.{home}.svc.{CLUSTER_DOMAIN} {name}.{home}.svc {name}.{home}{short}"
                    );
                }
            }
        }
        text
    }
}

/// The names a pod has for itself: the full one when it has a subdomain, then its hostname. What is no name is left out.
pub fn own_names(namespace: &str, hostname: &str, subdomain: Option<&str>) -> Vec<String> {
    let full = subdomain.map(|subdomain| format!("{hostname}.{subdomain}.{namespace}.svc.{CLUSTER_DOMAIN}"));
    let names = full.into_iter().chain([hostname.to_owned()]);
    names.filter(|name| is_name(name)).collect()
}

/// The lines of `spec.hostAliases`: names of the pod's own choice, after all others. What is no address or no name is left
/// out.
pub fn aliases(pod: &Pod) -> String {
    let aliases = pod
        .spec
        .iter()
        .flat_map(|spec| spec.host_aliases.iter().flatten());
    let lines = aliases.filter_map(|alias| {
        let ip: IpAddr = alias.ip.parse().ok()?;
        let names: Vec<&str> = alias.hostnames.iter().flatten().map(String::as_str).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| is_name(name)).collect();
        (!names.is_empty()).then(|| format!("{ip}\t{}\n", names.join("\t")))
    });
    lines.collect()
}

/// Rewrites the file in place: the pod has its inode mounted. The new text is there before the old tail goes.
pub fn write_in_place(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "chirpy"}, "spec": spec}))
            .unwrap()
    }

    fn pod(name: &str, ip: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "chirpy", "labels": {"app": "redis"}},
            "spec": {"containers": [], "hostname": name, "subdomain": "redis"},
            "status": {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn lines(text: &str) -> Vec<&str> {
        text.lines().skip(2).collect()
    }

    #[test]
    fn a_service_has_its_short_name_only_at_home() {
        let table = NameTable::new(&[service("web", json!({"clusterIP": "127.96.0.5"}))], &[]);
        assert_eq!(
            lines(&table.render("chirpy", None)),
            ["127.96.0.5\tweb.chirpy.svc.cluster.local web.chirpy.svc web.chirpy web"]
        );
        assert_eq!(
            lines(&table.render("other", Some(("127.64.0.10", &["a".to_owned()])))),
            [
                "127.64.0.10\ta",
                "127.96.0.5\tweb.chirpy.svc.cluster.local web.chirpy.svc web.chirpy"
            ]
        );
    }

    #[test]
    fn a_headless_service_means_its_ready_pods_and_names_each() {
        let pods = [
            pod("redis-0", "127.64.0.10", "True"),
            pod("redis-1", "127.64.0.11", "False"),
        ];
        let spec = json!({"clusterIP": "None", "selector": {"app": "redis"}});
        let text = NameTable::new(&[service("redis", spec)], &pods).render("chirpy", None);
        assert!(text.contains("127.64.0.10\tredis.chirpy.svc.cluster.local"));
        assert!(text.contains("127.64.0.10\tredis-0.redis.chirpy.svc.cluster.local"));
        assert!(!text.contains("127.64.0.11"));
        let spec =
            json!({"clusterIP": "None", "selector": {"app": "redis"}, "publishNotReadyAddresses": true});
        let text = NameTable::new(&[service("redis", spec)], &pods).render("chirpy", None);
        assert!(text.contains("127.64.0.11\tredis-1.redis.chirpy.svc.cluster.local"));
    }

    #[test]
    fn nothing_but_our_addresses_and_names_gets_in() {
        let injected = "127.96.9.9 hikeshi.hikeshi-system.svc.cluster.local\n127.96.9.9";
        for ip in [injected, "127.0.0.1", "127.64.0.10", "", "x"] {
            let table = NameTable::new(&[service("web", json!({"clusterIP": ip}))], &[]);
            assert_eq!(lines(&table.render("chirpy", None)), [""; 0], "{ip}");
        }
        let spec = json!({"clusterIP": "None", "selector": {"app": "redis"}});
        let services = [service("redis", spec)];
        for ip in ["127.64.0.10 localhost", "127.96.0.9", "127.0.0.1"] {
            let table = NameTable::new(&services, &[pod("redis-0", ip, "True")]);
            assert_eq!(lines(&table.render("chirpy", None)), [""; 0], "{ip}");
        }
        let mut evil = pod("redis-0", "127.64.0.10", "True");
        evil.spec.as_mut().unwrap().hostname = Some("a\n127.64.0.66 web".into());
        let text = NameTable::new(&services, &[evil]).render("chirpy", None);
        assert_eq!(lines(&text).len(), 1, "{text}");
        let own = own_names("chirpy", "a\n127.64.0.66 web", Some("redis"));
        assert_eq!(own, [""; 0]);
        let table = NameTable::new(&[service("a b", json!({"clusterIP": "127.96.0.5"}))], &[]);
        assert_eq!(lines(&table.render("chirpy", None)), [""; 0]);
    }

    #[test]
    fn a_pod_may_choose_names_of_its_own() {
        let mut pod = pod("web", "127.64.0.10", "True");
        pod.spec.as_mut().unwrap().host_aliases = serde_json::from_value(json!([
            {"ip": "127.96.0.7", "hostnames": ["old.example", "db"]},
            {"ip": "not an address", "hostnames": ["a"]},
            {"ip": "::1", "hostnames": ["b\n127.64.0.66 web", "c"]},
            {"ip": "127.0.0.1"},
        ]))
        .unwrap();
        assert_eq!(aliases(&pod), "127.96.0.7\told.example\tdb\n::1\tc\n");
    }

    #[test]
    fn rewriting_keeps_the_inode_and_drops_the_tail() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        write_in_place(&path, "a long first text\n").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        write_in_place(&path, "short\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short\n");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }
}
