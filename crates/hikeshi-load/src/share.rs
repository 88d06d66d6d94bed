//! A run that several generators share: each takes its part of the schedule, begins when it is told to, and shows what it
//! has measured to whoever merges the parts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::measured::Measured;

/// How far a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// People log in.
    LoggingIn,
    /// Waits to be told when to begin.
    Ready,
    Running,
    /// Everything that was due has an end.
    Ended,
}

/// A part as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    pub stage: Stage,
    pub measured: Measured,
}

/// The longest that a beginning may lie ahead.
const FURTHEST: Duration = Duration::from_secs(600);

/// Where the stage of a part is kept, and its beginning.
pub struct Share {
    stage: Mutex<Stage>,
    begin: watch::Sender<Option<Instant>>,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            stage: Mutex::new(Stage::LoggingIn),
            begin: watch::Sender::new(None),
        }
    }
}

impl Share {
    pub fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Begins at a time given in milliseconds since 1970; what is past is now. False when it is absurdly far off.
    pub fn begin_at(&self, unix_ms: i64) -> bool {
        let now = jiff::Timestamp::now().as_millisecond();
        let ahead = Duration::from_millis(u64::try_from(unix_ms.saturating_sub(now)).unwrap_or(0));
        if ahead > FURTHEST {
            return false;
        }
        self.begin.send_replace(Some(Instant::now() + ahead));
        true
    }

    /// When to begin, once somebody has said it; `None` when asked to stop before.
    pub async fn beginning(self: &Arc<Self>, stop: &mut watch::Receiver<bool>) -> Option<Instant> {
        let mut begin = self.begin.subscribe();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => None,
            begin = begin.wait_for(Option::is_some) => begin.ok().and_then(|begin| *begin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_begins_when_it_is_told_or_not_at_all() {
        let share = Arc::new(Share::default());
        let (stop, mut stopped) = watch::channel(false);
        assert!(!share.begin_at(i64::MAX));
        assert!(share.begin_at(0));
        assert!(
            share
                .beginning(&mut stopped)
                .await
                .is_some_and(|begin| begin <= Instant::now())
        );
        let other = Arc::new(Share::default());
        stop.send_replace(true);
        assert_eq!(other.beginning(&mut stopped).await, None);
    }
}
