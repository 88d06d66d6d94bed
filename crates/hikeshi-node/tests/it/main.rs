//! Real pods on this machine: every test starts inits of its own and ties them to a lifeline.

mod backoff;
mod chaos;
mod deaf;
mod exec;
mod kubelet;
mod life;
mod limits;
mod network;
mod pod_life;
mod power;
mod support;
