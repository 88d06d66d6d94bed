//! The war room: the event log on disk, the console's command lines, and the web server people meet.
//!
//! `api` is the seam: the web server knows the drill only as an `api::DrillHost`.

pub mod api;
pub mod command_line;
pub mod store;
pub mod web;
