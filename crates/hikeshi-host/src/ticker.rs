//! The drill's clock: lets scripted people speak, puts faults in and takes them out when they are due.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::{Command, injections};
use jiff::Timestamp;

use crate::host::Host;
use crate::session::Session;

const STEP: Duration = Duration::from_millis(250);

pub(crate) async fn run(host: Arc<Host>) {
    let mut clock = tokio::time::interval(STEP);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        clock.tick().await;
        if let Some(session) = host.running() {
            tick(&host, &session).await;
        }
    }
}

async fn tick(host: &Host, session: &Session) {
    if let Err(error) = session.submit(Command::Tick).await {
        tracing::error!(%error, "the drill's clock could not be written down");
    }
    let now = Timestamp::now();
    for injection in session.with_state(|state| injections(state, &session.scenario.scenario)) {
        let objects = session
            .scenario
            .faults
            .get(&injection.file)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let command = if !injection.done && injection.at <= now {
            match host.faults.put_in(objects).await {
                Ok(object) => Command::FaultInjected {
                    name: injection.file,
                    object,
                },
                Err(error) => {
                    tracing::error!(%error, "a fault could not be put in; trying again");
                    continue;
                }
            }
        } else if injection.done && !injection.ended && injection.until.is_some_and(|until| until <= now) {
            match host.faults.take_out(objects).await {
                Ok(()) => Command::FaultEnded { name: injection.file },
                Err(error) => {
                    tracing::error!(%error, "a fault could not be taken out; trying again");
                    continue;
                }
            }
        } else {
            continue;
        };
        if let Err(error) = session.submit(command).await {
            tracing::error!(%error, "a fault could not be written down");
        }
    }
}
