//! Faults: what they are ([`Fault`]), what they hit, and the board on which the ones in force are posted.
//!
//! Network faults act on bytes in flight and are held by the wire; HTTP faults act on requests and are held by `l7`.
//! Several may hit the same traffic: delays add, and an abort, a reset or a partition wins over them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

mod abort;
pub mod bandwidth;
mod board;
pub mod delay;
mod end;
pub mod http_match;
pub mod loss;
pub mod patch;
pub mod percent;
pub mod replace;

pub(crate) use abort::Aborted;
pub use bandwidth::Bandwidth;
pub(crate) use board::{ActiveFault, FaultBoard, Line, Toll};
pub use delay::Delay;
pub use http_match::HttpMatch;
pub use loss::Loss;
pub use patch::Patch;
pub use percent::Percent;
pub use replace::Replace;

/// A fault in force. The same id that does the same in the next snapshot goes on undisturbed, whoever joins or leaves
/// those whom it hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Unique in the snapshot, e.g. `networkchaos/chirpy/slow-redis`.
    pub id: String,
    /// When its time is up. The data plane takes it down then by itself, even if nobody tells it to.
    #[serde(default)]
    pub until: Option<SystemTime>,
    pub kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    Network(NetworkFault),
    Http(Box<HttpFault>),
}

impl FaultKind {
    /// Whether both do the same, whomever they do it to.
    fn does_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network(one), Self::Network(other)) => one.effect == other.effect,
            (Self::Http(one), Self::Http(other)) => {
                let HttpFault {
                    pods: _,
                    sources: _,
                    port,
                    target,
                    matches,
                    percent,
                    action,
                } = &**one;
                *port == other.port
                    && *target == other.target
                    && *matches == other.matches
                    && *percent == other.percent
                    && *action == other.action
            }
            _ => false,
        }
    }
}

/// A set of pods by uid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSet {
    /// Everybody, the host (ingress, control) included.
    Any,
    Pods(BTreeSet<String>),
}

impl PodSet {
    /// Whether the pod with this uid belongs; the host's uid is empty.
    pub fn contains(&self, uid: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Pods(uids) => uids.contains(uid),
        }
    }
}

/// Packets from a sender to a receiver. The answer to a request travels the other way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub from: PodSet,
    pub to: PodSet,
}

/// Something that happens to packets on their way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkFault {
    pub flows: Vec<Flow>,
    pub effect: NetworkEffect,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkEffect {
    Delay(Delay),
    Loss(Loss),
    Bandwidth(Bandwidth),
    /// Nothing arrives. Open connections stay open and silent. A new one is accepted in the caller's namespace (the kernel
    /// does that before anybody can object) and then hears nothing, until the network heals or 127 s have passed, which
    /// is when a kernel gives up a connection attempt.
    Partition,
    /// Open connections are reset when they next carry data; new ones are refused.
    Reset,
}

/// Something that happens to HTTP requests that a pod receives, or to its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpFault {
    /// The servers.
    pub pods: PodSet,
    /// The clients.
    pub sources: PodSet,
    /// The servers' port; `None` is every HTTP port.
    pub port: Option<u16>,
    pub target: HttpTarget,
    pub matches: HttpMatch,
    /// The share of the matching requests that is hit.
    pub percent: Percent,
    pub action: HttpAction,
}

/// Which half of an exchange a fault touches. Matching on code or response headers needs `Response`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpTarget {
    Request,
    Response,
}

/// What happens, in this order: abort, delay, replace, patch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpAction {
    /// The connection is closed without an answer.
    pub abort: bool,
    pub delay: Option<Delay>,
    pub replace: Option<Replace>,
    pub patch: Option<Patch>,
}

impl HttpAction {
    /// Whether the message's own bytes change.
    pub(crate) fn edits(&self) -> bool {
        self.replace.is_some() || self.patch.is_some()
    }
}

impl Fault {
    /// Refuses what could not be honoured, naming the field.
    pub fn validate(&self) -> Result<(), String> {
        match &self.kind {
            FaultKind::Network(fault) => match &fault.effect {
                NetworkEffect::Delay(delay) => delay.validate(),
                NetworkEffect::Loss(loss) => loss.percent.validate(),
                NetworkEffect::Bandwidth(bandwidth) => bandwidth.validate(),
                NetworkEffect::Partition | NetworkEffect::Reset => Ok(()),
            },
            FaultKind::Http(fault) => {
                fault.percent.validate()?;
                fault.action.delay.as_ref().map_or(Ok(()), Delay::validate)?;
                if let Some(replace) = &fault.action.replace {
                    replace.validate(fault.target)?;
                }
                if let Some(patch) = &fault.action.patch {
                    patch.validate(fault.target)?;
                }
                fault.matches.validate(fault.target)
            }
        }
    }
}
