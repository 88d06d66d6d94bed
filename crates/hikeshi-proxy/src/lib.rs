//! The data plane: every connection between pods, edge metrics, and faults with a lease.
//!
//! Control describes the whole world in one [`Snapshot`] and sends it with [`DataplaneClient`]; the data plane
//! ([`dataplane_main`], a process of its own) makes it so, and says in [`Applied`] what it could not do. It forwards
//! with the last snapshot for as long as it lives. Faults live only as long as control does: when the connection that
//! brought them closes, or is silent for [`protocol::LEASE`], all of them are lifted at once. One with an end of its own
//! ([`faults::Fault::until`]) is taken down then, whatever control does.
//!
//! A connection's path: `listener` accepts it inside the source pod's namespace -> `l4` (bytes) or `l7` (HTTP)
//! chooses a backend -> `connect` opens a socket inside the destination's namespace -> [`wire`] carries the bytes and
//! holds the network faults.

mod bell;
mod client;
mod connect;
pub mod faults;
pub mod http1;
mod ingress_route;
mod l4;
mod l7;
mod link;
mod listener;
mod metrics;
mod model;
mod plane;
pub mod podlink;
mod process;
pub mod protocol;
mod router;
mod routes;
mod server;
mod socket;
mod timer;
mod wire;
mod workers;

pub use client::{ClientError, DataplaneClient};
pub use model::{
    AppProtocol, Applied, Backend, Condition, HostListener, IngressBackend, IngressRule, PathKind, PodLink,
    PodPort, Problem, Service, Snapshot,
};
pub use process::raise_descriptor_limit;
pub use server::{DataplaneError, dataplane_main};
