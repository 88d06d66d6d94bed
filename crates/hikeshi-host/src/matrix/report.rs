//! What a run of the matrix leaves in the report, and how it is read off the drill's log.

use std::collections::BTreeMap;

use hikeshi_drill::event::{Event, EventKind};
use jiff::Timestamp;
use serde::Serialize;

/// One colour, as the report has it.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// `healthy`, `injected`, `do-nothing`, `fake-fix` or `fix`.
    pub kind: String,
    pub name: String,
    /// `green` or `red`.
    pub expected: &'static str,
    pub oracle: &'static str,
    pub reasons: Vec<String>,
    pub alerts: Vec<Alert>,
    pub journeys: BTreeMap<String, Journey>,
    pub posts: Option<crate::oracle::PostsFound>,
    /// Seconds from the last fault put in before or in this run to its first page; to users being well again (declared
    /// mitigated by a cast, otherwise as the oracle saw it); and to that having held (declared resolved, likewise).
    pub seconds_to_detect: Option<f64>,
    pub seconds_to_mitigate: Option<f64>,
    pub seconds_to_resolve: Option<f64>,
    pub seconds: f64,
}

impl Run {
    /// Whether the oracle gave the colour that it should.
    pub fn as_expected(&self) -> bool {
        self.expected == self.oracle
    }
}

/// An alert within a run.
#[derive(Debug, Clone, Serialize)]
pub struct Alert {
    pub name: String,
    pub fired_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
}

/// A journey's requests within a run, by the load generator's own counters.
#[derive(Debug, Clone, Serialize)]
pub struct Journey {
    pub served: u64,
    pub failed: u64,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Times {
    pub detect: Option<f64>,
    pub mitigate: Option<f64>,
    pub resolve: Option<f64>,
}

/// Seconds since the last fault before the run that began after event `mark` or, when there was none, the run's first.
/// What nobody declared is as the oracle saw it: well `since`, and still so at `until`.
pub(super) fn times(events: &[Event], mark: u64, since: Option<Timestamp>, until: Timestamp) -> Times {
    let injected = |event: &&Event| matches!(event.kind, EventKind::FaultInjected { .. });
    let before = events
        .iter()
        .rev()
        .filter(|event| event.seq <= mark)
        .find(injected);
    let Some(fault) = before.or_else(|| events.iter().find(injected)) else {
        return Times::default();
    };
    let after = |so: fn(&EventKind) -> bool| {
        let found = events
            .iter()
            .find(|event| event.seq > fault.seq && so(&event.kind));
        found.map(|event| event.at)
    };
    let seconds = |then: Timestamp| then.duration_since(fault.at).as_secs_f64();
    let page = after(|kind| matches!(kind, EventKind::AlertFired { severity, .. } if severity == "page"));
    let mitigated = after(|kind| matches!(kind, EventKind::MitigationDeclared { .. }));
    let resolved = after(|kind| matches!(kind, EventKind::ResolvedDeclared { .. }));
    Times {
        detect: page.map(seconds),
        mitigate: mitigated.or(since).map(seconds),
        resolve: resolved.or(since.map(|_| until)).map(seconds),
    }
}

/// Alerts that fired among `events`, with their ends.
pub(super) fn alerts(events: &[Event]) -> Vec<Alert> {
    let mut alerts: Vec<(String, Alert)> = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::AlertFired {
                fingerprint, name, ..
            } => {
                alerts.push((
                    fingerprint.clone(),
                    Alert {
                        name: name.clone(),
                        fired_at: event.at,
                        resolved_at: None,
                    },
                ));
            }
            EventKind::AlertResolved { fingerprint, .. } => {
                let open = alerts
                    .iter_mut()
                    .rev()
                    .find(|(known, alert)| known == fingerprint && alert.resolved_at.is_none());
                if let Some((_, alert)) = open {
                    alert.resolved_at = Some(event.at);
                }
            }
            _ => {}
        }
    }
    alerts.into_iter().map(|(_, alert)| alert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap_or_default()
    }

    fn event(seq: u64, second: i64, kind: EventKind) -> Event {
        Event {
            v: hikeshi_drill::event::LOG_VERSION,
            seq,
            at: at(second),
            kind,
        }
    }

    fn fault() -> EventKind {
        EventKind::FaultInjected {
            name: "slow-shard".into(),
            object: "NetworkChaos".into(),
        }
    }

    fn fired(fingerprint: &str) -> EventKind {
        EventKind::AlertFired {
            fingerprint: fingerprint.into(),
            name: "ReadTimelineFreshness".into(),
            severity: "page".into(),
            summary: String::new(),
            labels: BTreeMap::new(),
        }
    }

    #[test]
    fn times_count_from_the_fault_before_the_run() {
        let events = [
            event(1, 0, fault()),
            event(2, 12, fired("a")),
            event(3, 200, fault()),
        ];
        let times = |mark, since: Option<i64>| times(&events, mark, since.map(at), at(160));
        assert_eq!(times(2, None).detect, Some(12.0));
        let mended = times(2, Some(100));
        assert_eq!((mended.mitigate, mended.resolve), (Some(100.0), Some(160.0)));
        // The run that puts the fault in begins before it.
        assert_eq!(times(0, None).detect, Some(12.0));
        assert_eq!(super::times(&events[1..2], 0, None, at(160)), Times::default());
    }

    #[test]
    fn an_alert_has_its_end() {
        let resolved = EventKind::AlertResolved {
            fingerprint: "a".into(),
            name: "ReadTimelineFreshness".into(),
            summary: String::new(),
        };
        let found = alerts(&[
            event(1, 0, fired("a")),
            event(2, 5, fired("b")),
            event(3, 9, resolved),
        ]);
        let ends: Vec<_> = found.iter().map(|alert| alert.resolved_at).collect();
        assert_eq!(ends, [Some(at(9)), None]);
    }

    /// The report's shape is a promise to whoever reads it with a program.
    #[test]
    fn a_run_is_written_as_promised() {
        let run = Run {
            kind: "fake-fix".into(),
            name: "scale-out".into(),
            expected: "red",
            oracle: "red",
            reasons: vec!["read-timeline freshness 0.00 % < 99.00 %".into()],
            alerts: alerts(&[event(1, 0, fired("a"))]),
            journeys: BTreeMap::from([(
                "read-timeline".to_owned(),
                Journey {
                    served: 3645,
                    failed: 36,
                },
            )]),
            posts: Some(crate::oracle::PostsFound {
                acknowledged: 1251,
                in_database: 1251,
            }),
            seconds_to_detect: Some(12.0),
            seconds_to_mitigate: None,
            seconds_to_resolve: None,
            seconds: 81.5,
        };
        let written = serde_json::to_value(&run).unwrap_or_default();
        let expected = serde_json::json!({
            "kind": "fake-fix", "name": "scale-out", "expected": "red", "oracle": "red",
            "reasons": ["read-timeline freshness 0.00 % < 99.00 %"],
            "alerts": [{"name": "ReadTimelineFreshness", "fired_at": at(0).to_string(), "resolved_at": null}],
            "journeys": {"read-timeline": {"served": 3645, "failed": 36}},
            "posts": {"acknowledged": 1251, "in_database": 1251},
            "seconds_to_detect": 12.0, "seconds_to_mitigate": null, "seconds_to_resolve": null, "seconds": 81.5,
        });
        assert_eq!(written, expected);
    }
}
