//! The traps that people fell into with other tools: sessions that break when an experiment begins, pods that stay mute
//! when it ends, and experiments that spoil each other.

use std::time::{Duration, Instant};

use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::faults::{
    Delay, Fault, HttpAction, HttpMatch, HttpTarget, NetworkEffect, Percent, PodSet, Replace,
};
use tokio::net::TcpStream;

use crate::harness::{SERVICE, World, echo, network, round_trip};
use crate::http::{ask, fault, mirroring};

const DELAY: Duration = Duration::from_millis(150);
/// Far from any delay of these tests, and from what a busy machine needs for one request.
const QUICK: Duration = Duration::from_millis(100);

fn named(id: &str, mut fault: Fault) -> Fault {
    fault.id = id.into();
    fault
}

fn on_answers(world: &World, id: &str, percent: Percent, action: HttpAction) -> Fault {
    named(
        id,
        fault(world, HttpTarget::Response, HttpMatch::default(), percent, action),
    )
}

fn delayed() -> HttpAction {
    HttpAction {
        delay: Some(Delay::fixed(DELAY)),
        ..Default::default()
    }
}

fn header(name: &str) -> HttpAction {
    HttpAction {
        replace: Some(Replace {
            headers: [(name.to_owned(), "yes".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The quickest of a few: one that a busy machine held up says nothing.
async fn quickest(mut once: impl AsyncFnMut() -> Duration) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..20 {
        best = best.min(once().await);
        if best < QUICK {
            break;
        }
    }
    best
}

/// As when control is killed with -9: its socket closes, and nobody has lifted anything.
async fn control_is_killed(world: &mut World) {
    let next = world.dataplane.client().await;
    drop(std::mem::replace(&mut world.client, next));
}

#[tokio::test]
async fn an_open_session_is_hit_and_survives_start_end_and_the_death_of_control() {
    let mut redis = World::new(AppProtocol::Tcp).await;
    echo(redis.take_server());
    redis.apply().await;
    let mut session: TcpStream = redis.app.dial(SERVICE).await;
    round_trip(&mut session, b"before").await;
    for killed in [false, true] {
        let slow = NetworkEffect::Delay(Delay::fixed(DELAY));
        redis
            .with_faults(vec![network("slow", &redis.db, PodSet::Any, slow)])
            .await;
        assert!(round_trip(&mut session, b"during").await >= DELAY);
        if killed {
            control_is_killed(&mut redis).await;
        } else {
            redis.with_faults(vec![]).await;
        }
        let best = quickest(async || round_trip(&mut session, b"after").await).await;
        assert!(best < QUICK, "{best:?} after the end (control killed: {killed})");
        let mut fresh = redis.app.dial(SERVICE).await;
        round_trip(&mut fresh, b"a new session").await;
    }
}

#[tokio::test]
async fn a_keep_alive_connection_is_hit_and_survives_too() {
    let (mut world, mut open) = mirroring().await;
    assert_eq!(ask(&mut open, "GET", "/", "").await.unwrap().status, 200);
    for killed in [false, true] {
        let mut action = delayed();
        action.replace = Some(Replace {
            code: Some(500),
            ..Default::default()
        });
        let all = vec![on_answers(&world, "slow", Percent::ALL, action)];
        world.with_faults(all).await;
        let begun = Instant::now();
        assert_eq!(ask(&mut open, "GET", "/", "").await.unwrap().status, 500);
        assert!(begun.elapsed() >= DELAY);
        if killed {
            control_is_killed(&mut world).await;
        } else {
            world.with_faults(vec![]).await;
        }
        let best = quickest(async || {
            let begun = Instant::now();
            ask(&mut open, "GET", "/", "").await.expect("the same connection");
            begun.elapsed()
        })
        .await;
        assert!(best < QUICK, "{best:?} after the end (control killed: {killed})");
        assert_eq!(ask(&mut open, "GET", "/", "").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn experiments_on_one_pod_compose() {
    let (mut world, mut open) = mirroring().await;
    let both = vec![
        on_answers(&world, "one", Percent::ALL, delayed()),
        on_answers(&world, "two", Percent::ALL, delayed()),
    ];
    world.with_faults(both).await;
    let begun = Instant::now();
    assert_eq!(ask(&mut open, "GET", "/", "").await.unwrap().status, 200);
    assert!(begun.elapsed() >= 2 * DELAY, "delays add: {:?}", begun.elapsed());

    let half = |seed| Percent { ppm: 500_000, seed };
    let shares = vec![
        on_answers(&world, "one", half(1), header("x-one")),
        on_answers(&world, "two", half(2), header("x-two")),
    ];
    world.with_faults(shares).await;
    let mut seen = [0u32; 4];
    for _ in 0..400 {
        let answer = ask(&mut open, "GET", "/", "").await.unwrap();
        let has = |name: &str| usize::from(answer.headers.iter().any(|header| header.starts_with(name)));
        seen[has("x-one") + 2 * has("x-two")] += 1;
    }
    let (one, two) = (seen[1] + seen[3], seen[2] + seen[3]);
    assert_eq!((one, two), (200, 200), "each share is exact");
    assert!(
        seen.iter().all(|count| (50..150).contains(count)),
        "and they are independent: {seen:?}"
    );

    let abort = HttpAction {
        abort: true,
        ..Default::default()
    };
    let wins = vec![
        on_answers(&world, "one", Percent::ALL, delayed()),
        on_answers(&world, "two", Percent::ALL, abort),
    ];
    world.with_faults(wins).await;
    assert!(ask(&mut open, "GET", "/", "").await.is_none(), "an abort wins");
    world.with_faults(vec![]).await;
    let mut again = tokio::io::BufReader::new(world.app.dial(SERVICE).await);
    assert_eq!(ask(&mut again, "GET", "/", "").await.unwrap().status, 200);
}
