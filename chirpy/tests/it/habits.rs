//! Failure habits: the harm with each, and its absence without. Those that need no other process are tested beside their code.

use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::stand::{Stand, free_port};

#[tokio::test]
async fn habits_hurt_and_their_switches_end_it() {
    let words = free_port();
    let mut chirpy = Stand::with(&[
        ("WORDS_URL", &format!("http://127.0.0.1:{words}")),
        ("SESSIONS_CAPACITY", "provisioned"),
        ("SESSIONS_WRITE_CAPACITY", "1"),
    ])
    .await;
    let (ai, _) = chirpy.account("ai").await;
    a_forgotten_server(&mut chirpy, words, &ai).await;
    a_table_with_a_capacity_of_one(&chirpy, &ai).await;
    a_migration_that_takes_a_table_lock(&mut chirpy).await;
    a_log_shipper_with_a_small_memory(&mut chirpy).await;
}

/// No manifest has it, yet posts ask it; without it nobody can post, and no log says whom they asked.
async fn a_forgotten_server(chirpy: &mut Stand, port: u16, ai: &str) {
    let post = |text: &'static str| {
        let (chirpy, body) = (&*chirpy, Some(json!({ "text": text })));
        async move { chirpy.call("POST", "/api/posts", Some(ai), body).await.0 }
    };
    assert_eq!(post("誰もいません").await, 502);
    let own = port.to_string();
    let server = chirpy.beside(&["words"], &[("PORT", &own)], "words");
    let post = |text: &'static str| {
        let (chirpy, body) = (&*chirpy, Some(json!({ "text": text })));
        async move { chirpy.call("POST", "/api/posts", Some(ai), body).await.0 }
    };
    chirpy
        .until("posts are taken", || async {
            post("こんにちは").await == 201
        })
        .await;
    assert_eq!(post("Ｃasino-Bonus はこちら").await, 422);
    assert!(
        chirpy.log("words").contains("POST /check"),
        "its log shows who uses it"
    );
    chirpy.end(server);
    let (status, _) = chirpy
        .call(
            "POST",
            "/api/posts",
            Some(ai),
            Some(json!({ "text": "もう一度" })),
        )
        .await;
    assert_eq!(status, 502);
    let (status, _) = chirpy.call("GET", "/api/timeline", Some(ai), None).await;
    assert_eq!(status, 200, "reading does not ask it");
    let log = chirpy.log("chirpy-server");
    assert!(log.contains("A post was not accepted"), "{log}");
    assert!(!log.contains(&port.to_string()), "{log}");
}

/// One write a second: people cannot log in, while everything else is idle and well.
async fn a_table_with_a_capacity_of_one(chirpy: &Stand, ai: &str) {
    let account = || Some(json!({ "name": "person0001", "password": "chirpchirp" }));
    let logins = (0..20).map(|_| chirpy.call("POST", "/api/login", None, account()));
    let mut statuses: Vec<u16> = vec![];
    for (status, _) in futures::future::join_all(logins).await {
        statuses.push(status);
    }
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(refused >= 10 && statuses.contains(&200), "{statuses:?}");
    // Whoever registers now has an account and no session, and is told so.
    let account = |n| json!({ "name": format!("late{n}"), "password": "chirpchirp" });
    let registers = (0..10).map(|n| chirpy.call("POST", "/api/register", None, Some(account(n))));
    let answers = futures::future::join_all(registers).await;
    let told = |answer: &Value| {
        answer["error"]
            .as_str()
            .is_some_and(|error| error.contains("please log in"))
    };
    let half = answers
        .iter()
        .position(|(status, answer)| *status == 503 && told(answer))
        .unwrap_or_else(|| panic!("one write a second: {answers:?}"));
    let (status, _) = chirpy
        .call("POST", "/api/register", None, Some(account(half)))
        .await;
    assert_eq!(status, 409);
    let (status, _) = chirpy.call("GET", "/api/timeline", Some(ai), None).await;
    assert_eq!(status, 200, "a token that was given before is good");
    let log = chirpy.log("auth-service");
    assert!(log.contains("ProvisionedThroughputExceededException"), "{log}");
    let metrics = format!("{}/metrics", chirpy.url("auth-service"));
    let metrics = chirpy.http.get(metrics).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("text");
    let throttled = r#"auth_service_table_throttled_total{table="sessions",operation="write"}"#;
    assert!(metrics.contains(throttled), "{metrics}");
}

/// Somebody reads a table for long; whoever wants to change it waits for them, and everybody else behind that.
async fn a_migration_that_takes_a_table_lock(chirpy: &mut Stand) {
    let (client, connection) = tokio_postgres::connect(chirpy.database(), NoTls)
        .await
        .expect("PostgreSQL");
    tokio::spawn(connection);
    let (watcher, connection) = tokio_postgres::connect(chirpy.database(), NoTls)
        .await
        .expect("PostgreSQL");
    tokio::spawn(connection);
    let long_read = "BEGIN; SELECT count(*) FROM follows";
    client.batch_execute(long_read).await.expect("a reader");
    let people = "/api/users/person0001/followers";
    let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'follows'::regclass AND NOT granted
                 AND mode = 'AccessExclusiveLock'";
    let waiting = async |watcher: &tokio_postgres::Client| -> i64 {
        let row = watcher.query_one(waits, &[]).await.expect("an answer");
        row.get(0)
    };

    let habit = chirpy.beside(&["date-follows"], &[("MIGRATION_ONLINE", "false")], "habit");
    chirpy
        .until("it waits for the lock", || async { waiting(&watcher).await == 1 })
        .await;
    let (status, answer) = chirpy.call("GET", people, None, None).await;
    // Whoever waits longest says so first.
    assert!(
        matches!(status, 503 | 504),
        "readers queue behind it: {status} {answer}"
    );
    client.batch_execute("ROLLBACK").await.expect("it reads no more");
    chirpy
        .until("followers are listed again", || async {
            chirpy.call("GET", people, None, None).await.0 == 200
        })
        .await;
    assert!(chirpy.ended(habit).await, "{}", chirpy.log("habit"));

    // The same change once more, the other way.
    let undo = "ALTER TABLE follows DROP COLUMN since";
    client.batch_execute(undo).await.expect("undone");
    client.batch_execute(long_read).await.expect("a reader");
    let online = chirpy.beside(&["date-follows"], &[("MIGRATION_ONLINE", "true")], "online");
    chirpy
        .until("it has given the lock up twice", || async {
            let (status, answer) = chirpy.call("GET", people, None, None).await;
            assert_eq!(status, 200, "nobody waits for it: {answer}");
            chirpy.log("online").matches("given up").count() >= 2
        })
        .await;
    client.batch_execute("ROLLBACK").await.expect("it reads no more");
    assert!(chirpy.ended(online).await, "{}", chirpy.log("online"));
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'follows_by_since'::regclass";
    let row = watcher.query_one(valid, &[]).await.expect("an index");
    assert!(row.get::<_, bool>(0));
}

/// The engine is away for a while. What fits a small memory comes later, the rest never; a file keeps everything.
async fn a_log_shipper_with_a_small_memory(chirpy: &mut Stand) {
    const LINES: usize = 2000;
    let sink = free_port();
    let nodes = format!("http://127.0.0.1:{sink}");
    let folder = chirpy.folder().join("buffer");
    let folder = folder.to_str().expect("a path").to_owned();
    let mut shippers = vec![];
    for (kind, bytes) in [("memory", "65536"), ("disk", "16777216")] {
        let port = free_port();
        let own = port.to_string();
        let variables: [(&str, &str); 6] = [
            ("PORT", own.as_str()),
            ("SEARCH_NODES", &nodes),
            ("LOG_BUFFER", kind),
            ("LOG_BUFFER_BYTES", bytes),
            ("LOG_BUFFER_FOLDER", &folder),
            ("LOG_SHIP_INTERVAL_MS", "20"),
        ];
        chirpy.beside(&["log-shipper"], &variables, kind);
        shippers.push(format!("http://127.0.0.1:{port}"));
    }
    let http = chirpy.http.clone();
    for (shipper, url) in shippers.iter().enumerate() {
        chirpy
            .until("log-shipper listens", || async {
                http.get(format!("{url}/readyz")).send().await.is_ok()
            })
            .await;
        let lines: Vec<String> = (0..LINES)
            .map(|line| {
                let line = json!({ "level": "INFO", "service": format!("by-{shipper}"), "msg": format!("行 {line:060}") });
                line.to_string()
            })
            .collect();
        let sent = http
            .post(format!("{url}/lines"))
            .body(lines.join("\n"))
            .send()
            .await;
        assert_eq!(
            sent.expect("an answer").status(),
            202,
            "accepted, whatever becomes of it"
        );
    }
    let port = sink.to_string();
    chirpy.beside(&["search-node"], &[("PORT", port.as_str())], "sink");
    let metric = |url: String, outcome: &'static str| {
        let http = http.clone();
        async move {
            let text = http
                .get(format!("{url}/metrics"))
                .send()
                .await
                .expect("an answer");
            let text = text.text().await.expect("text");
            let name = format!("log_shipper_lines_total{{outcome=\"{outcome}\"}} ");
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(&name))
                .map(str::to_owned);
            line.expect(outcome).parse::<usize>().expect("a number")
        }
    };
    let mut dropped = vec![];
    for url in &shippers {
        let lost = metric(url.clone(), "dropped").await;
        chirpy
            .until("the rest has arrived", || async {
                metric(url.clone(), "shipped").await == LINES - lost
            })
            .await;
        dropped.push(lost);
    }
    assert!(dropped[0] > LINES / 2, "{dropped:?}");
    assert_eq!(dropped[1], 0);
    for (shipper, lost) in dropped.into_iter().enumerate() {
        let query = json!({ "query": { "term": { "service": format!("by-{shipper}") } } });
        // Accepted is not yet found: the engine refreshes once a second.
        chirpy
            .until("what was shipped is found", || async {
                let count = http
                    .post(format!("{nodes}/chirpy-logs/_count"))
                    .json(&query)
                    .send()
                    .await;
                let count: Value = count.expect("an answer").json().await.expect("JSON");
                count["count"] == LINES - lost
            })
            .await;
    }
}
