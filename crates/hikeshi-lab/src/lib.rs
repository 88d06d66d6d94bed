//! The lab: a person uses the real page at a level of latency or errors, blind, and says what they feel.
//!
//! Pure: seeds and times come in, manifests, views and results go out. [`lab::Lab`] is the state machine, [`compile`]
//! makes the manifests of a level, [`verify`] says whether a level was delivered, [`psi`] chooses the next level and
//! estimates, [`result`] says what came out and what to agree on.

pub mod compile;
pub mod export;
pub mod journey;
pub mod lab;
pub mod level;
pub mod normal;
pub mod psi;
pub mod result;
pub mod stats;
pub mod verify;
pub mod view;
pub mod words;

pub use journey::{Entrance, Journey, LabFile};
pub use lab::{Answer, Lab, Mode, Refusal, Slot, Who};
pub use level::{Kind, Level};
pub use normal::Normal;
pub use result::{Outcome, outcome};
pub use verify::{Delivered, Judged, judge};
