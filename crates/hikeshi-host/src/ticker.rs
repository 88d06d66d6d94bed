//! The drill's clock: lets scripted people speak, puts faults in and takes them out when they are due.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_drill::{Command, injections};
use jiff::Timestamp;

use crate::host::Host;
use crate::session::Session;

const STEP: Duration = Duration::from_millis(250);
/// After the API would not say which faults there are.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(host: Arc<Host>) {
    let mut clock = tokio::time::interval(STEP);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut swept = false;
    loop {
        clock.tick().await;
        if let Some(session) = host.running() {
            swept = false;
            tick(&host, &session).await;
        } else if !swept {
            // Whatever happened between a drill's end and the lifting of its faults: without a drill there are none.
            swept = match host.faults.sweep().await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, "faults of an ended drill could not be lifted; trying again");
                    tokio::time::sleep(SWEEP_PAUSE).await;
                    false
                }
            };
        }
    }
}

async fn tick(host: &Host, session: &Session) {
    if let Err(error) = session.submit(Command::Tick).await {
        tracing::error!(%error, "the drill's clock could not be written down");
    }
    let now = Timestamp::now();
    for injection in session.with_state(|state| injections(state, &session.scenario.scenario)) {
        let objects = session.scenario.fault(&injection.file);
        let command = if !injection.done && injection.at <= now {
            let lasts = injection
                .until
                .and_then(|until| Duration::try_from(until.duration_since(now)).ok());
            match host.faults.put_in(objects, lasts).await {
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
