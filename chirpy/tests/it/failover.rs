//! A primary and its streaming replica: reads that may be a moment old, and a failover with and without the habit.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::ids;
use crate::postgres::Postgres;
use crate::stand::Stand;

// The address below is led on by this process while it waits for programs to end: more threads than one.

/// What a Service is to a pool: an address that leads somewhere, and later elsewhere. Connections that are open stay where they
/// lead, as they do when a selector changes.
struct Address {
    port: u16,
    to: Arc<Mutex<u16>>,
}

impl Address {
    async fn of(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let to = Arc::new(Mutex::new(to));
        let leads = to.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *leads.lock().expect("not poisoned");
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
                        // Either side may end as it likes.
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, to }
    }

    fn lead_to(&self, port: u16) {
        *self.to.lock().expect("not poisoned") = port;
    }

    fn url(&self) -> String {
        format!("postgres://chirpy@127.0.0.1:{}/postgres", self.port)
    }
}

/// A stand on a primary behind an address, and its replica.
async fn replicated(variables: &[(&str, &str)]) -> (Stand, Postgres, Postgres, Address) {
    let mut chirpy = Stand::empty();
    let primary = chirpy.postgres("primary").await;
    let replica = chirpy.postgres_replica("replica", &primary).await;
    let address = Address::of(primary.port).await;
    let replica_url = replica.url.clone();
    let mut all = vec![
        ("DATABASE_REPLICA_URL", replica_url.as_str()),
        ("REPLICA_CHECK_MS", "50"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        // Every read of a timeline asks for the text of its posts.
        ("POST_CACHE_MAX_AGE_S", "0"),
    ];
    all.extend(variables);
    chirpy.start(&address.url(), &all).await;
    (chirpy, primary, replica, address)
}

/// A figure of post-service, summed over what else its labels say.
async fn figure(chirpy: &Stand, name: &str, labels: &str) -> f64 {
    let url = format!("{}/metrics", chirpy.url("post-service"));
    let answer = chirpy.http.get(url).send().await.expect("metrics");
    let text = answer.text().await.expect("text");
    text.lines()
        .filter(|line| line.starts_with(name) && line.contains(labels))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

async fn post(chirpy: &Stand, token: &str, text: &str) -> (u16, Value) {
    chirpy
        .call("POST", "/api/posts", Some(token), Some(json!({ "text": text })))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_to_the_replica_while_it_is_near_and_everyone_sees_what_they_wrote() {
    let (mut chirpy, primary, replica, _address) = replicated(&[("REPLICA_MAX_LAG_MS", "700")]).await;
    let (ai, _) = chirpy.account("ai").await;
    let (reader, _) = chirpy.account("reader").await;
    assert_eq!(
        chirpy.call("POST", "/api/follow/ai", Some(&reader), None).await.0,
        204
    );
    let listed = async |token: &str, path: &str| ids(&chirpy.call("GET", path, Some(token), None).await.1);

    // What was written a moment ago is there, whatever the replica has by then.
    let mut written = vec![];
    for n in 0..20 {
        let (status, new) = post(&chirpy, &ai, &format!("post {n}")).await;
        assert_eq!(status, 201, "{new}");
        written.insert(0, ids(&json!([new]))[0]);
        assert_eq!(
            listed(&ai, "/api/users/ai/posts?limit=50").await,
            written,
            "an author sees their own posts"
        );
    }
    chirpy
        .until("others see them, from the replica", || async {
            listed(&reader, "/api/users/ai/posts?limit=50").await == written
                && figure(
                    &chirpy,
                    "post_service_replica_reads_total",
                    r#"answered="replica""#,
                )
                .await
                    > 0.0
        })
        .await;

    // A replica that stands still is asked no more, and what it lacks is read from the primary.
    replica.run("SELECT pg_wal_replay_pause()").await;
    let (_, new) = post(&chirpy, &ai, "not on the replica").await;
    written.insert(0, ids(&json!([new]))[0]);
    chirpy
        .until("the lag is seen, and others see the post", || async {
            listed(&reader, "/api/users/ai/posts?limit=50").await == written
                && figure(&chirpy, "post_service_replica_reads_total", r#"because="lag""#).await > 0.0
                && figure(&chirpy, "post_service_replica_lag_seconds", "").await > 0.7
        })
        .await;
    replica.run("SELECT pg_wal_replay_resume()").await;
    chirpy
        .until("it has caught up", || async {
            (0.0..0.7).contains(&figure(&chirpy, "post_service_replica_lag_seconds", "").await)
        })
        .await;

    // Without a replica nothing is missed; without the primary the text of posts can still be read.
    chirpy.kill_postgres(&replica);
    let path = "/api/users/ai/posts?limit=50";
    assert_eq!(
        ids(&chirpy.call("GET", path, Some(&reader), None).await.1),
        written
    );
    let replica = chirpy.start_again("replica", replica).await;
    chirpy
        .until("the replica is asked again", || async {
            figure(&chirpy, "post_service_replica_lag_seconds", "").await >= 0.0
        })
        .await;
    chirpy.kill_postgres(&primary);
    chirpy
        .until("timelines show without the primary", || async {
            let path = "/api/timeline?limit=10";
            let (status, timeline) = chirpy.call("GET", path, Some(&reader), None).await;
            (status, ids(&timeline).len()) == (200, 10)
        })
        .await;
    assert_eq!(post(&chirpy, &ai, "no").await.0 / 100, 5);
    drop(replica);
}

/// Posts in the background until told to stop: those acknowledged.
fn posting(chirpy: &Stand, token: &str) -> (Arc<Mutex<Vec<i64>>>, tokio::task::JoinHandle<()>) {
    let acknowledged = Arc::new(Mutex::new(vec![]));
    let (http, gateway, token) = (chirpy.http.clone(), chirpy.gateway.clone(), token.to_owned());
    let list = acknowledged.clone();
    let task = tokio::spawn(async move {
        loop {
            let request = http
                .post(format!("{gateway}/api/posts"))
                .bearer_auth(&token)
                .json(&json!({ "text": "during the failover" }));
            if let Ok(answer) = request.send().await
                && answer.status() == 201
                && let Ok(post) = answer.json::<Value>().await
            {
                list.lock().expect("not poisoned").extend(ids(&json!([post])));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    (acknowledged, task)
}

/// The failover of runbooks/fail-over-postgres.sh: the old primary may write no more, the replica has all of it, becomes the
/// primary, and the address leads there. The old one goes on running, as one does that nobody has ended yet.
async fn fail_over(chirpy: &Stand, old: &Postgres, new: &Postgres, address: &Address) {
    old.run("ALTER SYSTEM SET default_transaction_read_only = on")
        .await;
    old.run("SELECT pg_reload_conf()").await;
    chirpy
        .until("no transaction writes any more", || async {
            let writing = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL";
            let fenced = "SELECT count(*) FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'";
            old.number(fenced).await == 1 && old.number(writing).await == 0
        })
        .await;
    let end = old
        .number("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint")
        .await;
    chirpy
        .until("the replica has everything", || async {
            new.number("SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint")
                .await
                >= end
        })
        .await;
    new.run("SELECT pg_promote()").await;
    address.lead_to(new.port);
}

async fn nothing_is_lost(chirpy: &Stand, server: &Postgres, acknowledged: &Mutex<Vec<i64>>) {
    let all = acknowledged.lock().expect("not poisoned").clone();
    assert!(!all.is_empty());
    let client = server.client().await;
    let row = client
        .query_one("SELECT count(*) FROM posts WHERE id = ANY($1)", &[&all])
        .await
        .expect("a count");
    let stored: i64 = row.get(0);
    assert_eq!(
        usize::try_from(stored).expect("a count"),
        all.len(),
        "of {}",
        chirpy.gateway
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_habit_a_failover_leaves_writes_failing() {
    let (chirpy, old, new, address) = replicated(&[("DATABASE_POOL_MAX", "2")]).await;
    let (token, _) = chirpy.account("ai").await;
    // Every connection the pool may have is there and in use.
    let posts = (0..60).map(|_| post(&chirpy, &token, "warm"));
    futures::future::join_all(posts).await;
    let (acknowledged, task) = posting(&chirpy, &token);
    chirpy
        .until("posts are acknowledged", || async {
            acknowledged.lock().expect("not poisoned").len() > 20
        })
        .await;
    fail_over(&chirpy, &old, &new, &address).await;
    let before = acknowledged.lock().expect("not poisoned").len();
    // A hundred further attempts, well after: the pool hands out the same connections again and again.
    for n in 0..100 {
        let (status, answer) = post(&chirpy, &token, &format!("after {n}")).await;
        assert_eq!(status / 100, 5, "{answer}");
    }
    assert_eq!(acknowledged.lock().expect("not poisoned").len(), before);
    task.abort();
    nothing_is_lost(&chirpy, &new, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_switch_writes_come_back_within_seconds_and_nothing_is_lost() {
    let (chirpy, old, new, address) = replicated(&[("DATABASE_FAILOVER_AWARE", "true")]).await;
    let (token, _) = chirpy.account("ai").await;
    let (acknowledged, task) = posting(&chirpy, &token);
    chirpy
        .until("posts are acknowledged", || async {
            acknowledged.lock().expect("not poisoned").len() > 20
        })
        .await;
    fail_over(&chirpy, &old, &new, &address).await;
    let fenced = old.number("SELECT count(*) FROM posts").await;
    let (led, before) = (
        std::time::Instant::now(),
        acknowledged.lock().expect("not poisoned").len(),
    );
    chirpy
        .until("posts are acknowledged again", || async {
            acknowledged.lock().expect("not poisoned").len() > before + 20
        })
        .await;
    assert!(led.elapsed() < Duration::from_secs(20), "{:?}", led.elapsed());
    assert_eq!(
        old.number("SELECT count(*) FROM posts").await,
        fenced,
        "the old primary is not written to"
    );
    task.abort();
    nothing_is_lost(&chirpy, &new, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_and_started_again_has_lost_nothing() {
    let (mut chirpy, primary, _replica, _address) = replicated(&[]).await;
    let (token, _) = chirpy.account("ai").await;
    let (acknowledged, task) = posting(&chirpy, &token);
    chirpy
        .until("posts are acknowledged", || async {
            acknowledged.lock().expect("not poisoned").len() > 20
        })
        .await;
    chirpy.kill_postgres(&primary);
    let before = acknowledged.lock().expect("not poisoned").len();
    let primary = chirpy.start_again("primary", primary).await;
    chirpy
        .until("posts are acknowledged again", || async {
            acknowledged.lock().expect("not poisoned").len() > before + 20
        })
        .await;
    task.abort();
    nothing_is_lost(&chirpy, &primary, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_is_given_up_and_a_retry_posts_once() {
    let (chirpy, primary, replica, address) = replicated(&[("DATABASE_TIMEOUT_MS", "500")]).await;
    let (token, _) = chirpy.account("ai").await;
    let keyed = async |key: &'static str| {
        let (header, body) = (Some(("idempotency-key", key)), Some(json!({ "text": key })));
        let answer = chirpy.ask("POST", "/api/posts", &token, header, body).await;
        answer.status().as_u16()
    };
    let stored = async |server: &Postgres, text: &str| {
        let count = format!("SELECT count(*) FROM posts WHERE body = '{text}'");
        server.number(&count).await
    };

    // More than there are writers: nobody hears that a post is stored, and nobody waits for ever.
    let frozen = chirpy.freeze(&primary);
    let all = (0..6).map(|_| keyed("thawed"));
    for status in futures::future::join_all(all).await {
        assert!(matches!(status, 503 | 504), "{status}");
    }
    drop(frozen);
    chirpy
        .until("a retry is acknowledged", || async {
            keyed("thawed").await == 201
        })
        .await;
    assert_eq!(keyed("thawed").await, 201);
    assert_eq!(
        stored(&primary, "thawed").await,
        1,
        "once, whatever became of the first"
    );

    // It never comes back, and the replica takes its place.
    let posts = "SELECT count(*) FROM posts";
    let before = primary.number(posts).await;
    chirpy
        .until("the replica has every post", || async {
            replica.number(posts).await == before
        })
        .await;
    let frozen = chirpy.freeze(&primary);
    let all = (0..6).map(|_| keyed("failed-over"));
    for status in futures::future::join_all(all).await {
        assert!(matches!(status, 503 | 504), "{status}");
    }
    replica.run("SELECT pg_promote()").await;
    address.lead_to(replica.port);
    chirpy
        .until("posts are acknowledged again", || async {
            keyed("failed-over").await == 201
        })
        .await;
    assert_eq!(stored(&replica, "failed-over").await, 1);
    assert_eq!(replica.number(posts).await, before + 1);
    drop(frozen);
}
