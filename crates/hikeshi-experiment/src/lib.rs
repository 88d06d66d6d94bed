//! Experiments: an ordinary Chaos Mesh object, what it is to prove, what must not happen, and what came out. Pure: text
//! and observations in, verdicts and files out.

pub mod annotations;
pub mod api;
mod check;
pub mod duration;
mod effect;
pub mod fis;
pub mod life;
pub mod manifest;
mod place;
pub mod selector;
pub mod targets;
pub mod traffic;

pub use annotations::Role;
pub use check::{Check, Misread, Op};
pub use effect::effect;
pub use life::{Action, Asked, Experiment, Seen, step};
pub use manifest::{Manifest, Reading};
