use std::collections::BTreeMap;

use hikeshi_drill::decide::number;
use hikeshi_drill::{Command, Event, EventKind, State, apply, decide, log, next_wakeup, replay};
use hikeshi_scenario::Scenario;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn start() -> Command {
    Command::Start {
        drill: "d1".into(),
        scenario: "s".into(),
        system: "chirpy".into(),
        slo_clock: 60.0,
        rehearsal: false,
        seed: 1,
    }
}

/// A drill driven by hand: its log and clock.
pub struct Drill {
    pub scenario: Scenario,
    pub state: State,
    pub events: Vec<Event>,
    pub now: Timestamp,
}

impl Drill {
    pub fn new() -> Self {
        let now = "2026-11-21T05:00:00Z".parse().expect("a time");
        Self {
            scenario: crate::scenario(),
            state: State::default(),
            events: Vec::new(),
            now,
        }
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn give(&mut self, command: Command) -> Result<usize, String> {
        let kinds = decide(&self.state, &self.scenario, command, self.now).map_err(|r| r.code)?;
        let events = number(&self.state, kinds, self.now);
        for event in &events {
            apply(&mut self.state, event);
        }
        self.events.extend(events.iter().cloned());
        Ok(events.len())
    }

    fn ready() -> Self {
        let mut drill = Self::new();
        drill.give(start()).expect("starts");
        drill
            .give(Command::SystemReady {
                pods: 20,
                seconds: 9.0,
            })
            .expect("ready");
        for (name, seat) in [
            ("pika7", "commander"),
            ("hoge123", "operator"),
            ("mado0", "observer"),
        ] {
            drill
                .give(Command::TakeSeat {
                    name: name.into(),
                    seat: seat.into(),
                    npc: false,
                })
                .expect("seated");
        }
        drill
    }
}

pub fn alert(fingerprint: &str) -> Command {
    Command::AlertFired {
        fingerprint: fingerprint.into(),
        name: "ReadTimelineFreshnessBudgetBurn".into(),
        severity: "page".into(),
        summary: "Timeline freshness is burning its error budget at over 14.4x the sustainable rate".into(),
        labels: BTreeMap::new(),
    }
}

#[test]
fn the_same_alert_is_one_alert() {
    let mut drill = Drill::ready();
    assert_eq!(
        drill.give(Command::AlertResolved {
            fingerprint: "f".into()
        }),
        Ok(0),
        "never fired"
    );
    assert_eq!(drill.give(alert("f")), Ok(1));
    assert_eq!(drill.give(alert("f")), Ok(0), "still firing");
    assert_eq!(
        drill.give(Command::AlertResolved {
            fingerprint: "f".into()
        }),
        Ok(1)
    );
    assert_eq!(
        drill.give(Command::AlertResolved {
            fingerprint: "f".into()
        }),
        Ok(0)
    );
    assert_eq!(drill.give(alert("f")), Ok(1), "a new episode");
}

#[test]
fn refusals_say_why() {
    let mut drill = Drill::ready();
    let code = |drill: &mut Drill, c| drill.give(c).expect_err("must be refused");
    let text = || String::from("x");
    assert_eq!(code(&mut drill, start()), "already_started");
    assert_eq!(
        code(
            &mut drill,
            Command::DeclareMitigated {
                by: "pika7".into(),
                text: text(),
                text_ja: None
            }
        ),
        "no_incident"
    );
    drill.give(alert("f")).expect("fires");
    assert_eq!(
        code(
            &mut drill,
            Command::DeclareMitigated {
                by: "mado0".into(),
                text: text(),
                text_ja: None
            }
        ),
        "seat_may_not"
    );
    assert_eq!(
        code(
            &mut drill,
            Command::StateImpact {
                by: "nobody1".into(),
                text: text(),
                text_ja: None
            }
        ),
        "not_seated"
    );
    for name in ["Pika", "pika 7", "ぴか", "", "../x"] {
        let taken = Command::TakeSeat {
            name: name.into(),
            seat: "operator".into(),
            npc: false,
        };
        assert_eq!(code(&mut drill, taken), "bad_name", "{name}");
    }
    assert_eq!(
        code(
            &mut drill,
            Command::TakeSeat {
                name: "mina3pm".into(),
                seat: "operator".into(),
                npc: false
            }
        ),
        "name_taken"
    );
    assert_eq!(
        code(
            &mut drill,
            Command::TakeSeat {
                name: "pika7".into(),
                seat: "operator".into(),
                npc: false
            }
        ),
        "name_taken"
    );
    assert_eq!(
        code(
            &mut drill,
            Command::TakeSeat {
                name: "new1".into(),
                seat: "king".into(),
                npc: false
            }
        ),
        "bad_seat"
    );
    assert_eq!(
        code(
            &mut drill,
            Command::Say {
                by: "pika7".into(),
                text: "  ".into(),
                text_ja: None
            }
        ),
        "empty_text"
    );
    drill
        .give(Command::Acknowledge {
            by: "pika7".into(),
            fingerprint: None,
        })
        .expect("acknowledged");
    assert_eq!(
        code(
            &mut drill,
            Command::Acknowledge {
                by: "hoge123".into(),
                fingerprint: None
            }
        ),
        "nothing_to_acknowledge"
    );
    drill
        .give(Command::End {
            by: Some("pika7".into()),
            reason: "done".into(),
        })
        .expect("ends");
    assert_eq!(code(&mut drill, Command::Tick), "drill_ended");
    assert_eq!(code(&mut drill, alert("g")), "drill_ended");
}

#[test]
fn hints_leave_time_to_think() {
    let mut drill = Drill::ready();
    drill.give(alert("f")).expect("fires");
    let ask = || Command::AskHint { by: "hoge123".into() };
    let refusal = decide(&drill.state, &drill.scenario, ask(), drill.now).expect_err("too early");
    assert_eq!(refusal.code, "hint_too_early");
    assert!(
        refusal.message_en.contains("240 s") && refusal.message_ja.contains("240 秒"),
        "{refusal:?}"
    );
    drill.wait(240);
    assert_eq!(drill.give(ask()), Ok(2));
    assert_eq!(
        drill.give(ask()),
        Err("hint_too_early".into()),
        "the next one has its own time"
    );
    drill.wait(240);
    drill.give(ask()).expect("second");
    drill.wait(240);
    drill.give(ask()).expect("third");
    drill.wait(240);
    assert_eq!(drill.give(ask()), Err("no_more_hints".into()));
}

#[test]
fn ignored_people_ask_and_answered_people_wait() {
    let mut drill = Drill::ready();
    let said = |drill: &Drill| {
        drill
            .events
            .iter()
            .filter(|e| matches!(&e.kind, EventKind::Message { cue: Some(_), .. }))
            .count()
    };
    drill.wait(120);
    drill.give(alert("f")).expect("fires");
    drill.give(Command::Tick).expect("tick");
    assert_eq!(said(&drill), 0);
    // The wake-up is the moment somebody speaks, not a second earlier.
    let mut wake = next_wakeup(&drill.state, &drill.scenario).expect("something is planned");
    while wake <= drill.now {
        // The fault is due now; the host puts it in.
        drill
            .give(Command::FaultInjected {
                name: "faults/slow-shard.yaml".into(),
                object: "exp-7f3a".into(),
            })
            .expect("injected");
        drill
            .give(Command::FaultEnded {
                name: "faults/slow-shard.yaml".into(),
            })
            .expect("ended");
        wake = next_wakeup(&drill.state, &drill.scenario).expect("people are planned");
    }
    assert_eq!(wake.duration_since(drill.now), SignedDuration::from_secs(45));
    drill.now = wake - SignedDuration::from_secs(1);
    assert_eq!(drill.give(Command::Tick), Ok(0));
    drill.now = wake;
    assert_eq!(drill.give(Command::Tick), Ok(1), "customer support asks");
    assert_eq!(drill.give(Command::Tick), Ok(0), "once");
    drill
        .give(Command::PostStatus {
            by: "pika7".into(),
            text: "looking".into(),
            text_ja: None,
            eta_minutes: None,
        })
        .expect("told");
    drill.wait(40);
    assert_eq!(drill.give(Command::Tick), Ok(0), "everybody has just been told");
    drill.wait(40);
    assert_eq!(
        drill.give(Command::Tick),
        Ok(1),
        "the product manager asks after silence"
    );
    drill.wait(300);
    drill
        .give(Command::DeclareResolved {
            by: "pika7".into(),
            text: "over".into(),
            text_ja: None,
        })
        .expect("resolved");
    drill.give(Command::Tick).expect("thanks");
    let before = said(&drill);
    drill.wait(3_600);
    drill.give(Command::Tick).expect("silence");
    assert_eq!(said(&drill), before, "nobody asks about what is over");
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["pika7", "hoge123", "mado0", "ghost", "mina3pm", "Bad Name"])
        .prop_map(str::to_owned)
}

fn command() -> impl Strategy<Value = Command> {
    let text =
        || prop::sample::select(vec!["", "x", "誰か見て", "@mina3pm 調査中です"]).prop_map(str::to_owned);
    let number = || prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -1e9..1e9];
    let fingerprint = || prop::sample::select(vec!["f", "g"]).prop_map(str::to_owned);
    prop_oneof![
        Just(start()),
        Just(Command::Tick),
        Just(Command::SystemReady {
            pods: 3,
            seconds: f64::NAN
        }),
        (
            name(),
            prop::sample::select(vec!["commander", "operator", "observer", "king"])
        )
            .prop_map(|(name, seat)| Command::TakeSeat {
                name,
                seat: seat.into(),
                npc: false
            }),
        name().prop_map(|name| Command::LeaveSeat { name }),
        (name(), text()).prop_map(|(by, text)| Command::Say {
            by,
            text,
            text_ja: None
        }),
        (name(), prop::option::of(fingerprint()))
            .prop_map(|(by, fingerprint)| Command::Acknowledge { by, fingerprint }),
        (name(), name()).prop_map(|(by, name)| Command::AssignCommander { by, name }),
        (name(), text()).prop_map(|(by, text)| Command::StateImpact {
            by,
            text,
            text_ja: None
        }),
        (name(), text(), prop::option::of(any::<u32>())).prop_map(|(by, text, eta_minutes)| {
            Command::PostStatus {
                by,
                text,
                text_ja: None,
                eta_minutes,
            }
        }),
        (name(), text()).prop_map(|(by, text)| Command::ProposeHypothesis {
            by,
            text,
            text_ja: None
        }),
        (name(), text()).prop_map(|(by, text)| Command::DeclareMitigated {
            by,
            text,
            text_ja: None
        }),
        (name(), text()).prop_map(|(by, text)| Command::DeclareResolved {
            by,
            text,
            text_ja: None
        }),
        name().prop_map(|by| Command::AskHint { by }),
        fingerprint().prop_map(|f| alert(&f)),
        fingerprint().prop_map(|fingerprint| Command::AlertResolved { fingerprint }),
        Just(Command::FaultInjected {
            name: "faults/slow-shard.yaml".into(),
            object: "o".into()
        }),
        Just(Command::FaultEnded {
            name: "faults/slow-shard.yaml".into()
        }),
        (name(), any::<bool>(), number(), "\\PC{0,40}").prop_map(|(by, mutating, seconds, output)| {
            Command::CommandRun {
                by,
                command: "kubectl get pods".into(),
                mutating,
                source: "console".into(),
                exit_code: None,
                output: output.repeat(200),
                seconds,
                step: mutating.then_some(2),
            }
        }),
        (name(), number(), prop::option::of(number())).prop_map(|(by, value, baseline)| {
            Command::MetricSeen {
                by,
                query: "up".into(),
                value,
                baseline,
                unit: "seconds".into(),
                step: None,
            }
        }),
        number().prop_map(|v| {
            let sample = hikeshi_drill::JourneySample {
                availability: Some(v),
                budget_left: Some(v),
                ..Default::default()
            };
            Command::Sample {
                journeys: BTreeMap::from([("read-timeline".to_owned(), sample)]),
            }
        }),
        any::<bool>().prop_map(|green| Command::OracleChecked {
            green,
            reasons: vec![]
        }),
        (prop::option::of(name()), prop::bool::weighted(0.1)).prop_map(|(by, end)| if end {
            Command::End {
                by,
                reason: "enough".into(),
            }
        } else {
            Command::Tick
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_make_a_log_that_tells_all(commands in prop::collection::vec((command(), -30_i64..200), 0..60)) {
        let mut drill = Drill::new();
        drill.give(start()).expect("starts");
        for (command, seconds) in commands {
            // A machine's clock may go back; the drill's does not.
            drill.wait(seconds);
            let ended = drill.state.ended();
            let taken = drill.give(command);
            prop_assert!(!(ended && taken.is_ok()), "taken after the end");
            let wake = next_wakeup(&drill.state, &drill.scenario);
            prop_assert!(wake.is_none() || !drill.state.ended());
        }
        let mut text = String::new();
        for (i, event) in drill.events.iter().enumerate() {
            prop_assert_eq!(event.seq, i as u64 + 1);
            text.push_str(&log::encode(event).expect("every event is JSON"));
        }
        prop_assert!(drill.events.windows(2).all(|w| w[0].at <= w[1].at));
        let read = log::decode(text.as_bytes()).expect("reads back");
        prop_assert_eq!(&read.events, &drill.events);
        prop_assert_eq!(&replay(&read.events), &drill.state);
        let mut firing = std::collections::BTreeSet::new();
        for event in &drill.events {
            match &event.kind {
                EventKind::AlertFired { fingerprint, .. } => prop_assert!(firing.insert(fingerprint.clone())),
                EventKind::AlertResolved { fingerprint, .. } => prop_assert!(firing.remove(fingerprint)),
                EventKind::CommandRun { output, .. } => prop_assert!(output.len() <= 4096),
                _ => {}
            }
        }
        // The folds take any log.
        let score = hikeshi_drill::score::score(&drill.events, &drill.scenario);
        prop_assert_eq!(score.of, 100);
        prop_assert!(score.points <= 100);
        let offset = jiff::tz::Offset::UTC;
        let map = hikeshi_drill::map::SystemMap::default();
        for lang in [hikeshi_drill::Lang::Ja, hikeshi_drill::Lang::En] {
            prop_assert!(!hikeshi_drill::story::story(&drill.events, &drill.scenario, &map, lang, offset).is_empty());
            prop_assert!(!hikeshi_drill::postmortem::draft(&drill.events, &drill.scenario, lang, offset).is_empty());
        }
    }
}
