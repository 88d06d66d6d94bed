//! The engine against servers with habits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hikeshi_load::engine::Settings;
use hikeshi_load::journey::Journey;
use hikeshi_load::recorder::Summary;
use hikeshi_load::run::{Plan, Run};
use hikeshi_load::schedule::{Arrivals, Mix, Schedule};
use hikeshi_load::shape::{Piece, Shape};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{SETTINGS, plan};

const LOGIN: &str = r#"{"token":"NUMBER"}"#;
const TIMELINE: &str = r#"[{"id":2,"author":"a","text":"x"},{"id":1,"author":"a","text":"y"}]"#;

/// What a server does with a request, given its head: the answer's bytes, and whether it closes the connection then.
type Habit = dyn Fn(&str) -> (String, bool) + Send + Sync;

/// Serves GETs and logins by a habit.
async fn serve(habit: Arc<Habit>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(attend(stream, habit.clone()));
        }
    });
    address
}

async fn attend(mut stream: TcpStream, habit: Arc<Habit>) {
    let mut bytes = vec![];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.find("\r\n\r\n").map(|end| {
            let length = text[..end]
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.parse::<usize>().ok())
                .unwrap_or(0);
            end + 4 + length
        });
        match whole.filter(|whole| *whole <= bytes.len()) {
            Some(whole) => {
                let (answer, close) = habit(&text);
                bytes.drain(..whole);
                if stream.write_all(answer.as_bytes()).await.is_err() || close {
                    return;
                }
            }
            None => {
                if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Only reads, `rate` a second for `seconds`.
fn reads(rate: f64, seconds: f64) -> Plan {
    let mix = Mix {
        weights: [0.0, 1.0, 0.0, 0.0],
        hot: 0.0,
    };
    let piece = Piece {
        seconds,
        from: rate,
        to: rate,
    };
    Plan {
        schedule: Schedule::new(Shape::new([piece]), vec![mix], Arrivals::Constant, 1),
        journeys: vec![Journey::ReadTimeline],
        ..plan(rate)
    }
}

async fn measure(plan: Plan, address: SocketAddr, settings: Settings) -> Summary {
    let run = Run::new(plan, &format!("http://{address}"), settings, None).expect("a run");
    let (_stop, stopped) = watch::channel(false);
    run.log_in(&stopped).await;
    run.send(Instant::now(), stopped).await.expect("sent");
    run.recorder.summary(Duration::ZERO)
}

#[tokio::test]
async fn a_connection_closed_between_two_reads_is_no_error_and_chunks_are_read() {
    let served = AtomicU64::new(0);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        10,
        &TIMELINE[..10],
        TIMELINE.len() - 10,
        &TIMELINE[10..]
    );
    let address = serve(Arc::new(move |head: &str| {
        if head.starts_with("POST /api/login") {
            return (answer("200 OK", LOGIN), false);
        }
        // It does not say that it will.
        (chunked.clone(), served.fetch_add(1, Ordering::SeqCst) % 3 == 2)
    }))
    .await;
    let summary = measure(reads(200.0, 0.5), address, SETTINGS).await;
    let reads = &summary.journeys["read-timeline"];
    assert_eq!(
        (reads.offered, reads.ok, reads.error),
        (100, 100, 0),
        "{:?}",
        reads.errors
    );
}

#[tokio::test]
async fn a_token_that_is_no_longer_known_is_renewed_and_the_read_repeated() {
    let logins = AtomicU64::new(0);
    let address = serve(Arc::new(move |head: &str| {
        if head.starts_with("POST /api/login") {
            let number = logins.fetch_add(1, Ordering::SeqCst);
            return (
                answer("200 OK", &LOGIN.replace("NUMBER", &number.to_string())),
                false,
            );
        }
        // The five people and the hot account log in first; their tokens are good for nothing.
        let token = head
            .split("Bearer ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
        if token.is_some_and(|token| token < 6) {
            (answer("401 Unauthorized", "{}"), false)
        } else {
            (answer("200 OK", TIMELINE), false)
        }
    }))
    .await;
    let summary = measure(reads(100.0, 0.5), address, SETTINGS).await;
    let reads = &summary.journeys["read-timeline"];
    assert_eq!((reads.offered, reads.ok), (50, 50), "{:?}", reads.errors);
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_is_not_stormed() {
    let logins = Arc::new(AtomicU64::new(0));
    let counted = logins.clone();
    let address = serve(Arc::new(move |head: &str| {
        // The five people and the hot account get in once; then their tokens are no more, and nobody gets another.
        if head.starts_with("POST /api/login") && counted.fetch_add(1, Ordering::SeqCst) < 6 {
            return (answer("200 OK", LOGIN), false);
        }
        if head.starts_with("POST") {
            return (answer("503 Service Unavailable", "{}"), false);
        }
        (answer("401 Unauthorized", "{}"), false)
    }))
    .await;
    let began = Instant::now();
    let summary = measure(reads(200.0, 0.6), address, SETTINGS).await;
    let tries = logins.load(Ordering::SeqCst) - 6;
    // Each of them at most four times a second.
    let most = 6.0 * (began.elapsed().as_secs_f64() * 4.0 + 1.0);
    assert!(tries > 0 && (tries as f64) <= most, "{tries} of {most}");
    let reads = &summary.journeys["read-timeline"];
    assert_eq!((reads.ok, reads.error), (0, 120), "{:?}", reads.errors);
}

#[tokio::test]
async fn who_finds_no_connection_free_waits_and_is_measured_from_when_it_was_due() {
    let address = serve(Arc::new(|head: &str| {
        if !head.starts_with("POST /api/login") {
            #[expect(clippy::disallowed_methods, reason = "each answer takes this long")]
            std::thread::sleep(Duration::from_millis(10));
        }
        let body = if head.starts_with("POST") { LOGIN } else { TIMELINE };
        (answer("200 OK", body), false)
    }))
    .await;
    let settings = Settings {
        connections: 1,
        ..SETTINGS
    };
    // 100 are due in half a second, and one at a time takes more than a second.
    let summary = measure(reads(200.0, 0.5), address, settings).await;
    let reads = &summary.journeys["read-timeline"];
    assert_eq!(
        (reads.offered, reads.sent, reads.ok),
        (100, 100, 100),
        "{:?}",
        reads.errors
    );
    assert!(reads.latency_ms.max > 450.0, "{:?}", reads.latency_ms);
    assert!(summary.late_ms.max > 400.0, "{:?}", summary.late_ms);
}

#[tokio::test]
async fn what_waits_too_long_for_a_connection_is_not_sent_and_closes_none() {
    let answered = Arc::new(AtomicU64::new(0));
    let counted = answered.clone();
    let address = serve(Arc::new(move |head: &str| {
        if head.starts_with("POST /api/login") {
            return (answer("200 OK", LOGIN), false);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        #[expect(clippy::disallowed_methods, reason = "each answer takes this long")]
        std::thread::sleep(Duration::from_millis(50));
        (answer("200 OK", TIMELINE), false)
    }))
    .await;
    let settings = Settings {
        connections: 1,
        timeout: Duration::from_secs(1),
        ..SETTINGS
    };
    // Four times as many as it can answer, for longer than anybody waits.
    let summary = measure(reads(80.0, 1.5), address, settings).await;
    let reads = &summary.journeys["read-timeline"];
    assert_eq!(reads.errors.get("timeout"), None, "{:?}", reads.errors);
    assert_eq!(
        reads.errors.get("no free connection"),
        Some(&reads.error),
        "{:?}",
        reads.errors
    );
    // All that was sent was answered.
    assert_eq!(
        (reads.ok, reads.sent),
        (answered.load(Ordering::SeqCst), reads.ok)
    );
    assert!(reads.ok >= 20 && reads.error >= 40, "{reads:?}");
}

#[tokio::test]
async fn each_way_to_fail_has_its_name() {
    let number = AtomicU64::new(0);
    let address = serve(Arc::new(move |head: &str| {
        if head.starts_with("POST /api/login") {
            return (answer("200 OK", LOGIN), false);
        }
        match number.fetch_add(1, Ordering::SeqCst) % 4 {
            0 => (answer("503 Service Unavailable", ""), false),
            1 => ("SMTP\r\n\r\n".into(), false),
            2 => (answer("200 OK", "<html>"), false),
            // Half an answer.
            _ => ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[".into(), true),
        }
    }))
    .await;
    let summary = measure(reads(100.0, 0.4), address, SETTINGS).await;
    let reads = &summary.journeys["read-timeline"];
    assert_eq!((reads.offered, reads.ok, reads.error), (40, 0, 40));
    for kind in ["status 503", "not HTTP", "unreadable answer", "connection lost"] {
        assert_eq!(reads.errors.get(kind), Some(&10), "{kind}: {:?}", reads.errors);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout_and_one_that_is_gone_no_connection() {
    let silent = serve(Arc::new(|head: &str| {
        if head.starts_with("POST /api/login") {
            (answer("200 OK", LOGIN), false)
        } else {
            (String::new(), false)
        }
    }))
    .await;
    let settings = Settings {
        timeout: Duration::from_millis(300),
        ..SETTINGS
    };
    let summary = measure(reads(50.0, 0.2), silent, settings).await;
    assert_eq!(summary.journeys["read-timeline"].errors["timeout"], 10);

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let gone = listener.local_addr().expect("bound");
    let run = Run::new(reads(50.0, 0.2), &format!("http://{gone}"), SETTINGS, None).expect("a run");
    for person in run.people.all() {
        let login = hikeshi_load::client::Login {
            token: "t".into(),
            expires_in: None,
        };
        run.people.logged_in(person, "h", Some(login));
    }
    drop(listener);
    let (_stop, stopped) = watch::channel(false);
    run.send(Instant::now(), stopped).await.expect("sent");
    let summary = run.recorder.summary(Duration::ZERO);
    assert_eq!(summary.journeys["read-timeline"].errors["no connection"], 10);
}
