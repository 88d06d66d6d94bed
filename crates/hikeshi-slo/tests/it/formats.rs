//! Sloth and OpenSLO in, OpenSLO out; the same SLO fires at the same moments whichever file it came from.

use std::fmt::Write as _;

use hikeshi_slo::formats::{Format, Imported, export_openslo, import};
use hikeshi_slo::{Cujs, Period, Severity, Sli, Source, parse, specs};

use crate::generated::write;
use crate::promtool::promtool;

const SLOTH: &str = include_str!("../formats/sloth.yaml");
const OPENSLO: &str = include_str!("../formats/openslo.yaml");

fn read(file: &str, text: &str) -> Imported {
    import(file, text, None).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn notes(imported: &Imported) -> Vec<String> {
    imported
        .notes
        .iter()
        .map(|note| format!("{}:{} {}", note.line, note.column, note.text.en))
        .collect()
}

fn said(notes: &[String], at: &str, words: &str) {
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with(at) && note.contains(words)),
        "nothing at {at} says {words}: {notes:#?}"
    );
}

#[test]
fn sloth_is_read_and_what_is_lost_is_said() {
    let imported = read("bakery.yaml", SLOTH);
    assert_eq!(
        (imported.format, imported.cujs.system.as_str()),
        (Format::Sloth, "bakery")
    );
    let all = specs(&imported.cujs);
    let ids: Vec<&str> = all.iter().map(|spec| spec.id.as_str()).collect();
    assert_eq!(ids, ["bakery-orders", "bakery-warmth-ratio"]);
    let orders = &all[0];
    assert_eq!(
        (orders.owner.as_str(), orders.min_events, orders.objective),
        ("ovens", 0, 99.9)
    );
    assert_eq!(orders.labels["tier"], "1");
    assert_eq!(
        orders
            .alerting
            .page
            .as_ref()
            .map(|page| page.labels["team"].as_str()),
        Some("ovens")
    );
    assert!(matches!(&all[1].source, Source::Ratio { error } if error.contains("bread_warm_ratio")));
    assert!(all[1].alerts().all(|burn| burn.severity == Severity::Ticket));
    let notes = notes(&imported);
    said(&notes, "2:10", "no low-traffic gate");
    said(&notes, "20:11", "has become `warmth-ratio`");
    said(&notes, "31:15", "plugin");
    said(&notes, "33:5", "`surprise`");
    assert_eq!(notes.len(), 4, "{notes:#?}");
}

#[test]
fn openslo_is_read_and_what_is_lost_is_said() {
    let imported = read("bakery.yaml", OPENSLO);
    let all = specs(&imported.cujs);
    assert_eq!(all.len(), 2);
    let Period::Calendar(quarter) = all[0].period else {
        panic!("{:?}", all[0].period)
    };
    assert_eq!(quarter.utc_offset.0, 540);
    assert_eq!(all[0].title.en, "The bakery");
    assert_eq!(all[0].burns.len(), 1);
    assert!((all[0].burns[0].factor - 14.4).abs() < 1e-9);
    assert_eq!(all[1].period.seconds(), 28 * 86_400);
    let notes = notes(&imported);
    for (at, words) in [
        ("6:1", "DataSource was ignored"),
        (
            "18:59",
            "`sum(rate(orders_total{job=\"bakery\",code!~\"(5..|429)\"}[{{.window}}]))`",
        ),
        ("20:59", "has become"),
        ("27:20", "alertWhenNoData"),
        ("33:94", "alertAfter"),
        ("33:20", "one window"),
        ("40:12", "joined with commas"),
        ("45:20", "time slices"),
        ("72:24", "thresholdMetric"),
        ("73:27", "a calendar's 1Y"),
    ] {
        said(&notes, at, words);
    }
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    for (text, said) in [
        ("", "f.yaml:1:1: the file is empty"),
        ("a: [", "f.yaml:1:"),
        ("hello: 1\n", "f.yaml:1:1: neither Sloth"),
        (
            "version: prometheus/v2\nservice: a\n",
            "f.yaml:1:10: version `prometheus/v2`",
        ),
        (
            "version: prometheus/v1\nservice: a\nslos: []\n",
            "f.yaml:3:7: a service needs",
        ),
        (
            "version: prometheus/v1\nservice: a\nslos:\n  - name: b\n    objective: 100\n    sli: {events: {error_query: 'up', total_query: 'x[{{.window}}]'}}\n",
            "f.yaml:5:16: objective 100",
        ),
        (
            "version: prometheus/v1\nservice: a\nlabels: {owner: o}\nslos:\n  - {name: b, objective: 99, sli: {plugin: {id: c}}}\n",
            "f.yaml:1:1: there is no SLO in this file that could be read (line 2: Sloth has no low-traffic gate",
        ),
        (
            "apiVersion: openslo/v2\nkind: SLO\n",
            "f.yaml:1:13: apiVersion `openslo/v2`",
        ),
        (
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\nspec: {service: b, indicatorRef: no, objectives: [{target: 0.9}]}\n",
            "f.yaml:4:34: there is no `indicator`",
        ),
    ] {
        let problems = import("f.yaml", text, None).expect_err(text);
        assert!(problems[0].to_string().starts_with(said), "{text}: {problems:#?}");
    }
}

#[test]
fn what_was_exported_is_the_same_when_it_is_read_again() {
    let talk = include_str!("../../../../docs/examples/cujs.yaml");
    for (name, text) in [
        ("talk", talk),
        ("shipped", include_str!("../../../../systems/chirpy/cujs.yaml")),
    ] {
        let before = parse(name, text).expect("right");
        let (written, said) = export_openslo(&before);
        assert!(said.iter().any(|note| note.text.en.contains("one condition")));
        let after = read(name, &written).cujs;
        assert_eq!(before.cujs.len(), after.cujs.len());
        for (before, after) in specs(&before).iter().zip(specs(&after)) {
            assert_eq!(
                (&before.id, &before.title, &before.owner),
                (&after.id, &after.title, &after.owner)
            );
            assert_eq!(
                (before.objective, before.period, before.min_events),
                (after.objective, after.period, after.min_events)
            );
            assert_eq!((&before.burns, &before.policy), (&after.burns, &after.policy));
            let (Source::Events { bad, total, .. }, Source::Events { bad: b, total: t, .. }) =
                (&before.source, &after.source)
            else {
                panic!("{} has no events", before.id);
            };
            assert_eq!((bad, total), (b, t));
        }
        // And it is written as a file that is read.
        let yaml = serde_saphyr::to_string(&after).expect("YAML");
        assert_eq!(parse("again.yaml", &yaml), Ok(after));
    }
}

/// The same objective in every format; queries of the counters below.
fn each_format() -> Vec<(&'static str, Cujs)> {
    let bad = "sum(rate(orders_total{job=\"bakery\",code=~\"(5..|429)\"}[{{.window}}]))";
    let total = "sum(rate(orders_total{job=\"bakery\"}[{{.window}}]))";
    let own = format!(
        "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: s\nminEvents: 0\ncujs:\n  - name: own\n    title: {{ja: x, en: x}}\n    owner: x\n    route: x\n    slos: [{{sli: custom, objective: 99.9, labels: {{format: own}}, queries: {{bad: '{bad}', total: '{total}'}}}}]\n"
    );
    let own = parse("own.yaml", &own).expect("right");
    let sloth = format!(
        "version: prometheus/v1\nservice: sloth\nlabels: {{format: sloth}}\nslos:\n  - name: orders\n    objective: 99.9\n    sli: {{events: {{error_query: '{bad}', total_query: '{total}'}}}}\n    alerting: {{name: Orders}}\n"
    );
    let sloth = read("sloth.yaml", &sloth).cujs;
    let openslo = format!(
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: orders, labels: {{format: openslo}}}}\nspec:\n  service: openslo\n  indicator: {{metadata: {{name: i}}, spec: {{ratioMetric: {{counter: true, bad: {{metricSource: {{type: Prometheus, spec: {{query: '{bad}'}}}}}}, total: {{metricSource: {{type: Prometheus, spec: {{query: '{total}'}}}}}}}}}}}}\n  timeWindow: [{{duration: 30d, isRolling: true}}]\n  budgetingMethod: Occurrences\n  objectives: [{{target: 0.999}}]\n"
    );
    let openslo = read("openslo.yaml", &openslo).cujs;
    let mut again = own.clone();
    again.cujs[0].name = "exported".to_owned();
    again.cujs[0].slos[0]
        .labels
        .insert("format".to_owned(), "exported".to_owned());
    let exported = read("exported.yaml", &export_openslo(&again).0).cujs;
    assert_eq!(exported.cujs[0].slos[0].sli, Sli::Custom);
    vec![
        ("own", own),
        ("sloth", sloth),
        ("openslo", openslo),
        ("exported", exported),
    ]
}

#[test]
fn every_format_fires_at_the_same_moments_and_so_do_sloths_own_rules() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut files = vec!["sloth-rules.yaml".to_owned()];
    for (format, cujs) in each_format() {
        let folder = dir.path().join(format);
        write(&cujs, &folder);
        let spec = &specs(&cujs)[0];
        files.push(format!("{format}/rules/{}.yaml", spec.id));
    }
    std::fs::write(
        dir.path().join("sloth-rules.yaml"),
        include_str!("../formats/sloth-rules.yaml"),
    )
    .expect("write");
    // An hour of health, 2 % errors for half an hour, two hours of health, half of all failing for five minutes, silence, health.
    let ok = "1000+600x60 37588+588x29 55240+600x119 126940+300x4 128140x30 128740+600x399";
    let bad = "1000x60 1012+12x29 1360x119 1660+300x4 2860x30 2860x399";
    let firing = |format: &str| {
        format!("count by (severity, window) (ALERTS{{format=\"{format}\",alertstate=\"firing\"}})")
    };
    let by_severity =
        |format: &str| format!("count by (severity) (ALERTS{{format=\"{format}\",alertstate=\"firing\"}})");
    let sloth = "count by (severity) (label_replace(ALERTS{alertname=\"BakeryOrders\",alertstate=\"firing\"}, \"severity\", \"$1\", \"sloth_severity\", \"(.*)\"))";
    let mut cases = String::new();
    let mut never = |one: &str, other: &str| {
        let _ = writeln!(
            cases,
            "      - {{eval_time: 600m, exp_samples: [], expr: 'count_over_time((({one}) unless on(severity, window) ({other}))[600m:1m])'}}"
        );
    };
    for format in ["sloth", "openslo", "exported"] {
        never(&firing("own"), &firing(format));
        never(&firing(format), &firing("own"));
    }
    // Sloth's two alerts are ours of either window.
    never(&by_severity("own"), sloth);
    never(sloth, &by_severity("own"));
    // And all four of them did fire, for a while.
    let _ = writeln!(
        cases,
        "      - {{eval_time: 600m, exp_samples: [{{labels: '{{}}', value: 4}}], expr: 'count(count_over_time(({})[600m:1m]) > 4 < 590)'}}",
        firing("own")
    );
    let test = format!(
        "rule_files: [{}]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n      - {{series: 'orders_total{{job=\"bakery\",code=\"200\"}}', values: '{ok}'}}\n      - {{series: 'orders_total{{job=\"bakery\",code=\"503\"}}', values: '{bad}'}}\n    promql_expr_test:\n{cases}",
        files.join(", ")
    );
    std::fs::write(dir.path().join("test.yaml"), test).expect("write");
    promtool(dir.path(), &["test", "rules", "test.yaml"]);
}
