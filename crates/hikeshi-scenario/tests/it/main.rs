//! The shipped scenario, and what the lint and the reader say of a spoilt one.

use hikeshi_scenario::{Finding, lint, parse};
use serde_json::Value;

const TEXT: &str = include_str!("../../../../scenarios/timelines-stop-updating/scenario.yaml");
const FAULT: &str = include_str!("../../../../scenarios/timelines-stop-updating/faults/slow-shard.yaml");

fn fault(text: &str) -> Vec<(String, Value)> {
    vec![(
        "faults/slow-shard.yaml".to_owned(),
        serde_saphyr::from_str(text).expect("a fault is YAML"),
    )]
}

fn rules(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.rule).collect()
}

#[test]
fn the_shipped_scenario_is_clean() {
    let scenario = parse("scenario.yaml", TEXT).expect("readable");
    assert_eq!(lint(&scenario, &fault(FAULT)), []);
}

#[test]
fn slips_are_placed_and_named() {
    let spoilt = TEXT.replacen("difficulty:", "dificulty:", 1).replacen(
        "        silence: 45s",
        "        silense: 45s",
        1,
    );
    let problems = parse("scenario.yaml", &spoilt).expect_err("two slips");
    let line = |key: &str| {
        spoilt
            .lines()
            .position(|l| l.trim_start().starts_with(key))
            .map(|n| n as u64 + 1)
    };
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert_eq!(
        (Some(problems[0].line), problems[0].column),
        (line("dificulty"), 1)
    );
    assert_eq!(problems[0].suggestion.as_deref(), Some("difficulty"));
    assert_eq!((Some(problems[1].line), problems[1].column), (line("silense"), 9));
    assert_eq!(problems[1].suggestion.as_deref(), Some("silence"));
}

#[test]
fn values_out_of_range_are_placed() {
    let spoilt = TEXT.replacen("difficulty: 3", "difficulty: 9", 1).replacen(
        "seats: {commander",
        "seats: {comander",
        1,
    );
    let problems = parse("scenario.yaml", &spoilt).expect_err("wrong values");
    assert!(problems.iter().all(|p| p.line > 1), "{problems:#?}");
    assert!(
        problems
            .iter()
            .any(|p| p.suggestion.as_deref() == Some("commander")),
        "{problems:#?}"
    );
    let unit = parse(
        "scenario.yaml",
        &TEXT.replacen("duration: 30m", "duration: 30", 1),
    )
    .expect_err("no unit");
    assert!(unit[0].message.contains("40s, 2m"), "{unit:?}");
}

#[test]
fn what_gives_the_answer_away_fails() {
    let scenario = parse("scenario.yaml", TEXT).expect("readable");
    assert!(
        rules(&lint(&scenario, &fault(&FAULT.replace("exp-7f3a", "slow-shard"))))
            .contains(&"gives-answer-away")
    );
    assert!(
        rules(&lint(
            &scenario,
            &fault(&FAULT.replace("hikeshi-faults", "chirpy"))
        ))
        .contains(&"gives-answer-away")
    );
    let mut told = scenario.clone();
    told.briefing.en.push_str("redis-cluster-2 will be slow");
    assert!(rules(&lint(&told, &fault(FAULT))).contains(&"gives-answer-away"));
    assert!(rules(&lint(&scenario, &[])).contains(&"missing-file"));
}

#[test]
fn thin_scenarios_fail() {
    let mut thin = parse("scenario.yaml", TEXT).expect("readable");
    thin.fixes.truncate(1);
    thin.fake_fixes.truncate(2);
    thin.title.ja.clear();
    thin.fixes[0].run = vec![hikeshi_scenario::CommandLine::parse("rm -rf /").expect("a command")];
    let found = rules(&lint(&thin, &fault(FAULT)));
    for rule in ["fixes", "fake-fixes", "bilingual", "program"] {
        assert!(found.contains(&rule), "{rule} not in {found:?}");
    }
}
