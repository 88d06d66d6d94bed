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
    /// Where others reach the war room, if `--listen` was given: kept until `hikeshi down`.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_before_listen_was_kept_is_read() {
        let text = r#"{
            "process": {"pid": 7, "start_time": 1, "boot_id": "b"},
            "api": "127.0.0.1:7443", "web": null, "web_address": "127.0.0.1:7700", "hosts": {}, "system": "chirpy",
            "secrets": {"cookie_key": "c", "alert_token": "a", "host_token": "h", "invite_token": "i"}
        }"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.listen, None);
        assert_eq!(record.process.pid, 7);
    }
}
