use std::time::{Duration, Instant};

use hikeshi_proxy::AppProtocol;
use hikeshi_proxy::faults::{
    Delay, Fault, FaultKind, HttpAction, HttpFault, HttpMatch, HttpTarget, Patch, Percent, PodSet, Replace,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{PATIENCE, SERVICE, World};

/// Answers every request with its own head as JSON text, keeping connections open; `/close` closes after the answer.
fn mirror(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some((line, headers)) = head(&mut stream).await {
                    let close = line.contains("/close");
                    let body = serde_json::json!({"line": line, "headers": headers.join("|")}).to_string();
                    let closing = if close { "connection: close\r\n" } else { "" };
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: a=1\r\n\
                         set-cookie: b=2\r\n{closing}content-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                    if close {
                        return;
                    }
                }
            });
        }
    });
}

async fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_string()),
        }
    }
    let first = lines.remove(0);
    Some((first, lines))
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    body: String,
}

/// One request on an open connection; `None` when it is closed without an answer.
pub async fn ask(stream: &mut BufReader<TcpStream>, method: &str, path: &str, extra: &str) -> Option<Answer> {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: db\r\n{extra}\r\n");
    stream.get_mut().write_all(request.as_bytes()).await.unwrap();
    let (line, headers) = tokio::time::timeout(PATIENCE, head(stream))
        .await
        .expect("no answer")?;
    let length = headers
        .iter()
        .find_map(|header| {
            header
                .to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let status = line.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

pub async fn mirroring() -> (World, BufReader<TcpStream>) {
    let mut world = World::new(AppProtocol::Http).await;
    mirror(world.take_server());
    world.apply().await;
    let stream = BufReader::new(world.app.dial(SERVICE).await);
    (world, stream)
}

pub fn fault(
    world: &World,
    target: HttpTarget,
    matches: HttpMatch,
    percent: Percent,
    action: HttpAction,
) -> Fault {
    let pods = PodSet::Pods([world.db.link.uid.clone()].into());
    let port = Some(world.db.address().port());
    let http = HttpFault {
        pods,
        sources: PodSet::Any,
        port,
        target,
        matches,
        percent,
        action,
    };
    Fault {
        id: "fault".into(),
        until: None,
        kind: FaultKind::Http(Box::new(http)),
    }
}

#[tokio::test]
async fn requests_go_through_and_are_counted() {
    let (world, mut stream) = mirroring().await;
    for path in ["/a", "/close", "/b"] {
        let answer = ask(&mut stream, "GET", path, "X-Own: 1\r\n").await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains(&format!("GET {path} HTTP/1.1")) && answer.body.contains("X-Own: 1"));
        assert_eq!(
            answer
                .headers
                .iter()
                .filter(|header| header.starts_with("set-cookie"))
                .count(),
            2
        );
    }
    let text = world.client.metrics().await.unwrap();
    for line in [
        r#"hikeshi_edge_requests_total{source="app",destination="db",route="",code="200"} 3"#,
        r#"hikeshi_edge_request_duration_seconds_count{source="app",destination="db",route=""} 3"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn no_endpoint_is_503_and_a_dead_one_502() {
    let (mut world, mut stream) = mirroring().await;
    world.snapshot.services[0].backends[0].port = 1;
    world.apply().await;
    assert_eq!(ask(&mut stream, "GET", "/", "").await.unwrap().status, 502);
    world.snapshot.services[0].backends.clear();
    world.apply().await;
    let answer = ask(&mut stream, "GET", "/", "").await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "no ready endpoints for service chirpy/db\n")
    );
}

#[tokio::test]
async fn a_delay_and_an_exact_share_hit_an_open_connection() {
    let (mut world, mut stream) = mirroring().await;
    let slow = HttpAction {
        delay: Some(Delay::fixed(Duration::from_millis(120))),
        ..Default::default()
    };
    let on_slow = HttpMatch {
        path: Some("/slow*".into()),
        ..Default::default()
    };
    world
        .with_faults(vec![fault(
            &world,
            HttpTarget::Request,
            on_slow,
            Percent::ALL,
            slow,
        )])
        .await;
    let begun = Instant::now();
    ask(&mut stream, "GET", "/slow/1", "").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(120));

    let broken = HttpAction {
        replace: Some(Replace {
            code: Some(500),
            body: Some(b"broken".to_vec()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let share = Percent {
        ppm: 100_000,
        seed: 4,
    };
    world
        .with_faults(vec![fault(
            &world,
            HttpTarget::Response,
            HttpMatch::default(),
            share,
            broken,
        )])
        .await;
    let mut hit = 0;
    for _ in 0..100 {
        let answer = ask(&mut stream, "GET", "/x", "").await.unwrap();
        if answer.status == 500 {
            assert_eq!(answer.body, "broken");
            hit += 1;
        }
    }
    assert_eq!(hit, 10);
    world.with_faults(vec![]).await;
    assert_eq!(ask(&mut stream, "GET", "/x", "").await.unwrap().status, 200);
}

#[tokio::test]
async fn patches_change_both_halves() {
    let (mut world, mut stream) = mirroring().await;
    let header = |name: &str| vec![(name.to_string(), "yes".to_string())];
    let on_request = HttpAction {
        patch: Some(Patch {
            headers: header("x-asked"),
            queries: header("q"),
            body: None,
        }),
        ..Default::default()
    };
    let on_response = HttpAction {
        patch: Some(Patch {
            headers: header("x-answered"),
            queries: vec![],
            body: Some(serde_json::json!({"added": 1})),
        }),
        ..Default::default()
    };
    let mut faults = vec![
        fault(
            &world,
            HttpTarget::Request,
            HttpMatch::default(),
            Percent::ALL,
            on_request,
        ),
        fault(
            &world,
            HttpTarget::Response,
            HttpMatch::default(),
            Percent::ALL,
            on_response,
        ),
    ];
    faults[1].id = "other".into();
    world.with_faults(faults).await;
    let answer = ask(&mut stream, "GET", "/p", "").await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["line"], "GET /p?q=yes HTTP/1.1");
    assert!(body["headers"].as_str().unwrap().contains("x-asked: yes"));
    assert_eq!(body["added"], 1);
    assert!(answer.headers.contains(&"x-answered: yes".to_string()));
}

#[tokio::test]
async fn an_abort_closes_without_an_answer_and_only_what_matches() {
    let (mut world, mut stream) = mirroring().await;
    let abort = HttpAction {
        abort: true,
        ..Default::default()
    };
    let of_ann = HttpMatch {
        request_headers: [("x-user".into(), "ann".into())].into(),
        ..Default::default()
    };
    world
        .with_faults(vec![fault(
            &world,
            HttpTarget::Request,
            of_ann,
            Percent::ALL,
            abort,
        )])
        .await;
    assert_eq!(
        ask(&mut stream, "GET", "/", "x-user: bob\r\n")
            .await
            .unwrap()
            .status,
        200
    );
    assert!(ask(&mut stream, "GET", "/", "x-user: ann\r\n").await.is_none());
    let text = world.client.metrics().await.unwrap();
    assert!(text.contains(r#"code="0"} 1"#), "{text}");
}

#[tokio::test]
async fn an_upgraded_connection_is_bytes_both_ways() {
    let mut world = World::new(AppProtocol::Http).await;
    let server = world.take_server();
    world.apply().await;
    tokio::spawn(async move {
        let mut stream = BufReader::new(server.accept().await.unwrap().0);
        head(&mut stream).await.unwrap();
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        stream.get_mut().write_all(switch).await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.get_mut().write_all(&bytes).await.unwrap();
    });
    let mut stream = BufReader::new(world.app.dial(SERVICE).await);
    let answer = ask(
        &mut stream,
        "GET",
        "/ws",
        "connection: upgrade\r\nupgrade: echo\r\n",
    )
    .await
    .unwrap();
    assert_eq!(answer.status, 101);
    stream.get_mut().write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut echo))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&echo, b"ping");
}

#[tokio::test]
async fn an_event_stream_is_not_held_back() {
    let mut world = World::new(AppProtocol::Http).await;
    let server = world.take_server();
    world.apply().await;
    let (next, mut go) = tokio::sync::mpsc::channel::<()>(1);
    tokio::spawn(async move {
        let mut stream = BufReader::new(server.accept().await.unwrap().0);
        head(&mut stream).await.unwrap();
        let start = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        stream.get_mut().write_all(start.as_bytes()).await.unwrap();
        while go.recv().await.is_some() {
            stream.get_mut().write_all(b"data: 1\n\n").await.unwrap();
        }
    });
    let mut stream = BufReader::new(world.app.dial(SERVICE).await);
    ask(&mut stream, "GET", "/events", "").await.unwrap();
    for _ in 0..3 {
        next.send(()).await.unwrap();
        loop {
            let mut line = String::new();
            tokio::time::timeout(PATIENCE, stream.read_line(&mut line))
                .await
                .expect("held back")
                .unwrap();
            if line.starts_with("data: 1") {
                break;
            }
        }
    }
}
