use hikeshi_slo::{lint, parse};

#[test]
fn the_shipped_file_is_clean() {
    assert_eq!(lint(&super::shipped()), Vec::<String>::new());
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
        problems[0].starts_with("cujs.yaml:8:5: unknown key `ownr`")
            && problems[0].ends_with("did you mean `owner`?"),
        "{problems:?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("cujs.yaml:16:5: unknown key `rute`")),
        "{problems:?}"
    );

    let bucket = text.replacen("within: 500ms", "within: 450ms", 1);
    let problem = parse("cujs.yaml", &bucket).expect_err("no such bucket")[0].to_string();
    assert!(
        problem.starts_with("cujs.yaml:12:") && problem.contains("450ms") && problem.contains("0.5 s"),
        "{problem}"
    );
}

#[test]
fn unreachable_alerts_are_said() {
    let text =
        include_str!("../../../../systems/chirpy/cujs.yaml").replace("objective: 98}", "objective: 93}");
    let cujs = parse("cujs.yaml", &text).expect("readable");
    assert_eq!(lint(&cujs).len(), 2, "{:?}", lint(&cujs));
    assert!(lint(&cujs)[0].contains("14.4x"));
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
