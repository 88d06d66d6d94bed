use std::io::ErrorKind;
use std::net::SocketAddr;

use hikeshi_proxy::{AppProtocol, HostListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{FakePod, PATIENCE, SERVICE, World, echo, round_trip};

#[tokio::test]
async fn bytes_go_through_a_service_and_a_pods_own_address() {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    world.apply().await;
    for address in [SERVICE, world.db.address()] {
        let mut stream = world.app.dial(address).await;
        round_trip(&mut stream, b"hello").await;
        round_trip(&mut stream, &vec![7; 200_000][..100_000]).await;
    }
    let text = world.client.metrics().await.unwrap();
    assert!(
        text.contains(r#"hikeshi_edge_bytes_total{source="app",destination="db",direction="sent"} 200010"#),
        "{text}"
    );
}

#[tokio::test]
async fn the_server_sees_the_callers_address_and_a_half_closed_stream() {
    let mut world = World::new(AppProtocol::Tcp).await;
    let server = world.take_server();
    world.apply().await;
    let mut stream = world.app.dial(SERVICE).await;
    stream.write_all(b"question").await.unwrap();
    stream.shutdown().await.unwrap();
    let (mut accepted, peer) = server.accept().await.unwrap();
    assert_eq!(peer.ip(), world.app.link.ip);
    let mut question = String::new();
    accepted.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    accepted.write_all(b"answer").await.unwrap();
    drop(accepted);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
}

#[tokio::test]
async fn a_refused_connection_is_reset() {
    let mut world = World::new(AppProtocol::Tcp).await;
    drop(world.take_server());
    world.apply().await;
    let mut stream = world.app.dial(SERVICE).await;
    assert_eq!(ends(&mut stream).await, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_servers_reset_arrives_as_a_reset() {
    let mut world = World::new(AppProtocol::Tcp).await;
    let server = world.take_server();
    world.apply().await;
    let mut stream = world.app.dial(SERVICE).await;
    let (accepted, _) = server.accept().await.unwrap();
    socket2::SockRef::from(&accepted)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(accepted);
    assert_eq!(ends(&mut stream).await, Some(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_removed_pods_connections_are_reset_and_its_successor_serves() {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    world.apply().await;
    let mut stream = world.app.dial(SERVICE).await;
    round_trip(&mut stream, b"hello").await;
    // The same name and address with another uid: another pod.
    let mut successor = FakePod::start(world.dir.path(), "db");
    successor.link.ip = world.db.link.ip;
    successor.link.ports = world.db.link.ports.clone();
    world.snapshot.pods[1] = successor.link.clone();
    world.apply().await;
    assert_eq!(ends(&mut stream).await, Some(ErrorKind::ConnectionReset));
    round_trip(&mut world.app.dial(SERVICE).await, b"hello again").await;
}

#[tokio::test]
async fn the_host_has_an_entrance() {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    world.snapshot.host_listeners = vec![HostListener {
        name: "ingress".into(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        namespace: "chirpy".into(),
        service: "db".into(),
        port: 80,
        rules: vec![],
    }];
    let applied = world.apply().await;
    let bound = applied.bound["ingress"];
    round_trip(&mut TcpStream::connect(bound).await.unwrap(), b"hello").await;
    assert_eq!(
        world.apply().await.bound["ingress"],
        bound,
        "an unchanged listener stays"
    );
    assert!(
        world
            .client
            .metrics()
            .await
            .unwrap()
            .contains(r#"source="ingress",destination="db""#)
    );
}

#[tokio::test]
async fn a_thousand_connections_one_after_another() {
    let mut world = World::new(AppProtocol::Tcp).await;
    echo(world.take_server());
    world.apply().await;
    for n in 0u32..1000 {
        round_trip(&mut world.app.dial(SERVICE).await, &n.to_be_bytes()).await;
    }
}

/// How a stream ends: an error, or (`None`) in peace.
async fn ends(stream: &mut TcpStream) -> Option<ErrorKind> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("it did not end");
    read.err().map(|error| error.kind())
}
