//! The server as the real kubectl sees it.

mod access;
mod apply;
mod autoscaling;
mod definitions;
mod doors;
mod forward;
mod hostile;
mod killed;
mod kube_rs;
mod manifests;
mod objects;
mod quotas;
mod rbac;
mod refusals;
mod scale;
mod streams;
mod support;
mod watches;
