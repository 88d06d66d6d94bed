//! L4: bytes both ways. Where they are Redis' or PostgreSQL's, their commands are timed as they pass: nothing is copied,
//! held or changed, and what cannot be understood is relayed all the same, untimed.

mod commands;
mod postgres;
pub(crate) mod relay;
mod resp;
mod tap;
