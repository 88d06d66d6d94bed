//! Facts from outside: Alertmanager's webhook and the API server's audit.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::Command;
use hikeshi_drill::audit::{AuditRecord, Folder};
use hikeshi_server::api::AlertFact;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::host::Host;

pub(crate) async fn alerts(host: Arc<Host>, mut facts: mpsc::UnboundedReceiver<AlertFact>) {
    while let Some(fact) = facts.recv().await {
        let Some(session) = host.running() else { continue };
        let AlertFact {
            fingerprint,
            name,
            severity,
            summary,
            labels,
            firing,
            at: _,
        } = fact;
        let command = if firing {
            Command::AlertFired {
                fingerprint,
                name,
                severity,
                summary,
                labels,
            }
        } else {
            Command::AlertResolved { fingerprint }
        };
        if let Err(error) = session.submit(command).await {
            tracing::error!(%error, "an alert could not be written down");
        }
    }
}

/// How often gathered kubectl sessions are looked at: their line is due in the timeline within a second.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn audit(host: Arc<Host>, mut records: mpsc::UnboundedReceiver<AuditRecord>) {
    let mut folder = Folder::default();
    let mut clock = tokio::time::interval(LOOK);
    loop {
        let commands = tokio::select! {
            record = records.recv() => match record {
                Some(record) => folder.push(record),
                None => return,
            },
            _ = clock.tick(), if folder.pending() => folder.tick(Timestamp::now()),
        };
        let Some(session) = host.running() else { continue };
        for command in commands {
            if let Err(error) = session.submit(command).await {
                tracing::error!(%error, "a command could not be written down");
            }
        }
    }
}
