use proptest::prelude::*;

use super::*;

fn cujs() -> Cujs {
    hikeshi_slo::parse("cujs.yaml", include_str!("../../../../systems/chirpy/cujs.yaml")).unwrap()
}

fn parse(role: Role, said: &str) -> Result<Check, Misread> {
    Check::parse(role, "x", said, &cujs(), 60.0)
}

#[test]
fn a_comparison_is_split_at_its_outermost_operator() {
    let said =
        "histogram_quantile(0.99, sum by (le) (rate(d_seconds_bucket{le!=\"<\", a=~'b>=c'}[30s]))) < 0.5";
    let check = parse(Role::Hypothesis, said).unwrap();
    assert_eq!(
        (check.op, check.threshold, check.unit.as_str()),
        (Op::Less, 0.5, "seconds")
    );
    assert!(check.query.ends_with("[30s])))"), "{}", check.query);
    let turned = parse(Role::Guard, "0.1 <= a / (b > 0)").unwrap();
    assert_eq!(
        (turned.query.as_str(), turned.op, turned.threshold),
        ("a / (b > 0)", Op::AtLeast, 0.1)
    );
}

#[test]
fn what_is_no_comparison_with_a_number_is_refused_in_words() {
    for (said, words) in [
        ("", "is empty"),
        ("up", "no comparison"),
        ("a < b", "with a number"),
        ("a < 1 < 2", "more than one comparison"),
        ("a < 1 and b > 2", "annotation of its own"),
        ("a = 1", "lone `=`"),
        ("sum(a < 1", "nothing closes"),
        ("a) < 1", "nothing opens"),
        ("a{b=\"c} < 1", "without an end"),
        ("a < bool 1", "without it"),
        ("1 < 2", "with a number"),
    ] {
        let refused = parse(Role::Guard, said).unwrap_err();
        assert!(
            refused.message.en.contains(words),
            "{said}: {}",
            refused.message.en
        );
    }
}

#[test]
fn an_slo_is_found_by_its_path_and_a_slip_is_named() {
    let check = parse(Role::Hypothesis, "slo: chirpy/read-timeline/latency").unwrap();
    assert_eq!((check.op, check.unit.as_str()), (Op::AtLeast, "ratio"));
    assert!((check.threshold - 0.98).abs() < 1e-12);
    assert!(check.query.contains("journey=\"read-timeline\"") && check.query.contains("[10s]"));
    let slip = parse(Role::Hypothesis, "slo: chirpy/read-timelin/latency").unwrap_err();
    assert_eq!(slip.suggestion.as_deref(), Some("read-timeline"));
    let slip = parse(Role::Hypothesis, "slo: chirpy/read-timeline/latncy").unwrap_err();
    assert_eq!(slip.suggestion.as_deref(), Some("latency"));
    assert_eq!(
        parse(Role::Guard, "slo: chirpy/read-timeline/latency")
            .unwrap()
            .op,
        Op::Less
    );
}

#[test]
fn a_burn_guard_asks_for_both_windows_and_must_be_reachable() {
    let check = parse(Role::Guard, "burn: 14.4 slo: chirpy/read-timeline/latency").unwrap();
    assert_eq!((check.op, check.threshold), (Op::More, 14.4));
    assert!(
        check.query.contains("[5s]") && check.query.contains("[60s]"),
        "{}",
        check.query
    );
    assert!(parse(Role::Hypothesis, "burn: 14.4 slo: chirpy/read-timeline/latency").is_err());
    let never = parse(Role::Guard, "burn: 60 slo: chirpy/read-timeline/latency").unwrap_err();
    assert!(
        never.message.en.contains("never be reached"),
        "{}",
        never.message.en
    );
    assert!(parse(Role::Guard, "burn: fast slo: chirpy/read-timeline/latency").is_err());
}

#[test]
fn a_hypothesis_is_of_every_series_and_a_guard_of_any() {
    let hypothesis = parse(Role::Hypothesis, "x < 1").unwrap();
    assert_eq!(hypothesis.is_true(&[0.5, 2.0]), Some(false));
    assert_eq!(hypothesis.worst(&[0.5, 2.0, f64::NAN]), Some(2.0));
    let guard = parse(Role::Guard, "x > 1").unwrap();
    assert_eq!(guard.is_true(&[0.5, 2.0]), Some(true));
    assert_eq!(guard.is_true(&[f64::NAN]), None);
    assert_eq!(guard.is_true(&[]), None);
    assert_eq!(guard.compared(2.0), "2 > 1");
    assert_eq!(hypothesis.compared(2.0), "2 >= 1");
}

proptest! {
    /// The worst figure decides: it is on the bad side exactly when the check says so.
    #[test]
    fn the_worst_figure_decides(values in prop::collection::vec(-5.0..5.0_f64, 1..6), sign in 0..4_usize, guard: bool) {
        let role = if guard { Role::Guard } else { Role::Hypothesis };
        let check = parse(role, &format!("x {} 1", ["<", "<=", ">", ">="][sign])).unwrap();
        let worst = check.worst(&values).unwrap();
        prop_assert_eq!(check.is_true(&values), check.is_true(&[worst]));
    }

    /// Whatever people write, it is read or refused.
    #[test]
    fn nothing_that_can_be_typed_breaks_it(said in "[a-z0-9(){}\\[\\]<>=!\"'`., \\\\あ]{0,40}", guard: bool) {
        let role = if guard { Role::Guard } else { Role::Hypothesis };
        if let Ok(check) = parse(role, &said) {
            prop_assert!(check.threshold.is_finite());
        }
    }
}
