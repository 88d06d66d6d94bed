use std::time::{Duration, Instant, SystemTime};

use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::faults::{Bandwidth, Delay, Loss, NetworkEffect, Percent, PodSet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{PATIENCE, SERVICE, World, echo, network, round_trip};

const DELAY: Duration = Duration::from_millis(150);

async fn echoing() -> World {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    world.apply().await;
    world
}

fn delay(length: Duration) -> NetworkEffect {
    NetworkEffect::Delay(Delay::fixed(length))
}

#[tokio::test]
async fn a_delay_hits_an_open_connection_and_leaves_it() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    world
        .with_faults(vec![network("slow", &world.db, PodSet::Any, delay(DELAY))])
        .await;
    assert!(round_trip(&mut stream, b"during").await >= DELAY);
    // Lifting lets go what waits: an hour's delay does not take an hour.
    world
        .with_faults(vec![network(
            "slow",
            &world.db,
            PodSet::Any,
            delay(Duration::from_secs(3600)),
        )])
        .await;
    stream.write_all(b"waits").await.unwrap();
    world.with_faults(vec![]).await;
    let mut answer = [0; 5];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn delays_of_several_faults_and_both_directions_add() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    world
        .with_faults(vec![
            network("a", &world.db, PodSet::Any, delay(DELAY)),
            network("b", &world.db, PodSet::Any, delay(DELAY)),
            network(
                "c",
                &world.app,
                PodSet::Pods([world.db.link.uid.clone()].into()),
                delay(DELAY),
            ),
            network(
                "not us",
                &world.app,
                PodSet::Pods(["another".into()].into()),
                delay(PATIENCE),
            ),
        ])
        .await;
    assert!(round_trip(&mut stream, b"during").await >= 3 * DELAY);
}

#[tokio::test]
async fn a_partition_is_silence_and_heals() {
    let mut world = echoing().await;
    let mut open = world.app.dial(SERVICE).await;
    round_trip(&mut open, b"before").await;
    world
        .with_faults(vec![network(
            "cut",
            &world.app,
            PodSet::Any,
            NetworkEffect::Partition,
        )])
        .await;
    let mut new = world.app.dial(SERVICE).await;
    for stream in [&mut open, &mut new] {
        stream.write_all(b"ping").await.unwrap();
        let mut byte = [0; 4];
        let silence = tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut byte)).await;
        assert!(silence.is_err(), "something came through");
    }
    world.with_faults(vec![]).await;
    for stream in [&mut open, &mut new] {
        let mut answer = [0; 4];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"ping");
    }
}

#[tokio::test]
async fn bandwidth_paces_a_sender() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    let limit = NetworkEffect::Bandwidth(Bandwidth {
        rate: 100_000,
        burst: 10_000,
        queue: None,
    });
    world
        .with_faults(vec![network("thin", &world.app, PodSet::Any, limit)])
        .await;
    let begun = Instant::now();
    round_trip(&mut stream, &[1; 60_000]).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(480),
        "60 kB took {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn what_waits_for_its_turn_is_booked_once_whatever_else_changes() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    let limit = NetworkEffect::Bandwidth(Bandwidth {
        rate: 50_000,
        burst: 1_000,
        queue: Some(1_000_000),
    });
    let thin = network("thin", &world.app, PodSet::Any, limit);
    let slow = network("slow", &world.app, PodSet::Any, delay(Duration::from_millis(1)));
    world.with_faults(vec![thin.clone()]).await;
    let begun = Instant::now();
    let sending = tokio::spawn(async move { round_trip(&mut stream, &[1; 50_000]).await });
    for _ in 0..10 {
        world.with_faults(vec![thin.clone(), slow.clone()]).await;
        world.with_faults(vec![thin.clone()]).await;
    }
    // Booked again at every change, its 49 kB would take ten times their second.
    let lease = async {
        loop {
            world.client.heartbeat().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let took = tokio::select! {
        took = sending => took.unwrap(),
        () = lease => unreachable!("control beats for ever"),
    };
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "not limited: {took:?}"
    );
    assert!(took < Duration::from_secs(4), "50 kB took {took:?}");
}

#[tokio::test]
async fn a_dropped_control_connection_lifts_every_fault() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    world
        .with_faults(vec![network(
            "cut",
            &world.app,
            PodSet::Any,
            NetworkEffect::Partition,
        )])
        .await;
    stream.write_all(b"held").await.unwrap();
    let other = world.dataplane.client().await;
    other.heartbeat().await.unwrap();
    drop(world.client);
    let mut answer = [0; 4];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    // Forwarding goes on without anybody in control.
    round_trip(&mut world.app.dial(SERVICE).await, b"new").await;
}

#[tokio::test]
async fn a_silent_control_loses_its_lease() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    world
        .with_faults(vec![network(
            "cut",
            &world.app,
            PodSet::Any,
            NetworkEffect::Partition,
        )])
        .await;
    // The connection stays open, as that of a control that hangs does; this takes the lease's five seconds.
    round_trip(&mut stream, b"held until then").await;
    drop(world.client);
}

#[tokio::test]
async fn a_fault_ends_when_its_time_is_up_although_control_lives_on() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    let until = SystemTime::now() + Duration::from_millis(500);
    let mut cut = network("cut", &world.app, PodSet::Any, NetworkEffect::Partition);
    cut.until = Some(until);
    world.with_faults(vec![cut]).await;
    let lease = async {
        loop {
            world.client.heartbeat().await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = round_trip(&mut stream, b"held until then") => {}
        () = lease => {}
    }
    assert!(SystemTime::now() >= until, "it ended early");
}

#[tokio::test]
async fn a_reset_ends_what_is_open_and_refuses_what_is_new() {
    let mut world = echoing().await;
    let mut open = world.app.dial(SERVICE).await;
    round_trip(&mut open, b"before").await;
    world
        .with_faults(vec![network(
            "rst",
            &world.app,
            PodSet::Any,
            NetworkEffect::Reset,
        )])
        .await;
    let mut new = world.app.dial(SERVICE).await;
    for stream in [&mut open, &mut new] {
        // A reset that is there before the write is the write's error, and only once.
        let error = match stream.write_all(b"ping").await {
            Ok(()) => tokio::time::timeout(PATIENCE, stream.read_u8())
                .await
                .unwrap()
                .unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    world.with_faults(vec![]).await;
    round_trip(&mut world.app.dial(SERVICE).await, b"after").await;
}

#[tokio::test]
async fn lost_packets_stall_and_arrive() {
    let mut world = echoing().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"before").await;
    let half = NetworkEffect::Loss(Loss {
        percent: Percent {
            ppm: 500_000,
            seed: 1,
        },
        correlation: 0,
    });
    world
        .with_faults(vec![network("lossy", &world.app, PodSet::Any, half)])
        .await;
    let mut slowest = Duration::ZERO;
    for _ in 0..6 {
        slowest = slowest.max(round_trip(&mut stream, b"ping").await);
    }
    assert!(slowest >= Duration::from_millis(200), "no stall in {slowest:?}");
}
