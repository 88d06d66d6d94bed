//! A run that several generators share, over their own servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hikeshi_load::measured::Measured;
use hikeshi_load::profile::Profile;
use hikeshi_load::run::{Asked, Plan, Run};
use hikeshi_load::serve;
use hikeshi_load::share::{Part, Share, Stage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::{SETTINGS, start};

const PROFILE: &str = "\
apiVersion: hikeshi.dev/v1
kind: LoadProfile
name: small
title: {ja: 小, en: Small}
arrivals: poisson
rate: 200
journeys: {post-message: 1, read-timeline: 4}
people: {count: 3}
stages: [{for: 1s, at: 1}]
";

/// One part: its server's address.
async fn part(index: u64, of: u64, target: &str, stopped: watch::Receiver<bool>) -> std::net::SocketAddr {
    let profile = Profile::parse("p", PROFILE).expect("right");
    let asked = Asked {
        rate: None,
        length: None,
        seed: 7,
        share: (index, of),
    };
    let run = Run::new(
        Plan::of(&profile, &asked),
        target,
        SETTINGS,
        Some(profile.length()),
    )
    .expect("a run");
    let share = Arc::new(Share::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let routes = serve::routes(run.clone(), share.clone(), Instant::now());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    tokio::spawn(async move {
        let mut stopped = stopped;
        run.log_in(&stopped).await;
        share.enter(Stage::Ready);
        let begin = share.beginning(&mut stopped).await.expect("told");
        share.enter(Stage::Running);
        run.send(begin, stopped).await.expect("sent");
        share.enter(Stage::Ended);
    });
    address
}

async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{request}: {answer}");
    body.to_owned()
}

async fn parts(addresses: &[std::net::SocketAddr], stage: Stage) -> Vec<Measured> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut all = vec![];
    for address in addresses {
        loop {
            let part: Part = serde_json::from_str(&ask(*address, "GET /part").await).expect("a part");
            if part.stage == stage {
                all.push(part.measured);
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{stage:?}: {:?}",
                part.stage
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    all
}

#[tokio::test]
async fn parts_begin_together_and_add_up_to_the_whole_schedule() {
    let (_fake, target) = start().await;
    let (_stop, stopped) = watch::channel(false);
    let mut addresses = vec![];
    for index in 0..3 {
        addresses.push(part(index, 3, &target, stopped.clone()).await);
    }
    parts(&addresses, Stage::Ready).await;
    let at = jiff::Timestamp::now().as_millisecond() + 50;
    for address in &addresses {
        ask(*address, &format!("POST /begin?at={at}")).await;
    }
    let mut whole = Measured::default();
    for measured in parts(&addresses, Stage::Ended).await {
        assert!(measured.total().offered > 0);
        whole.add(&measured);
    }
    let profile = Profile::parse("p", PROFILE).expect("right");
    let expected = profile.schedule(None, None, 7).count() as u64;
    let total = whole.total();
    assert_eq!((total.offered, total.ok), (expected, expected));
    assert_eq!(whole.latency().len(), expected);
}
