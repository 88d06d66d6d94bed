//! Experiments: an ordinary Chaos Mesh object, what it is to prove, what must not happen, and what came out. Pure: text
//! and observations in, verdicts and files out.

pub mod annotations;
pub mod api;

pub use annotations::Role;
