//! The data plane.

pub mod podlink;
