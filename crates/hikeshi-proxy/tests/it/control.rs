use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::protocol::Identity;

use crate::harness::{Dataplane, FakePod, SERVICE, World, echo, round_trip};

#[tokio::test]
async fn killed_and_started_again_it_serves_with_a_new_snapshot() {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    world.apply().await;
    round_trip(&mut world.app.dial(SERVICE).await, b"before").await;
    world.dataplane.kill();
    assert!(world.client.heartbeat().await.is_err());
    world.dataplane = Dataplane::start(&world.dir.path().join("dataplane"));
    world.client = world.dataplane.client().await;
    world.apply().await;
    round_trip(&mut world.app.dial(SERVICE).await, b"after").await;
}

#[tokio::test]
async fn it_says_who_it_is_and_ends_with_its_lifeline() {
    let world = World::new(AppProtocol::Tcp).await;
    let bytes = std::fs::read(world.dir.path().join("dataplane/dataplane.json")).unwrap();
    let identity: Identity = serde_json::from_slice(&bytes).unwrap();
    assert!(identity.start_time > 0);
    assert!(std::path::Path::new(&format!("/proc/{}", identity.pid)).exists());
    assert!(world.dataplane.ends_when_its_lifeline_closes().await);
}

#[tokio::test]
async fn an_init_that_is_not_there_is_a_problem_and_is_tried_again() {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    let late = FakePod::start(world.dir.path(), "late");
    let hidden = late.link.init_sock.with_extension("hidden");
    std::fs::rename(&late.link.init_sock, &hidden).unwrap();
    world.snapshot.pods.push(late.link.clone());
    let applied = world.client.apply(world.snapshot.clone()).await.unwrap();
    assert_eq!(applied.problems.len(), 1);
    assert_eq!(applied.problems[0].subject, "pod/chirpy/late");
    round_trip(&mut world.app.dial(SERVICE).await, b"the others are served").await;
    std::fs::rename(&hidden, &late.link.init_sock).unwrap();
    world.apply().await;
    round_trip(&mut late.dial(SERVICE).await, b"and now this one").await;
}
