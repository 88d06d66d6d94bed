//! The server as the real kubectl sees it.

mod access;
mod autoscaling;
mod forward;
mod objects;
mod rbac;
mod streams;
mod support;
mod watches;
