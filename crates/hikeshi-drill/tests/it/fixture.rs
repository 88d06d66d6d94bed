//! A short incident by hand: every number and line in it is one that a story may quote.

use std::collections::BTreeMap;

use hikeshi_drill::{Actor, Event, EventKind, JourneySample, LOG_VERSION};
use jiff::{SignedDuration, Timestamp};

pub fn actor(name: &str, seat: &str) -> Actor {
    Actor {
        name: name.into(),
        seat: seat.into(),
        npc: false,
    }
}

/// A command; `step` is the script's, none where a person typed it.
pub fn run(who: Actor, command: &str, mutating: bool, output: &str, step: Option<u32>) -> EventKind {
    EventKind::CommandRun {
        actor: who,
        command: command.into(),
        mutating,
        source: if step.is_some() { "rehearsal" } else { "console" }.into(),
        exit_code: Some(0),
        output: output.into(),
        seconds: 0.4,
        step,
    }
}

/// Where the shipped script runs this line.
pub fn script_steps(line: &str) -> Vec<u32> {
    let cast = crate::scenario().cast.expect("a cast");
    (0_u32..)
        .zip(&cast.steps)
        .filter(|(_, step)| step.run.as_ref().is_some_and(|c| c.to_string() == line))
        .map(|(number, _)| number)
        .collect()
}

const LOGS: &str = "kubectl logs -l app=chirpy-server --since=5m";

pub fn incident() -> Vec<Event> {
    let start: Timestamp = "2026-11-21T05:00:00Z".parse().expect("a time");
    let pika = || actor("pika7", "commander");
    let hoge = || actor("hoge123", "operator");
    let alert = || {
        (
            "f1".to_owned(),
            "ReadTimelineFreshnessBudgetBurn".to_owned(),
            "Timeline freshness is burning its error budget at over 14.4x the sustainable rate".to_owned(),
        )
    };
    let sample = |freshness: f64, left: f64| EventKind::Sample {
        journeys: BTreeMap::from([(
            "read-timeline".to_owned(),
            JourneySample {
                availability: Some(0.998),
                freshness: Some(freshness),
                budget_left: Some(left),
                ..JourneySample::default()
            },
        )]),
    };
    let fired = || {
        let (fingerprint, name, summary) = alert();
        EventKind::AlertFired {
            fingerprint,
            name,
            severity: "page".into(),
            summary,
            labels: BTreeMap::new(),
        }
    };
    let quiet = || {
        let (fingerprint, name, summary) = alert();
        EventKind::AlertResolved {
            fingerprint,
            name,
            summary,
        }
    };
    let both = |ja: &str| Some(ja.to_owned());
    let kinds: Vec<(i64, EventKind)> = vec![
        (
            0,
            EventKind::DrillStarted {
                drill: "d1".into(),
                scenario: "timelines-stop-updating".into(),
                system: "chirpy".into(),
                slo_clock: 60.0,
                rehearsal: true,
                seed: 7,
            },
        ),
        (
            9,
            EventKind::SystemReady {
                pods: 20,
                seconds: 9.1,
            },
        ),
        (20, EventKind::SeatTaken { actor: pika() }),
        (21, EventKind::SeatTaken { actor: hoge() }),
        (60, sample(1.0, 1.0)),
        (
            129,
            EventKind::FaultInjected {
                name: "faults/slow-shard.yaml".into(),
                object: "NetworkChaos hikeshi-faults/exp-7f3a".into(),
            },
        ),
        (150, fired()),
        (
            170,
            EventKind::Acknowledged {
                actor: pika(),
                fingerprint: None,
            },
        ),
        (
            172,
            EventKind::CommanderAssigned {
                by: pika(),
                name: "pika7".into(),
            },
        ),
        (
            185,
            // The script's; the other commands are people's, though the script has the same lines.
            run(
                hoge(),
                LOGS,
                false,
                "{\"level\":\"ERROR\",\"msg\":\"Request to Timeline Service timed out: url=http://timeline-service/home\"}\n",
                script_steps(LOGS).first().copied(),
            ),
        ),
        (
            190,
            EventKind::MetricSeen {
                actor: pika(),
                query: "p99".into(),
                value: 1.31,
                baseline: Some(0.12),
                unit: "seconds".into(),
                step: None,
            },
        ),
        (
            195,
            EventKind::Message {
                actor: hoge(),
                text: "It waits for timeline-service. Ugh.".into(),
                text_ja: both("timeline-service 待ちで死んでる。うへぇ"),
                cue: None,
            },
        ),
        (
            200,
            EventKind::ImpactStated {
                actor: pika(),
                text: "Some timelines do not update".into(),
                text_ja: both("一部のタイムラインが更新されない"),
            },
        ),
        (201, sample(0.66, 0.9)),
        (
            209,
            EventKind::FaultEnded {
                name: "faults/slow-shard.yaml".into(),
            },
        ),
        (
            210,
            EventKind::Message {
                actor: Actor {
                    name: "mina3pm".into(),
                    seat: "product_manager".into(),
                    npc: true,
                },
                text: "Where are we?".into(),
                text_ja: both("状況どうですか？"),
                cue: Some("mina3pm/0".into()),
            },
        ),
        (
            220,
            EventKind::StatusPosted {
                actor: pika(),
                text: "Looking into it".into(),
                text_ja: both("調査中です"),
                eta_minutes: Some(10),
            },
        ),
        (
            225,
            run(
                hoge(),
                "kubectl scale deployment timeline-service --replicas=10",
                true,
                "deployment.apps/timeline-service scaled\n",
                None,
            ),
        ),
        (
            260,
            EventKind::MitigationDeclared {
                actor: pika(),
                text: "Scaled out".into(),
                text_ja: both("増やした"),
            },
        ),
        (262, quiet()),
        (300, fired()),
        (
            320,
            EventKind::HypothesisProposed {
                actor: hoge(),
                text: "Unbounded retries fill one shard".into(),
                text_ja: both("上限のない再試行がシャードを埋めている"),
            },
        ),
        (
            330,
            run(
                hoge(),
                "kubectl rollout restart deployment timeline-service",
                true,
                "deployment.apps/timeline-service restarted\n",
                None,
            ),
        ),
        (
            400,
            EventKind::MitigationDeclared {
                actor: pika(),
                text: "Retries are bounded".into(),
                text_ja: both("再試行に上限を入れた"),
            },
        ),
        (420, quiet()),
        (421, sample(1.0, 0.8)),
        (
            480,
            EventKind::ResolvedDeclared {
                actor: pika(),
                text: "It is over".into(),
                text_ja: both("終息を宣言します"),
            },
        ),
        (
            545,
            EventKind::OracleChecked {
                green: true,
                reasons: vec![],
            },
        ),
        (
            546,
            EventKind::DrillEnded {
                reason: "resolved".into(),
            },
        ),
    ];
    (1..)
        .zip(kinds)
        .map(|(seq, (second, kind))| Event {
            v: LOG_VERSION,
            seq,
            at: start + SignedDuration::from_secs(second),
            kind,
        })
        .collect()
}
