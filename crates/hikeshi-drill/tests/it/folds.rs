use std::collections::{BTreeMap, BTreeSet};

use hikeshi_drill::chat::chat;
use hikeshi_drill::map::SystemMap;
use hikeshi_drill::story::{clock, story};
use hikeshi_drill::timeline::{Category, entry, timeline};
use hikeshi_drill::{Event, EventKind, JourneySample, Lang, log, metrics::metrics, postmortem, score::score};
use jiff::tz::Offset;

use crate::fixture::{actor, incident, run, script_steps};

fn map() -> SystemMap {
    SystemMap::parse("map.yaml", include_str!("../../../../systems/chirpy/map.yaml"))
        .expect("the shipped map is right")
}

const JST: Offset = Offset::constant(9);

#[test]
fn stories_are_the_golden_ones() {
    for (name, lang) in [("story-ja", Lang::Ja), ("story-en", Lang::En)] {
        insta::assert_snapshot!(name, story(&incident(), &crate::scenario(), &map(), lang, JST));
    }
}

#[test]
fn postmortems_are_the_golden_ones_with_seventeen_fields() {
    for (name, lang) in [("postmortem-ja", Lang::Ja), ("postmortem-en", Lang::En)] {
        let draft = postmortem::draft(&incident(), &crate::scenario(), lang, JST);
        let headings: Vec<&str> = draft.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        let (appendix, fields) = headings.split_last().expect("headings");
        assert_eq!(fields, postmortem::FIELDS.map(|(ja, en)| lang.pick(ja, en)));
        assert_eq!(
            *appendix,
            lang.pick(postmortem::APPENDIX.0, postmortem::APPENDIX.1)
        );
        let (body, appendix) = draft
            .split_once(&format!("\n## {appendix}\n\n"))
            .expect("an appendix");
        for sentence in body.lines().filter(|l| l.starts_with("- ")) {
            assert!(
                sentence.contains("[#") || sentence.ends_with("]**"),
                "neither linked nor marked: {sentence}"
            );
        }
        // What is cited is there, once and in order, and says what it was.
        let cited: BTreeSet<u64> = body
            .split("[#")
            .skip(1)
            .filter_map(|rest| rest.split(']').next()?.parse().ok())
            .collect();
        let listed: Vec<(u64, &str)> = appendix
            .lines()
            .map(|line| {
                let (seq, rest) = line
                    .strip_prefix("- #")
                    .and_then(|l| l.split_once(' '))
                    .expect("an event");
                (seq.parse().expect("a number"), rest)
            })
            .collect();
        assert_eq!(
            listed.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
            Vec::from_iter(cited)
        );
        assert!(
            listed
                .iter()
                .all(|(_, rest)| rest.split_once(' ').is_some_and(|(_, what)| !what.is_empty()))
        );
        insta::assert_snapshot!(name, draft);
    }
}

/// The text under a heading of the draft.
fn section<'a>(draft: &'a str, heading: &str) -> &'a str {
    let (_, rest) = draft
        .split_once(&format!("\n## {heading}\n\n"))
        .expect("the heading");
    rest.split("\n## ").next().expect("its text")
}

#[test]
fn a_resolution_that_nobody_checked_is_not_called_one() {
    let status = |events: &[Event]| {
        let draft = postmortem::draft(events, &crate::scenario(), Lang::En, JST);
        section(&draft, "Status").trim().to_owned()
    };
    let mut events = incident();
    assert_eq!(status(&events), "- resolved [#27][#28]");
    events.retain(|e| !matches!(e.kind, EventKind::OracleChecked { .. }));
    assert_eq!(
        status(&events),
        "- declared resolved; nobody checked that it holds [#27]"
    );
}

#[test]
fn what_rang_before_the_drill_began_detected_nothing() {
    let mut events = incident();
    let mut early = events.first().expect("a start").clone();
    early.kind = EventKind::AlertFired {
        fingerprint: "f0".into(),
        name: "StillStarting".into(),
        severity: "page".into(),
        summary: "no pod is ready".into(),
        labels: BTreeMap::new(),
    };
    events.insert(1, early);
    for (seq, event) in (1..).zip(&mut events) {
        event.seq = seq;
    }
    let draft = postmortem::draft(&events, &crate::scenario(), Lang::En, JST);
    assert_eq!(
        section(&draft, "Detection").lines().next(),
        Some("- 14:02 found by the alert ReadTimelineFreshnessBudgetBurn [#8]")
    );
}

#[test]
fn a_budget_is_cited_where_it_was_lowest() {
    let mut events = incident();
    let mut later = events.last().expect("an end").clone();
    later.seq += 1;
    let sample = JourneySample {
        budget_left: Some(0.95),
        ..JourneySample::default()
    };
    later.kind = EventKind::Sample {
        journeys: BTreeMap::from([("read-timeline".to_owned(), sample)]),
    };
    events.push(later);
    let m = metrics(&events, &crate::scenario());
    assert_eq!(m.budget_burned["read-timeline"].seqs, [5, 26]);
    let draft = postmortem::draft(&events, &crate::scenario(), Lang::En, JST);
    assert!(draft.contains("burned 20.0 % of its error budget [#5][#26]\n"));
}

/// The script has one line twice, for two reasons; to what a person types it gives none.
#[test]
fn a_reason_is_its_steps_own() {
    let scenario = crate::scenario();
    let line = "kubectl get pods -l app=redis-cluster";
    let steps = script_steps(line);
    let cast = scenario.cast.as_ref().expect("a cast");
    let reasons: Vec<&str> = steps
        .iter()
        .filter_map(|step| Some(cast.steps[usize::try_from(*step).ok()?].why.as_ref()?.en.as_str()))
        .collect();
    assert_eq!(reasons.len(), 2);
    let given = |runs: &[Option<u32>]| {
        let mut events = incident();
        events.retain(|e| !matches!(e.kind, EventKind::CommandRun { .. }));
        let end = events.last().expect("an end").clone();
        events.extend(runs.iter().map(|step| Event {
            kind: run(actor("hoge123", "operator"), line, false, "", *step),
            ..end.clone()
        }));
        let text = story(&events, &scenario, &map(), Lang::En, JST);
        reasons
            .iter()
            .map(|reason| text.matches(*reason).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(given(&[Some(steps[0])]), [1, 0]);
    assert_eq!(given(&[Some(steps[1])]), [0, 1]);
    assert_eq!(given(&[Some(steps[1]), Some(steps[1])]), [0, 1], "looked again");
    assert_eq!(given(&[None]), [0, 0], "typed by a person");
    assert_eq!(
        given(&[Some(steps[0] + 1)]),
        [0, 0],
        "the scenario was edited since"
    );
    assert_eq!(given(&[Some(u32::MAX)]), [0, 0]);
}

#[test]
fn a_log_of_before_there_were_steps_is_read() {
    let line = r#"{"v":1,"seq":1,"at":"2026-11-21T05:00:00Z","kind":"command_run","actor":{"name":"pika7","seat":"operator"},"command":"kubectl get pods","mutating":false,"source":"console","exit_code":0,"output":"","seconds":0.1}"#;
    let read = log::decode(format!("{line}\n").as_bytes()).expect("reads");
    let [event] = read.events.as_slice() else {
        panic!("one event: {read:?}")
    };
    assert!(matches!(event.kind, EventKind::CommandRun { step: None, .. }));
    assert!(!log::encode(event).expect("writes").contains("step"));
}

/// Nothing in a story but the record: commands, what they printed, and the minute of what both parts tell.
#[test]
fn a_story_quotes_only_its_record() {
    let mut rehearsed = crate::engine::Drill::new();
    crate::rehearsal::play(&mut rehearsed, None);
    for events in [incident(), rehearsed.events] {
        for (lang, course, talk) in [
            (Lang::Ja, "経過", "チャットログ"),
            (Lang::En, "Course", "Chat log"),
        ] {
            let text = story(&events, &crate::scenario(), &map(), lang, JST);
            let (report, talk) = text.split_once(&format!("\n## {talk}\n\n")).expect("a chat");
            let (_, course) = report
                .split_once(&format!("\n### {course}\n\n"))
                .expect("a course");
            // Outside and inside a fence by turns.
            let parts: Vec<&str> = course.split("  ```\n").collect();
            assert_eq!(parts.len() % 2, 1, "an open fence");
            for block in parts.iter().skip(1).step_by(2) {
                quotes(block, &events);
            }
            let minutes: Vec<&str> = parts
                .iter()
                .step_by(2)
                .flat_map(|part| part.lines())
                .filter_map(|line| line.strip_prefix("- ")?.get(..5))
                .collect();
            let told: Vec<&Event> = events
                .iter()
                .filter(|e| entry(e).is_some_and(|t| t.category != Category::Seat))
                .collect();
            assert_eq!(minutes.len(), told.len());
            let minutes: BTreeMap<u64, &str> = told.iter().map(|e| e.seq).zip(minutes).collect();
            let lines: Vec<&str> = talk.lines().filter_map(|l| l.strip_prefix("- ")).collect();
            let said = chat(&events);
            assert_eq!(lines.len(), said.len());
            for (line, said) in lines.iter().zip(&said) {
                let minute = clock(said.at, JST);
                assert!(
                    line.starts_with(&format!("{minute} **{}**: ", said.name)),
                    "{line}"
                );
                // Mere talk is in the chat only.
                if let Some(reported) = minutes.get(&said.seq) {
                    assert_eq!(*reported, minute, "{line}");
                }
            }
        }
    }
}

/// A fenced block is a command of the record with lines that it printed.
fn quotes(block: &str, events: &[Event]) {
    let mut lines = block
        .lines()
        .map(|l| l.strip_prefix("  ").expect("within its item"));
    let line = lines
        .next()
        .and_then(|l| l.strip_prefix("$ "))
        .expect("a command first");
    let quoted: Vec<&str> = lines.collect();
    let it_was = |event: &Event| match &event.kind {
        EventKind::CommandRun { command, output, .. } => {
            let printed: Vec<&str> = output.lines().map(str::trim_end).collect();
            command == line && quoted.iter().all(|q| printed.contains(q))
        }
        _ => false,
    };
    assert!(events.iter().any(it_was), "nobody ran or saw this:\n{block}");
}

/// Report and chat are of one record: what both tell, they tell at the same minute.
#[test]
fn report_and_chat_agree_to_the_minute() {
    let text = story(&incident(), &crate::scenario(), &map(), Lang::En, JST);
    let (report, chat) = text.split_once("## Chat log").expect("both parts");
    let minute = |part: &str, words: &str| {
        let line = part
            .lines()
            .rev()
            .find(|l| l.contains(words))
            .unwrap_or_else(|| panic!("{words} is missing"));
        line.trim_start_matches("- ").chars().take(5).collect::<String>()
    };
    for words in [
        "Some timelines do not update",
        "Looking into it",
        "Retries are bounded",
        "It is over",
        "ReadTimelineFreshnessBudgetBurn",
    ] {
        assert_eq!(minute(report, words), minute(chat, words), "{words}");
    }
}

#[test]
fn figures_are_those_of_the_record() {
    let m = metrics(&incident(), &crate::scenario());
    assert_eq!(
        (m.to_alert, m.to_acknowledge, m.to_assign),
        (Some(21.0), Some(20.0), Some(22.0))
    );
    assert_eq!(
        (m.to_mitigate, m.to_resolve, m.oracle_green),
        (Some(250.0), Some(330.0), Some(true))
    );
    assert_eq!(
        m.relapsed_mitigations.len(),
        1,
        "the first declaration was followed by another page"
    );
    assert_eq!(
        m.actions.iter().map(|a| a.after_hypothesis).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(m.promises.iter().map(|p| p.kept).collect::<Vec<_>>(), [true]);
    assert!((m.budget_burned["read-timeline"].share - 0.2).abs() < 1e-9);
    let longest = m
        .silences
        .iter()
        .find(|s| s.toward == "mina3pm")
        .expect("the product manager");
    assert!((longest.seconds - 260.0).abs() < 1e-9, "{longest:?}");
}

#[test]
fn every_point_has_its_reason() {
    let judged = score(&incident(), &crate::scenario());
    assert_eq!(judged.of, 100);
    assert_eq!(judged.points, judged.lines.iter().map(|l| l.points).sum::<u32>());
    assert!(
        judged
            .lines
            .iter()
            .all(|l| l.points <= l.of && !l.reason_ja.is_empty() && !l.reason_en.is_empty())
    );
    insta::assert_json_snapshot!("score", judged);
}

#[test]
fn the_answer_is_hidden_until_the_end() {
    let events = incident();
    let told = |ended| serde_json::to_string(&timeline(&events, "facilitator", ended)).expect("JSON");
    assert!(!told(false).contains("slow-shard") && !told(false).contains("exp-7f3a"));
    assert!(told(true).contains("slow-shard"));
}
