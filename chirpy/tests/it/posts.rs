//! Replies, likes, retries and pages.

use serde_json::{Value, json};

use crate::ids;
use crate::stand::Stand;

async fn post(chirpy: &Stand, token: &str, text: &str) -> i64 {
    let (status, post) = chirpy
        .call("POST", "/api/posts", Some(token), Some(json!({ "text": text })))
        .await;
    assert_eq!(status, 201, "{post}");
    post["id"].as_i64().expect("an id")
}

/// Where a `Link` header says to go on, as the query it holds.
fn next(answer: &reqwest::Response) -> Option<String> {
    let link = answer.headers().get("link")?.to_str().ok()?;
    let (target, relation) = link.split_once('>')?;
    assert_eq!(relation, "; rel=\"next\"");
    Some(target.strip_prefix('<')?.to_owned())
}

#[tokio::test]
async fn posts_are_answered_liked_retried_and_paged() {
    let chirpy = Stand::up().await;
    let (ai, _) = chirpy.account("ai").await;
    let (ken, _) = chirpy.account("ken").await;

    // A conversation, with counts.
    let first = post(&chirpy, &ai, "はじめまして").await;
    let reply = json!({ "text": "ようこそ", "reply_to": first });
    let (status, second) = chirpy.call("POST", "/api/posts", Some(&ken), Some(reply)).await;
    assert_eq!((status, &second["reply_to"]), (201, &json!(first)), "{second}");
    let second = second["id"].as_i64().expect("an id");
    let reply = json!({ "text": "よろしく", "reply_to": second });
    let (_, third) = chirpy.call("POST", "/api/posts", Some(&ai), Some(reply)).await;
    let third = third["id"].as_i64().expect("an id");
    for member in [first, second, third] {
        let path = format!("/api/posts/{member}/conversation");
        let (status, all) = chirpy.call("GET", &path, Some(&ai), None).await;
        assert_eq!((status, ids(&all)), (200, vec![first, second, third]), "{all}");
        assert_eq!(all[1]["reply_to_author"], "ai");
        assert_eq!(all[0]["replies"], 1);
    }
    let nobody = json!({ "text": "?", "reply_to": 999_999 });
    assert_eq!(
        chirpy.call("POST", "/api/posts", Some(&ai), Some(nobody)).await.0,
        404
    );

    // Liking twice is liking once; each sees their own.
    let like = format!("/api/posts/{first}/like");
    for _ in 0..2 {
        let (status, likes) = chirpy.call("PUT", &like, Some(&ken), None).await;
        assert_eq!((status, likes), (200, json!({ "likes": 1, "liked": true })));
    }
    let path = format!("/api/posts/{first}");
    let (_, seen) = chirpy.call("GET", &path, Some(&ken), None).await;
    assert_eq!((&seen["likes"], &seen["liked"]), (&json!(1), &json!(true)));
    let (_, seen) = chirpy.call("GET", &path, Some(&ai), None).await;
    assert_eq!((&seen["likes"], &seen["liked"]), (&json!(1), &json!(false)));
    let (_, likers) = chirpy
        .call("GET", &format!("{path}/likes"), Some(&ai), None)
        .await;
    assert_eq!(likers[0]["name"], "ken");
    for _ in 0..2 {
        let (_, likes) = chirpy.call("DELETE", &like, Some(&ken), None).await;
        assert_eq!(likes, json!({ "likes": 0, "liked": false }));
    }
    assert_eq!(
        chirpy
            .call("PUT", "/api/posts/999999/like", Some(&ken), None)
            .await
            .0,
        404
    );

    // A deleted reply leaves the count and the conversation; what answered it stays.
    let path = format!("/api/posts/{second}");
    assert_eq!(
        chirpy.call("DELETE", &path, Some(&ai), None).await.0,
        404,
        "not hers"
    );
    assert_eq!(chirpy.call("DELETE", &path, Some(&ken), None).await.0, 200);
    assert_eq!(chirpy.call("DELETE", &path, Some(&ken), None).await.0, 404);
    let path = format!("/api/posts/{third}/conversation");
    let (_, all) = chirpy.call("GET", &path, Some(&ai), None).await;
    assert_eq!((ids(&all), &all[0]["replies"]), (vec![first, third], &json!(0)));

    retries(&chirpy, &ai, &ken).await;
    pages(&chirpy, &ken).await;

    let (_, profile) = chirpy.call("GET", "/api/users/ken", Some(&ai), None).await;
    assert_eq!(
        (&profile["name"], &profile["followed_by_me"]),
        (&json!("ken"), &json!(false))
    );
    assert_eq!(
        chirpy.call("POST", "/api/follow/ken", Some(&ai), None).await.0,
        204
    );
    let (_, profile) = chirpy.call("GET", "/api/users/ken", Some(&ai), None).await;
    assert_eq!(
        (&profile["followers"], &profile["followed_by_me"]),
        (&json!(1), &json!(true))
    );
}

#[tokio::test]
async fn a_post_for_which_there_is_no_room_is_refused_and_its_author_hears_when_to_come_again() {
    let chirpy = Stand::with(&[
        ("POST_QUEUE", "1"),
        ("POST_COMMIT_WRITERS", "1"),
        ("POST_COMMIT_BATCH", "1"),
        ("RATE_LIMIT_PER_SECOND", "0"),
    ])
    .await;
    let (ai, session) = chirpy.account("ai").await;
    let (client, connection) = tokio_postgres::connect(chirpy.database(), tokio_postgres::NoTls)
        .await
        .expect("PostgreSQL");
    tokio::spawn(connection);
    let hold = "BEGIN; LOCK TABLE posts IN EXCLUSIVE MODE";
    client.batch_execute(hold).await.expect("the table is held");

    // One is with the writer and one waits for it.
    let body = || Some(json!({ "text": "一杯です" }));
    let clients = (0..4).map(|_| chirpy.ask("POST", "/api/posts", &ai, None, body()));
    let server = format!("{}/api/posts", chirpy.url("chirpy-server"));
    let id = session["user"]["id"].to_string();
    let inside = (0..4).map(|_| {
        let request = chirpy
            .http
            .post(&server)
            .header("x-user-id", &id)
            .header("x-user-name", "ai");
        request.json(&body()).send()
    });
    let (clients, inside) = tokio::join!(
        futures::future::join_all(clients),
        futures::future::join_all(inside)
    );
    let full = json!({ "error": "too many posts are waiting to be stored" });
    let mut refused = [0, 0];
    for answer in clients {
        let status = answer.status();
        if answer.json::<Value>().await.expect("JSON") == full {
            assert_eq!(status, 503);
            refused[0] += 1;
        }
    }
    for answer in inside {
        let answer = answer.expect("an answer");
        let again = answer.headers().get("retry-after").cloned();
        if answer.json::<Value>().await.expect("JSON") == full {
            assert_eq!(again.expect("when to come again"), "1");
            refused[1] += 1;
        }
    }
    assert!(
        refused[0] > 0 && refused[1] > 0 && refused[0] + refused[1] >= 5,
        "{refused:?}"
    );
    client.batch_execute("ROLLBACK").await.expect("nobody holds it");
    chirpy
        .until("there is room again", || async {
            chirpy.ask("POST", "/api/posts", &ai, None, body()).await.status() == 201
        })
        .await;
}

#[tokio::test]
async fn while_too_much_waits_to_be_delivered_no_post_is_taken() {
    let chirpy = Stand::with(&[("FANOUT_MAX_WAITING", "20"), ("RATE_LIMIT_PER_SECOND", "0")]).await;
    let (ai, _) = chirpy.account("ai").await;
    post(&chirpy, &ai, "まだ空いています").await;
    let (client, connection) = tokio_postgres::connect(chirpy.database(), tokio_postgres::NoTls)
        .await
        .expect("PostgreSQL");
    tokio::spawn(connection);
    // Jobs that are with a worker who does not get on.
    let stuck = "INSERT INTO fanout_jobs (shard, post_ids, author_ids, worker, leased_until)
                 SELECT 0, '{}', '{}', 'slow', now() + interval '1 hour' FROM generate_series(1, 20)";
    client.batch_execute(stuck).await.expect("jobs");
    let say = || Some(json!({ "text": "まだ届きません" }));
    chirpy
        .until("a post is refused", || async {
            let (status, answer) = chirpy.call("POST", "/api/posts", Some(&ai), say()).await;
            status == 503 && answer == json!({ "error": "too many posts are waiting to be delivered" })
        })
        .await;
    let done = "DELETE FROM fanout_jobs WHERE worker = 'slow'";
    client.batch_execute(done).await.expect("the jobs are done");
    chirpy
        .until("posts are taken again", || async {
            chirpy.call("POST", "/api/posts", Some(&ai), say()).await.0 == 201
        })
        .await;
}

/// A request that is sent again, even at the same time, posts once.
async fn retries(chirpy: &Stand, ai: &str, ken: &str) {
    let key = Some(("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""));
    let body = || Some(json!({ "text": "一度だけ" }));
    let sends = (0..5).map(|_| chirpy.ask("POST", "/api/posts", ai, key, body()));
    let mut posted: Vec<Value> = vec![];
    for answer in futures::future::join_all(sends).await {
        assert_eq!(answer.status(), 201);
        posted.push(answer.json().await.expect("a post"));
    }
    assert!(posted.iter().all(|post| *post == posted[0]), "{posted:?}");
    let (_, own) = chirpy.call("GET", "/api/users/ai/posts", Some(ai), None).await;
    let once = own
        .as_array()
        .into_iter()
        .flatten()
        .filter(|post| post["text"] == "一度だけ");
    assert_eq!(once.count(), 1, "{own}");

    let other = Some(json!({ "text": "別の投稿" }));
    assert_eq!(
        chirpy.ask("POST", "/api/posts", ai, key, other).await.status(),
        422
    );
    let answer = chirpy.ask("POST", "/api/posts", ken, key, body()).await;
    assert_eq!(answer.status(), 201, "another person's keys are their own");
    let bad = Some(("idempotency-key", "\"\""));
    assert_eq!(
        chirpy.ask("POST", "/api/posts", ai, bad, body()).await.status(),
        400
    );
    // A request that was refused may be sent again, mended, with the same key.
    let key = Some(("idempotency-key", "mended"));
    let answer = chirpy.ask(
        "POST",
        "/api/posts",
        ai,
        key,
        Some(json!({ "text": "?", "reply_to": 999_999 })),
    );
    assert_eq!(answer.await.status(), 404);
    assert_eq!(
        chirpy.ask("POST", "/api/posts", ai, key, body()).await.status(),
        201
    );
}

/// Pages do not shift when something new comes, at home and at someone's own.
async fn pages(chirpy: &Stand, ken: &str) {
    let mut all = vec![];
    for number in 0..7 {
        all.push(post(chirpy, ken, &format!("ken {number}")).await);
    }
    let newest = *all.last().expect("some");
    chirpy
        .until("the posts are in the timeline", || async {
            let (_, timeline) = chirpy.call("GET", "/api/timeline", Some(ken), None).await;
            ids(&timeline).first() == Some(&newest)
        })
        .await;
    for list in ["/api/timeline", "/api/users/ken/posts"] {
        let mut seen = vec![];
        let mut query = "?limit=3".to_owned();
        loop {
            let answer = chirpy
                .ask("GET", &format!("{list}{query}"), ken, None, None)
                .await;
            assert_eq!(answer.status(), 200);
            let link = next(&answer);
            let page = ids(&answer.json().await.expect("posts"));
            assert!(page.len() <= 3);
            let Some(link) = link else {
                assert_eq!(page, Vec::<i64>::new(), "only an empty page is the last");
                break;
            };
            seen.extend(page);
            query = link;
            post(chirpy, ken, "meanwhile").await;
        }
        let wanted: Vec<i64> = all.iter().rev().copied().collect();
        let seen: Vec<i64> = seen.into_iter().filter(|id| all.contains(id)).collect();
        assert_eq!(seen, wanted, "{list}");
    }
}
