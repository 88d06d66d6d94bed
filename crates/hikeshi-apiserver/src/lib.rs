//! The embedded Kubernetes API server: discovery, storage, watches, patches, tables, access control and audit over TLS.

mod admission;
mod app;
mod audit;
mod authz;
mod bootstrap;
mod convert;
mod defaults;
mod discovery;
mod kubelet;
mod managed;
mod metric_source;
mod openapi;
mod patch;
mod pki;
mod promql;
mod protobuf;
mod rbac;
mod registry;
mod request;
mod rest;
mod schema;
mod sd;
mod selector;
mod server;
mod spdy;
mod status;
mod store;
mod tables;
mod token;
mod validate;

pub use audit::AuditEvent;
pub use kubelet::{
    ContainerUsage, ExecIo, ExecOptions, Kubelet, KubeletError, LogOptions, NodeUsage, PodUsage, TerminalIo,
};
pub use metric_source::{MetricSample, MetricSource, MetricSourceError};
pub use pki::{ClientIdentity, Pki, PkiError};
pub use server::{ApiServerConfig, ApiServerHandle, ServeError, serve};
pub use store::StoreError;
