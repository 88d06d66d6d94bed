//! The built programs as people use them: one drill from start to end on a real system, and wrong input.

mod autoscaler;
mod budgets;
mod compat;
mod drill;
mod edges;
mod events;
mod experiment;
mod export;
mod harness;
mod ingress;
mod kubectl;
mod lab;
mod leftovers;
mod load;
mod room;
mod slo;
mod talk;
mod wrong_input;
