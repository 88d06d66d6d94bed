use hikeshi_slo::{Weight, lint, parse};

const SHIPPED: &str = include_str!("../../../../systems/chirpy/cujs.yaml");

fn findings(text: &str) -> Vec<String> {
    let found = lint("cujs.yaml", text).unwrap_or_else(|problems| panic!("{problems:?}"));
    found
        .iter()
        .map(|f| format!("{}:{}:{} {}", f.line, f.column, f.rule, f.message.en))
        .collect()
}

#[test]
fn the_shipped_file_is_clean() {
    assert_eq!(findings(SHIPPED), Vec::<String>::new());
}

#[test]
fn mistakes_have_their_places() {
    let text = include_str!("../../../../systems/chirpy/cujs.yaml");
    let slip = text
        .replacen("    owner: posting", "    ownr: posting", 1)
        .replacen("    route: GET", "    rute: GET", 1);
    let problems: Vec<String> = parse("cujs.yaml", &slip)
        .expect_err("two slips")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        problems[0].starts_with("cujs.yaml:13:5: unknown key `ownr`")
            && problems[0].ends_with("did you mean `owner`?"),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("cujs.yaml:25:5: unknown key `rute`")),
        "{problems:?}"
    );

    let bucket = text.replacen("within: 500ms", "within: 450ms", 1);
    let problem = parse("cujs.yaml", &bucket).expect_err("no such bucket")[0].to_string();
    assert!(
        problem.starts_with("cujs.yaml:21:") && problem.contains("450ms") && problem.contains("0.5 s"),
        "{problem}"
    );
}

#[test]
fn unreachable_alerts_are_said() {
    let found = findings(&SHIPPED.replace("objective: 98}", "objective: 93}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("21:54:unreachable")
            && found[0].contains("14.4x")
            && found[0].contains("93.06 %"),
        "{found:#?}"
    );
    // At 93.06 % it can be reached, and 6 below 83.33 % cannot.
    let near = |objective: &str| {
        findings(&SHIPPED.replacen("objective: 98}", &format!("objective: {objective}}}"), 1))
    };
    assert_eq!(near("93.1"), Vec::<String>::new());
    assert_eq!(near("83.3").len(), 2);
}

#[test]
fn findings_have_their_places_and_weights() {
    let text = r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: shop
cujs:
  - name: buy
    title: {ja: 買う, en: Buying}
    owner: shop
    route: POST /buy
    slos:
      - sli: availability
        objective: 99.9
      - {sli: custom, name: again, objective: 99, queries: {bad: 'sum(rate(e[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
      - {sli: custom, name: twice, objective: 99, queries: {bad: 'sum(rate(e[{{.window}}]))', total: 'sum(rate(t[{{.window}}]))'}}
      - sli: custom
        name: week
        objective: 99
        window: 7d
        queries: {errorRatio: 'avg_over_time(r[{{.window}}])'}
"#;
    let found = findings(text);
    let starts = [
        "10:14:low-traffic",
        "13:15:duplicate",
        "14:14:ratio",
        "16:20:never-spends",
        "16:20:never-spends",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} is not {start}");
    }
    // 1 / (6 x 0.1 %) = 167 events until one failure is not enough.
    assert!(found[0].contains("at least 167"), "{}", found[0]);
    let weights = lint("f", text).unwrap();
    assert_eq!(weights.iter().filter(|f| f.weight == Weight::Warning).count(), 2);
}

#[test]
fn refusals_have_their_places() {
    let text = r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: shop
window: {calendar: quarter, utcOffset: "9"}
cujs: []
"#;
    let said = |text: &str| -> Vec<String> {
        let problems = parse("f.yaml", text).expect_err("wrong");
        problems.iter().map(ToString::to_string).collect()
    };
    assert!(said(text)[0].starts_with("f.yaml:4:"), "{:?}", said(text));
    let unknown = text.replace("utcOffset: \"9\"", "utcOfset: Z");
    assert!(
        said(&unknown)[0].ends_with("did you mean `utcOffset`?"),
        "{:?}",
        said(&unknown)
    );
    let more = r#"apiVersion: hikeshi.dev/v1
kind: CUJs
system: shop
window: 10m
alerts: [{severity: page, budget: 2, long: 1h, short: 2h}, {severity: page, budget: 4, long: 60m}]
cujs:
  - name: Buy
    title: {ja: 買う, en: Buying}
    owner: shop
    route: POST /buy
    slos:
      - sli: quality
        objective: 100
        labels: {slo: mine, "a-b": c}
      - {sli: availability, objective: 99, queries: {bad: up, good: up, total: up}}
"#;
    let found = said(more);
    let starts = [
        "f.yaml:4:9: a window of 10m",
        "f.yaml:5:55: the short window",
        "f.yaml:5:94: two page alerts look at 1h",
        "f.yaml:7:11: `Buy`",
        "f.yaml:12:14: quality cannot be counted",
        "f.yaml:13:20: objective 100",
        "f.yaml:14:17: `a-b`",
        "f.yaml:14:17: the label `slo`",
        "f.yaml:15:53: queries are",
    ];
    for start in starts {
        assert!(
            found.iter().any(|f| f.starts_with(start)),
            "{start} is not in {found:#?}"
        );
    }
}

#[test]
fn queries_say_what_is_broken() {
    let queries = hikeshi_slo::journey_queries(&super::shipped(), 60.0);
    let read = queries
        .iter()
        .find(|q| q.journey == "read-timeline")
        .expect("read-timeline");
    assert_eq!(
        read.broken(Some(0.999), Some(0.99), Some(0.995)),
        Vec::<String>::new()
    );
    assert_eq!(
        read.broken(Some(0.999), Some(0.99), Some(0.66)),
        ["read-timeline freshness 66.00 % < 99.00 %"]
    );
    assert_eq!(
        read.broken(None, Some(1.0), Some(1.0)),
        ["read-timeline availability: no data"]
    );
}

/// An editor that has the schema accepts what we accept: every key of the files is one that the schema has at its place.
#[test]
fn the_schema_knows_every_key_that_the_files_use() {
    let schema = hikeshi_slo::schema();
    assert_eq!(schema["additionalProperties"], false);
    for text in [include_str!("../../../../docs/examples/cujs.yaml"), SHIPPED] {
        let file: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
        assert_eq!(unknown(&file, &schema, &schema, "$"), Vec::<String>::new());
    }
    // And it does not accept whatever comes.
    let slip: serde_json::Value =
        serde_json::json!({"cujs": [{"name": "a", "ownr": "b", "slos": [{"objectiv": 9}]}]});
    assert_eq!(
        unknown(&slip, &schema, &schema, "$"),
        ["$.cujs[].ownr", "$.cujs[].slos[].objectiv"]
    );
}

/// The schemas that a schema stands for: what it refers to, and each of its choices.
fn meant<'a>(of: &'a serde_json::Value, root: &'a serde_json::Value) -> Vec<&'a serde_json::Value> {
    if let Some(path) = of["$ref"].as_str() {
        let target = root.pointer(path.trim_start_matches('#'));
        return meant(
            target.unwrap_or_else(|| panic!("{path} is not in the schema")),
            root,
        );
    }
    let choices: Vec<_> = ["anyOf", "oneOf"]
        .iter()
        .filter_map(|key| of[*key].as_array())
        .flatten()
        .collect();
    if choices.is_empty() {
        vec![of]
    } else {
        choices.into_iter().flat_map(|one| meant(one, root)).collect()
    }
}

/// Keys of a value that no schema of its place has.
fn unknown(
    value: &serde_json::Value,
    of: &serde_json::Value,
    root: &serde_json::Value,
    at: &str,
) -> Vec<String> {
    let schemas = meant(of, root);
    match value {
        serde_json::Value::Object(entries) => entries
            .iter()
            .flat_map(|(key, inner)| {
                let path = format!("{at}.{key}");
                let here = schemas.iter().find_map(|one| match &one["properties"][key] {
                    serde_json::Value::Null => one["additionalProperties"]
                        .as_object()
                        .map(|_| &one["additionalProperties"]),
                    known => Some(known),
                });
                match here {
                    Some(known) => unknown(inner, known, root, &path),
                    None => vec![path],
                }
            })
            .collect(),
        serde_json::Value::Array(items) => items
            .iter()
            .flat_map(|item| {
                let inner = schemas
                    .iter()
                    .find(|one| one["items"].is_object())
                    .map(|one| &one["items"]);
                inner.map_or_else(
                    || vec![at.to_owned()],
                    |inner| unknown(item, inner, root, &format!("{at}[]")),
                )
            })
            .collect(),
        _ => Vec::new(),
    }
}
