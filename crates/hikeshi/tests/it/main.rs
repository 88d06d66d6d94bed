//! The built programs as people use them: one drill from start to end on a real system, and wrong input.

mod compat;
mod drill;
mod events;
mod harness;
mod kubectl;
mod leftovers;
mod room;
mod talk;
mod wrong_input;
