//! The built programs as people use them: one drill from start to end on a real system, and wrong input.

mod autoscaler;
mod budgets;
mod compat;
mod dockerfiles;
mod drill;
mod edges;
mod events;
mod experiment;
mod export;
mod harness;
mod ingress;
mod kubectl;
mod lab;
mod left_behind;
mod leftovers;
mod load;
mod load_from_pods;
mod room;
mod slo;
mod talk;
mod wrong_input;
