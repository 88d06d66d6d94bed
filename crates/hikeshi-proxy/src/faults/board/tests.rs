use std::time::SystemTime;

use super::super::{Flow, HttpAction, HttpMatch, HttpTarget, Percent, PodSet};
use super::*;

fn delay(id: &str, millis: u64, from: &str) -> Fault {
    let flow = Flow {
        from: PodSet::Pods([from.to_string()].into()),
        to: PodSet::Any,
    };
    let effect = NetworkEffect::Delay(Delay::fixed(Duration::from_millis(millis)));
    Fault {
        id: id.into(),
        until: None,
        kind: FaultKind::Network(NetworkFault {
            flows: vec![flow],
            effect,
        }),
    }
}

#[test]
fn delays_add_and_only_on_their_own_direction() {
    let board = FaultBoard::new();
    board.post(vec![delay("a", 100, "redis"), delay("b", 50, "redis")]);
    let (redis, app): (Arc<str>, Arc<str>) = ("redis".into(), "app".into());
    let now = Instant::now();
    assert_eq!(
        board.line(&redis, &app).due(&mut Vec::new(), now, 10),
        now + Duration::from_millis(150)
    );
    assert!(board.line(&app, &redis).is_clear());
}

#[test]
fn delays_count_from_each_chunks_own_arrival() {
    let board = FaultBoard::new();
    board.post(vec![delay("a", 100, "redis")]);
    let line = board.line(&"redis".into(), &"app".into());
    let now = Instant::now();
    let last = (0..10).map(|_| line.due(&mut Vec::new(), now, 10)).max();
    assert_eq!(last, Some(now + Duration::from_millis(100)));
}

#[test]
fn posting_the_same_again_changes_nothing() {
    let board = FaultBoard::new();
    board.post(vec![delay("a", 100, "redis")]);
    let before = board.current();
    board.post(vec![delay("a", 100, "redis")]);
    assert_eq!(board.version(), 1);
    assert!(Arc::ptr_eq(&before[0], &board.current()[0]));
}
#[test]
fn a_pod_that_joins_the_selection_does_not_restart_the_fault() {
    let board = FaultBoard::new();
    let of = |pods: &[&str], percent: Percent| Fault {
        id: "a".into(),
        until: None,
        kind: FaultKind::Http(Box::new(HttpFault {
            pods: PodSet::Pods(pods.iter().map(ToString::to_string).collect()),
            sources: PodSet::Any,
            port: None,
            target: HttpTarget::Request,
            matches: HttpMatch::default(),
            percent,
            action: HttpAction::default(),
        })),
    };
    board.post(vec![of(&["web-0"], Percent::ALL)]);
    let before = board.current()[0].clone();
    assert_eq!((before.draw(), before.draw()), (0, 1));
    board.post(vec![of(&["web-0", "web-1"], Percent::ALL)]);
    let after = board.http("app", "web-1", 80).remove(0);
    assert!(after.is(&before));
    assert_eq!(after.draw(), 2, "the count begins anew");
    assert_eq!(board.version(), 2, "connections must hear of it");
    let half = Percent {
        ppm: 500_000,
        seed: 0,
    };
    board.post(vec![of(&["web-0", "web-1"], half)]);
    assert!(!board.current()[0].is(&before), "it does something else now");
}

#[test]
fn what_waits_pays_every_fault_once() {
    let thin = Fault {
        id: "thin".into(),
        until: None,
        kind: FaultKind::Network(NetworkFault {
            flows: vec![Flow {
                from: PodSet::Any,
                to: PodSet::Any,
            }],
            effect: NetworkEffect::Bandwidth(Bandwidth {
                rate: 1_000,
                burst: 0,
                queue: None,
            }),
        }),
    };
    let (board, now, mut tolls) = (FaultBoard::new(), Instant::now(), Vec::new());
    let (redis, app): (Arc<str>, Arc<str>) = ("redis".into(), "app".into());
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        board.post(vec![thin.clone()]);
        let due = board.line(&redis, &app).due(&mut tolls, now, 1_000);
        assert_eq!(due, now + second);
        board.post(vec![thin.clone(), delay("a", 500, "redis")]);
        let due = board.line(&redis, &app).due(&mut tolls, now, 1_000);
        assert_eq!(due, now + second + second / 2);
    }
    let next = board.line(&redis, &app).due(&mut Vec::new(), now, 1_000);
    assert_eq!(next, now + 2 * second + second / 2, "booked more than once");
}

#[tokio::test]
async fn what_is_over_is_taken_down_and_stays_down_until_its_end_moves() {
    let board = FaultBoard::new();
    let until = SystemTime::now() + Duration::from_millis(50);
    let ending = |until| Fault {
        until: Some(until),
        ..delay("a", 100, "redis")
    };
    board.post(vec![delay("b", 1, "redis")]);
    let lasting = board.current()[0].clone();
    board.post(vec![ending(until), delay("b", 1, "redis")]);
    let down = async {
        loop {
            let change = board.change();
            if board.current().len() == 1 && SystemTime::now() >= until {
                return;
            }
            change.await;
        }
    };
    tokio::select! {
        never = board.watch_ends() => match never {},
        () = down => {}
    }
    assert!(Arc::ptr_eq(&board.current()[0], &lasting));
    board.post(vec![ending(until), delay("b", 1, "redis")]);
    assert_eq!(board.current().len(), 1, "posted again although it is over");
    board.post(vec![
        ending(until + Duration::from_secs(600)),
        delay("b", 1, "redis"),
    ]);
    assert_eq!(board.current().len(), 2);
}
