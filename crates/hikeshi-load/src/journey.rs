//! What users do, by the names that metrics, objectives and reports know.

use serde::{Deserialize, Serialize};

/// One thing a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Journey {
    /// Write a message.
    PostMessage,
    /// Read one's own home timeline.
    ReadTimeline,
    /// Read what one account has written.
    ReadProfile,
    /// Search messages.
    Search,
}

impl Journey {
    /// All journeys, in the order of reports.
    pub const ALL: [Self; 4] = [
        Self::PostMessage,
        Self::ReadTimeline,
        Self::ReadProfile,
        Self::Search,
    ];

    /// The journey's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PostMessage => "post-message",
            Self::ReadTimeline => "read-timeline",
            Self::ReadProfile => "read-profile",
            Self::Search => "search",
        }
    }

    /// Its place in [`Journey::ALL`].
    pub fn place(self) -> usize {
        self as usize
    }

    /// Whether sending it a second time changes nothing.
    pub fn is_read(self) -> bool {
        self != Self::PostMessage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_files_and_in_metrics_are_the_same_and_places_match() {
        for (place, journey) in Journey::ALL.into_iter().enumerate() {
            assert_eq!(journey.place(), place);
            let written = serde_json::to_value(journey).ok();
            assert_eq!(written, Some(serde_json::Value::from(journey.name())));
        }
    }
}
