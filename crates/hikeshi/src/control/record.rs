//! `control.json`: what the CLI needs to find a running control, and what the next control needs to be the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::process::ProcessId;
use super::seats::write_private;
use crate::failure::{Context, Failure};
use crate::paths::Paths;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub process: ProcessId,
    pub api: SocketAddr,
    /// The war room, as people type it.
    pub web: Option<String>,
    pub web_address: Option<SocketAddr>,
    pub hosts: BTreeMap<String, SocketAddr>,
    /// The system that was brought up.
    pub system: Option<String>,
    /// Secrets of the web server: kept, so that sessions and invitations outlive control.
    pub secrets: Secrets,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Secrets {
    pub cookie_key: String,
    pub alert_token: String,
    pub host_token: String,
    pub invite_token: String,
}

impl Record {
    pub fn read(paths: &Paths) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(paths.control_record()).ok()?).ok()
    }

    /// The record of a control that is alive now.
    pub fn running(paths: &Paths) -> Option<Self> {
        Self::read(paths).filter(|record| record.process.is_alive())
    }

    pub fn write(&self, paths: &Paths) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).component("writing control.json")?;
        write_private(&paths.control_record(), &text)
    }
}
