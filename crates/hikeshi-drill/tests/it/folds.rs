use hikeshi_drill::story::{SystemMap, story};
use hikeshi_drill::timeline::timeline;
use hikeshi_drill::{Lang, metrics::metrics, postmortem, score::score};
use jiff::tz::Offset;

use crate::fixture::incident;

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
        let fields: Vec<&str> = draft.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        assert_eq!(fields, postmortem::FIELDS.map(|(ja, en)| lang.pick(ja, en)));
        for sentence in draft.lines().filter(|l| l.starts_with("- ")) {
            assert!(
                sentence.contains("[#") || sentence.ends_with("]**"),
                "neither linked nor marked: {sentence}"
            );
        }
        insta::assert_snapshot!(name, draft);
    }
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
    assert!((m.budget_burned["read-timeline"] - 0.2).abs() < 1e-9);
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
