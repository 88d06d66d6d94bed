//! What the edges are said to have carried.

use serde_json::json;

use super::*;

#[test]
fn the_edges_figures_are_kept_by_phase() {
    let flow = |rate| {
        let flow = Flow {
            requests_per_second: rate,
            ..Flow::default()
        };
        vec![EdgeFlow {
            source: "a".into(),
            destination: "b".into(),
            flow,
        }]
    };
    let window = |side, seconds, until| Window {
        side,
        seconds,
        until: at(until),
    };
    let mut it = experiment(vec![], json!({"duration": "60s"}));
    it.workloads.insert("b".into());
    it.past(flow(9.0), vec![]);
    it.before(at(0), &[], Some(2));
    assert_eq!(it.windows(at(1)), []);
    step(&mut it, &seen(1, object("Injected", "Run"), &[]));
    assert_eq!(it.windows(at(2)), []);
    assert_eq!(it.windows(at(11)), [window(Side::During, 10.0, 11)]);
    let look = |second, thing, edges: &[(Side, f64)]| Seen {
        edges: edges.iter().map(|(side, rate)| (*side, flow(*rate))).collect(),
        ..seen(second, thing, &[])
    };
    step(
        &mut it,
        &look(11, object("Injected", "Run"), &[(Side::During, 4.0)]),
    );
    // Seen late: nobody had told of the fault's end yet, which came by itself.
    assert_eq!(it.windows(at(63)), [window(Side::During, 58.0, 59)]);
    step(&mut it, &look(63, None, &[(Side::During, 5.0)]));
    assert_eq!(
        it.windows(at(67)),
        [window(Side::During, 58.0, 59), window(Side::After, 4.0, 67)]
    );
    step(
        &mut it,
        &look(64, None, &[(Side::During, 6.0), (Side::After, 7.0)]),
    );
    assert_eq!(
        it.phase,
        Phase::Recovering,
        "what comes after is measured before it is over"
    );
    step(&mut it, &look(70, None, &[(Side::After, 8.0)]));
    assert_eq!(it.phase, Phase::Ended);
    let edge = &it.detail().edges[0];
    let rates = [edge.before, edge.during, edge.after].map(|flow| flow.unwrap().requests_per_second);
    assert_eq!(rates, [9.0, 6.0, 8.0]);
}

#[test]
fn requests_after_an_end_that_was_seen_late_are_not_counted_as_harmed() {
    let mut it = experiment(vec![], json!({}));
    it.workloads.insert("b".into());
    it.before(at(0), &[], Some(2));
    step(&mut it, &seen(1, object("Injected", "Run"), &[]));
    let mut over = object("Not Injected", "Stop").unwrap();
    over["status"]["experiment"]["containerRecords"][0]["events"] =
        json!([{"type": "Succeeded", "operation": "Recover", "timestamp": at(8).to_string()}]);
    step(&mut it, &seen(12, Some(over), &[]));
    let during: Vec<_> = it
        .windows(at(13))
        .into_iter()
        .map(|one| (one.side, one.until))
        .collect();
    assert_eq!(during, [(Side::During, at(7))]);
}
