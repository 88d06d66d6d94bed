//! What HTTPChaos and NetworkChaos objects have in common.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hikeshi_chaos::annotations::{self, Extensions};
use hikeshi_chaos::{quantity, status};
use hikeshi_proxy::PodLink;
use hikeshi_proxy::faults::{Fault, PodSet};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::names::Names;
use super::status::Outcome;
use super::{http_chaos, network_chaos};

/// The selector keys of `containerRecords`.
const SELECTED: &str = ".";
const TARGET: &str = ".Target";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Http,
    Network,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPChaos",
            Self::Network => "NetworkChaos",
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::Http => "httpchaos",
            Self::Network => "networkchaos",
        }
    }
}

/// The pod that a record names.
pub(super) fn pod_of<'a>(record: &Value, pods: &'a [PodLink]) -> Option<&'a PodLink> {
    let (namespace, name, _) = status::parts(status::text(record, "id"));
    pods.iter()
        .find(|pod| pod.namespace == namespace && pod.name == name)
}

/// Whether the experiment should be in force now. One that is being deleted should not, nor one whose time is up: the
/// controller says so too, but on a full disk its word is never written.
pub(crate) fn should_run(object: &DynamicObject, now: Timestamp) -> bool {
    object.metadata.deletion_timestamp.is_none()
        && object.data["status"]["experiment"]["desiredPhase"] == "Run"
        && end(object).is_none_or(|end| now < end)
}

/// When the experiment's time is up, by its duration or by a lease that nobody renews; `None` if it has no end of its own.
pub(super) fn end(object: &DynamicObject) -> Option<Timestamp> {
    let limit = object.data["spec"]["duration"].as_str();
    let limit = limit.and_then(|text| quantity::duration(text).ok());
    let made = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let over = limit.and_then(|limit| made?.checked_add(limit).ok());
    let lease = object.annotations().get(annotations::LEASE_UNTIL);
    let lease = lease.and_then(|text| text.parse().ok());
    over.into_iter().chain(lease).min()
}

/// The pods that the records name.
pub(super) struct Selection<'a> {
    pub selected: Vec<&'a PodLink>,
    /// `None` when the spec has no target, by labels or by name.
    pub target: Option<Vec<&'a PodLink>>,
}

impl<'a> Selection<'a> {
    fn of(object: &DynamicObject, pods: &'a [PodLink], names: &Names) -> Self {
        let records = status::records(&object.data["status"]);
        let with_key = |key: &str| -> Vec<&'a PodLink> {
            records
                .iter()
                .filter(|record| status::text(record, "selectorKey") == key)
                .filter_map(|record| pod_of(record, pods))
                .collect()
        };
        let has_target = object.data["spec"].get("target").is_some_and(Value::is_object);
        let mut target = has_target.then(|| with_key(TARGET));
        let external = object.data["spec"]["externalTargets"].as_array();
        if let Some(entries) = external.filter(|entries| !entries.is_empty()) {
            let namespace = object.namespace().unwrap_or_default();
            let named = entries.iter().filter_map(Value::as_str);
            let named = named.flat_map(|entry| names.pods(entry, &namespace, pods));
            target.get_or_insert_default().extend(named);
        }
        Self {
            selected: with_key(SELECTED),
            target,
        }
    }

    /// Whether there is anybody at both ends.
    fn is_complete(&self) -> bool {
        !self.selected.is_empty() && self.target.as_ref().is_none_or(|target| !target.is_empty())
    }
}

/// Which of an experiment's records it can hit.
pub(super) struct Reach<'a> {
    pods: &'a [PodLink],
    /// `None`: none of them, for one end is nobody.
    port: Option<ReachedPort>,
}

enum ReachedPort {
    Any,
    Http(u16),
}

impl<'a> Reach<'a> {
    pub fn of(kind: Kind, object: &DynamicObject, pods: &'a [PodLink], names: &Names) -> Self {
        let port = object.data["spec"]["port"].as_u64();
        let port = match (kind, port.and_then(|port| u16::try_from(port).ok())) {
            (Kind::Http, Some(port)) => ReachedPort::Http(port),
            _ => ReachedPort::Any,
        };
        Self {
            pods,
            port: Selection::of(object, pods, names).is_complete().then_some(port),
        }
    }

    /// What became of a record of an experiment whose faults are in force.
    pub fn outcome(&self, record: &Value) -> Outcome {
        let (Some(port), Some(pod)) = (&self.port, pod_of(record, self.pods)) else {
            return Outcome::Lifted;
        };
        let refusal = match port {
            ReachedPort::Any => None,
            ReachedPort::Http(port) => http_chaos::refusal(*port, pod),
        };
        refusal.map_or(Outcome::InForce, Outcome::Refused)
    }
}

pub(super) fn pod_set(pods: &[&PodLink]) -> PodSet {
    PodSet::Pods(pods.iter().map(|pod| pod.uid.clone()).collect::<BTreeSet<_>>())
}

/// What every fault of an object is made from.
pub(super) struct Context<'a> {
    pub id: String,
    /// What every seed is made from besides the part's name.
    seeded_by: String,
    pub extensions: Extensions,
    pub selection: Selection<'a>,
}

impl Context<'_> {
    /// The seed of one part's random choices: no two parts and no two experiments choose alike, not even with the same
    /// annotation.
    pub fn seed(&self, part: &str) -> u64 {
        fnv(&format!("{}/{part}", self.seeded_by))
    }
}

/// The faults of an experiment that should run, or what of its spec cannot be honoured.
pub(super) fn compile(
    kind: Kind,
    object: &DynamicObject,
    pods: &[PodLink],
    names: &Names,
) -> Result<Vec<Fault>, String> {
    let annotations = object.annotations();
    let id = format!(
        "{}/{}/{}",
        kind.plural(),
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    let spec = &object.data["spec"];
    let whole = json!({"metadata": {"annotations": annotations}, "spec": spec});
    let problems = hikeshi_chaos::problems(kind.name(), &whole);
    if !problems.is_empty() {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(words.join("; "));
    }
    let extensions = annotations::read(annotations)?;
    let context = Context {
        seeded_by: seeded_by(kind, object, extensions.seed, &id),
        extensions,
        selection: Selection::of(object, pods, names),
        id,
    };
    let mut faults = match kind {
        Kind::Http => vec![http_chaos::compile(spec, &context)?],
        Kind::Network => network_chaos::compile(spec, &context)?,
    };
    let until = end(object).map(SystemTime::from);
    for fault in &mut faults {
        fault.until = until;
        fault.validate()?;
    }
    Ok(faults)
}

/// A seed that is given is there to be replayed: what a Schedule makes has another name each time, and chooses alike.
fn seeded_by(kind: Kind, object: &DynamicObject, seed: Option<u64>, id: &str) -> String {
    let Some(seed) = seed else {
        return id.to_owned();
    };
    let mut owners = object.owner_references().iter();
    let schedule = owners.find(|owner| owner.kind == "Schedule");
    let name = schedule.map_or_else(|| object.name_any(), |owner| owner.name.clone());
    let namespace = object.namespace().unwrap_or_default();
    format!("{seed}/{}/{namespace}/{name}", kind.plural())
}

/// FNV-1a: the same name has the same seed on every machine and in every version.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use hikeshi_proxy::{AppProtocol, PodPort};
    use serde_json::json;

    use super::*;

    pub fn pod(name: &str, last: u8, port: u16, protocol_hint: AppProtocol) -> PodLink {
        PodLink {
            uid: format!("uid-{name}"),
            namespace: "chirpy".into(),
            name: name.into(),
            workload: name.into(),
            node: "node-1".into(),
            ip: Ipv4Addr::new(127, 64, 0, last),
            init_sock: "/x".into(),
            ports: vec![PodPort {
                name: None,
                port,
                protocol_hint,
            }],
        }
    }

    pub fn pods() -> Vec<PodLink> {
        vec![
            pod("redis-0", 1, 6379, AppProtocol::Tcp),
            pod("redis-1", 2, 6379, AppProtocol::Tcp),
            pod("web-0", 3, 8080, AppProtocol::Http),
        ]
    }

    /// An experiment whose controller has selected `selected` and `target`.
    pub fn experiment(kind: Kind, spec: Value, selected: &[&str], target: &[&str]) -> DynamicObject {
        let record = |key: &'static str| {
            move |name: &&str| {
                json!({"id": format!("chirpy/{name}"), "selectorKey": key, "phase": "Not Injected",
                    "injectedCount": 0, "recoveredCount": 0})
            }
        };
        let mut records: Vec<Value> = selected.iter().map(record(SELECTED)).collect();
        records.extend(target.iter().map(record(TARGET)));
        serde_json::from_value(json!({
            "apiVersion": "chaos-mesh.org/v1alpha1", "kind": kind.name(),
            "metadata": {"name": "exp", "namespace": "chirpy", "resourceVersion": "7"},
            "spec": spec,
            "status": {"experiment": {"desiredPhase": "Run", "containerRecords": records}}
        }))
        .unwrap()
    }

    #[test]
    fn an_experiment_being_deleted_should_not_run() {
        let mut object = experiment(Kind::Network, json!({"action": "partition"}), &["redis-0"], &[]);
        assert!(should_run(&object, Timestamp::UNIX_EPOCH));
        object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(!should_run(&object, Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn an_experiment_ends_by_its_own_duration() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let spec = json!({"action": "partition", "duration": "1m30s"});
        let mut object = experiment(Kind::Network, spec, &["redis-0"], &[]);
        assert_eq!(end(&object), None);
        object.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(end(&object), Some(at("2026-01-01T00:01:30Z")));
        assert!(should_run(&object, at("2026-01-01T00:01:29Z")));
        assert!(!should_run(&object, at("2026-01-01T00:01:30Z")));
        object.data["spec"]["duration"] = Value::Null;
        assert!(should_run(&object, at("2027-01-01T00:00:00Z")));
        let lease = (
            annotations::LEASE_UNTIL.to_owned(),
            "2026-01-02T00:00:00Z".to_owned(),
        );
        object.annotations_mut().extend([lease]);
        assert!(should_run(&object, at("2026-01-01T23:59:59Z")));
        assert!(
            !should_run(&object, at("2026-01-02T00:00:00Z")),
            "nobody has renewed its lease"
        );
    }
    #[test]
    fn a_record_is_hit_only_where_something_can_be() {
        let pods = pods();
        let outcomes = |object: &DynamicObject, kind| -> Vec<Outcome> {
            let reach = Reach::of(kind, object, &pods, &Names::default());
            let records = status::records(&object.data["status"]).iter();
            records.map(|record| reach.outcome(record)).collect()
        };
        let spec = json!({"action": "partition", "target": {"mode": "all", "selector": {}}});
        let nobody = experiment(Kind::Network, spec.clone(), &["redis-0"], &[]);
        assert_eq!(outcomes(&nobody, Kind::Network), [Outcome::Lifted]);
        let gone = experiment(Kind::Network, spec.clone(), &["redis-0"], &["gone"]);
        assert_eq!(outcomes(&gone, Kind::Network), [Outcome::Lifted, Outcome::Lifted]);
        let both = experiment(Kind::Network, spec, &["redis-0"], &["web-0"]);
        assert_eq!(
            outcomes(&both, Kind::Network),
            [Outcome::InForce, Outcome::InForce]
        );

        let spec = json!({"target": "Request", "port": 8080, "abort": true});
        let mixed = experiment(Kind::Http, spec, &["web-0", "redis-0"], &[]);
        let found = outcomes(&mixed, Kind::Http);
        assert_eq!(found[0], Outcome::InForce);
        let Outcome::Refused(message) = &found[1] else {
            panic!("{found:?}")
        };
        assert!(
            message.contains("spec.port: 8080 is no HTTP port of chirpy/redis-0"),
            "{message}"
        );
    }
}
