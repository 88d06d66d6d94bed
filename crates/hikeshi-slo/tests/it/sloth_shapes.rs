//! Inputs of every shape that Sloth's published examples have, in words of our own: each is read, generates what promtool takes,
//! and fires at the moments at which the rules that Sloth makes of it do.

use std::fmt::Write as _;

use hikeshi_slo::formats::import;
use hikeshi_slo::{Severity, Source, Spec, specs};

use crate::generated::{judge, write};
use crate::promtool::promtool;

macro_rules! shapes {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../formats/shapes/", $name, ".yaml")))),*]
    };
}

/// Those of Sloth's own formats; and OpenSLO as Sloth reads it, of which Sloth makes no alerts at all.
const SLOTHS: &[(&str, &str)] = shapes![
    "service", "several", "sampled", "ratio", "operator", "managed", "silent", "windows"
];
const OPENSLO: &str = include_str!("../formats/shapes/openslo-alpha.yaml");

fn read(name: &str, text: &str) -> hikeshi_slo::formats::Imported {
    import(&format!("{name}.yaml"), text, None).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The alerts that Sloth makes of an SLO: errors over all, undivided where it is a ratio; of each severity one alert, whose two
/// pairs of windows are joined by `or`.
fn sloths_rules(spec: &Spec) -> String {
    let ratio = |window: &str| match &spec.source {
        Source::Ratio { error } => format!("({})", error.replace("{{.window}}", window)),
        Source::Events { bad, total, .. } => format!("({bad}) / ({total})").replace("{{.window}}", window),
    };
    let mut windows: Vec<String> = spec
        .burns
        .iter()
        .flat_map(|b| [b.short.name(), b.long.name()])
        .collect();
    windows.sort();
    windows.dedup();
    let quoted = |text: &str| serde_json::to_string(text).expect("text");
    let of = |window: &str| format!("sloth:ratio{window}{{sloth_id=\"{}\"}}", spec.id);
    let mut rules = String::new();
    for window in windows {
        let _ = writeln!(
            rules,
            "      - {{record: 'sloth:ratio{window}', labels: {{sloth_id: {}, sloth_window: {window}}}, expr: {}}}",
            spec.id,
            quoted(&ratio(&window))
        );
    }
    for severity in [Severity::Page, Severity::Ticket] {
        let wanted: Vec<String> = spec
            .alerts()
            .filter(|burn| burn.severity == severity)
            .map(|burn| {
                let limit = format!("({} * {})", burn.factor, spec.budget);
                format!(
                    "({} > {limit} and ignoring(sloth_window) {} > {limit})",
                    of(&burn.short.name()),
                    of(&burn.long.name())
                )
            })
            .collect();
        if !wanted.is_empty() {
            let _ = writeln!(
                rules,
                "      - {{alert: Sloth, labels: {{sloth_severity: {}}}, expr: {}}}",
                severity.name(),
                quoted(&wanted.join(" or ignoring(sloth_window) "))
            );
        }
    }
    format!("groups:\n  - name: sloth\n    rules:\n{rules}")
}

/// Ten hours of every metric of the inputs: health, 2 % of errors (slow answers, cold) for half an hour, health, half of all for
/// eight minutes (frost for eighty), silence, health. Failures begin to be counted with the first, as a counter with a `code` does.
const SERIES: &str = r#"
      - {series: 'ferry_tickets_total{job="ferry",code="200"}', values: '1000+600x60 37588+588x29 55240+600x119 126940+300x7 129040x30 129640+600x350'}
      - {series: 'ferry_tickets_total{job="ferry",code="503"}', values: '_x60 12+12x29 360x119 660+300x7 2760x30 2760x350'}
      - {series: 'ferry_booking_seconds_count{verb="GET"}', values: '1000+600x600'}
      - {series: 'ferry_booking_seconds_bucket{verb="GET",le="0.4"}', values: '1000+600x60 37450+450x29 50650+600x119 122050+300x7 124450+600x381'}
      - {series: 'ferry_booking_seconds_bucket{verb="GET",le="5"}', values: '1000+600x60 37590+590x29 54700+600x119 126100+300x7 128500+600x381'}
      - {series: 'greenhouse_warmth_ratio{bed="a"}', values: '0.9x60 0.6x30 0.9x60 0.1x80 _x18 0.9x350'}
      - {series: 'greenhouse_warmth_ratio{bed="b"}', values: '1x60 0.7x30 1x60 0.1x80 _x18 1x350'}"#;

#[test]
fn every_shape_fires_when_sloths_rules_do() {
    for (name, text) in SLOTHS {
        let imported = read(name, text);
        let dir = tempfile::tempdir().expect("temporary folder");
        write(&imported.cujs, dir.path());
        let mut cases = String::new();
        let mut files = Vec::new();
        for spec in specs(&imported.cujs) {
            let sloth = format!("sloth-{}.yaml", spec.id);
            std::fs::write(dir.path().join(&sloth), sloths_rules(&spec)).expect("write");
            files.extend([sloth, format!("rules/{}.yaml", spec.id)]);
            for severity in [Severity::Page, Severity::Ticket] {
                let wanted = spec.alerts().any(|burn| burn.severity == severity);
                let windows: Vec<String> = spec
                    .burns
                    .iter()
                    .filter(|burn| burn.severity == severity)
                    .map(|burn| burn.long.name())
                    .collect();
                // The channel's own labels may have another severity; the windows are told apart all the same.
                let ours = format!(
                    "group(ALERTS{{slo=\"{}\",window=~\"{}\",alertstate=\"firing\"}})",
                    spec.id,
                    windows.join("|")
                );
                let sloths = format!(
                    "group(ALERTS{{alertname=\"Sloth\",sloth_id=\"{}\",sloth_severity=\"{}\",alertstate=\"firing\"}})",
                    spec.id,
                    severity.name()
                );
                for (one, other) in [(&ours, &sloths), (&sloths, &ours)] {
                    let _ = writeln!(
                        cases,
                        "      - {{eval_time: 597m, exp_samples: [], expr: 'count_over_time((({one}) unless ({other}))[597m:1m])'}}"
                    );
                }
                // And there was something to compare: it fired for a while, and was quiet for a while.
                let fired = if wanted {
                    "[{labels: '{}', value: 1}]"
                } else {
                    "[]"
                };
                let _ = writeln!(
                    cases,
                    "      - {{eval_time: 597m, exp_samples: {fired}, expr: 'group(count_over_time(({ours})[597m:1m]) > 2 < 590)'}}"
                );
            }
        }
        let test = format!(
            "rule_files: [{}]\nevaluation_interval: 1m\ntests:\n  - name: {name}\n    interval: 1m\n    input_series:{SERIES}\n    promql_expr_test:\n{cases}",
            files.join(", ")
        );
        std::fs::write(dir.path().join("test.yaml"), test).expect("write");
        promtool(dir.path(), &["test", "rules", "test.yaml"]);
    }
}

#[test]
fn what_promtool_makes_of_every_shape_is_what_we_say() {
    for (name, text) in SLOTHS {
        // The tests generated for each are run, too.
        judge(&read(name, text).cujs);
    }
    judge(&read("openslo-alpha", OPENSLO).cujs);
}

#[test]
fn what_no_shape_can_say_is_said() {
    let told = |name: &str| -> Vec<String> {
        let (_, text) = SLOTHS.iter().find(|(other, _)| *other == name).expect(name);
        read(name, text)
            .notes
            .iter()
            .map(|note| format!("{}:{}", note.line, note.text.en))
            .collect()
    };
    let says = |name: &str, line: u32, words: &str| {
        let notes = told(name);
        let start = format!("{line}:");
        assert!(
            notes
                .iter()
                .any(|note| note.starts_with(&start) && note.contains(words)),
            "{name}:{line} does not say {words}: {notes:#?}"
        );
    };
    says("service", 9, "SLO plugins");
    says("service", 15, "`interval`");
    says("service", 17, "SLO plugins");
    says("service", 28, "`for` is not waited for");
    says("service", 31, "`for` is not waited for");
    says("sampled", 3, "no owner");
    says("operator", 9, "SLO plugins");
    assert!(
        told("silent")
            .iter()
            .all(|note| note.contains("low-traffic gate")),
        "{:#?}",
        told("silent")
    );
    let silent = read(
        "silent",
        SLOTHS.iter().find(|(name, _)| *name == "silent").expect("it").1,
    );
    assert_eq!(specs(&silent.cujs)[0].alerts().count(), 0);
}

/// An SLO with two objectives becomes two, and both have alerts: Sloth makes none of an OpenSLO file, so ours are the earlier ones.
#[test]
fn openslo_as_sloth_reads_it_becomes_one_slo_for_each_objective() {
    let all = specs(&read("openslo-alpha", OPENSLO).cujs);
    let told: Vec<(f64, usize)> = all
        .iter()
        .map(|spec| (spec.objective, spec.alerts().count()))
        .collect();
    assert_eq!(told, [(99.0, 4), (99.9, 4)]);
    assert_ne!(all[0].id, all[1].id);
}
