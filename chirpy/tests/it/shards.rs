//! Posts in logical shards: brought there from the single table of before, and over two databases.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::ids;
use crate::postgres::Postgres;
use crate::stand::{Stand, free_port, json_of};

/// A database as it was before there were shards.
async fn before_shards(stand: &mut Stand) -> Postgres {
    let database = stand.postgres("postgres").await;
    database.run(include_str!("../../src/schema/features.sql")).await;
    database.run(include_str!("before_shards.sql")).await;
    database
}

#[tokio::test]
async fn old_posts_are_brought_into_their_shards_and_stay_what_they_were() {
    let mut chirpy = Stand::empty();
    let database = before_shards(&mut chirpy).await;
    let digest = "SELECT hashtextextended(string_agg(concat_ws('|', id, author_id, author_name, body, created_at, edited_at, deleted,
                                                              changed_in), ';' ORDER BY id), 0) FROM posts";
    let before = database.number(digest).await;
    let url = database.url.clone();
    chirpy.start(&url, &[]).await;
    assert_eq!(database.number(digest).await, before, "every post, whole");
    assert_eq!(database.number("SELECT count(*) FROM posts").await, 400);
    assert_eq!(
        database.number("SELECT count(DISTINCT shard) FROM posts").await,
        8
    );
    assert_eq!(
        database
            .number("SELECT count(*) FROM posts JOIN post_places USING (id, shard)")
            .await,
        400
    );

    // Old ids lead to old posts, by whatever way they are asked for.
    let posts = chirpy.url("post-service");
    let get = async |path: &str| {
        let answer = chirpy
            .http
            .get(format!("{posts}{path}"))
            .send()
            .await
            .expect("an answer");
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap_or_default(),
        )
    };
    assert_eq!(get("/posts/1").await.1["text"], "post 1 of person0001");
    assert_eq!(get("/posts/241").await.0, 404, "it was deleted");
    assert_eq!(get("/posts/401").await.0, 404, "there never was one");
    let (_, some) = get("/posts?ids=1,2,3,241,400,999").await;
    assert_eq!(
        ids(&some).into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([1, 2, 3, 400])
    );
    let (_, own) = get("/authors/1/posts?limit=20").await;
    assert_eq!(
        ids(&own),
        [361, 321, 281, 201, 161, 121, 81, 41, 1],
        "newest first, without the deleted"
    );
    assert_eq!(get("/authors/1/count").await.1, 9);
    assert_eq!(ids(&get("/posts/41/conversation").await.1), [1, 41]);

    // And go on: edited, answered, deleted, and followed by newer ones of the same author.
    let (token, _) = chirpy.account("ai").await;
    let answer = json!({ "text": "still there?", "reply_to": 2 });
    let (status, reply) = chirpy
        .call("POST", "/api/posts", Some(&token), Some(answer))
        .await;
    assert_eq!(status, 201, "{reply}");
    assert!(
        ids(&json!([reply]))[0] > 1 << 40,
        "new ids tell their shard: {reply}"
    );
    let conversation = get("/posts/2/conversation").await.1;
    assert_eq!(ids(&conversation), [2, ids(&json!([reply]))[0]]);
    let new = json!({ "author_id": 1, "author": "person0001", "text": "a new one" });
    let answer = chirpy.http.post(format!("{posts}/posts")).json(&new).send().await;
    let new = answer.expect("an answer").json::<Value>().await.expect("a post");
    let (_, own) = get("/authors/1/posts?limit=2").await;
    assert_eq!(ids(&own), [ids(&json!([new]))[0], 361]);
    let edit = json!({ "author_id": 1, "text": "edited" });
    let edited = chirpy
        .http
        .post(format!("{posts}/posts/1/update"))
        .json(&edit)
        .send()
        .await;
    assert_eq!(edited.expect("an answer").status(), 200);
    assert_eq!(get("/posts/1").await.1["text"], "edited");
    let deleted = chirpy
        .http
        .delete(format!("{posts}/posts/361?author_id=1"))
        .send()
        .await;
    assert_eq!(deleted.expect("an answer").status(), 200);
    assert_eq!(get("/posts/361").await.0, 404);

    // The check finds old and new.
    let list = chirpy.folder().join("acknowledged");
    let lines: String = [1, 241, 400, ids(&json!([new]))[0]]
        .map(|id| format!("{{\"id\":{id}}}\n"))
        .concat();
    std::fs::write(&list, lines).expect("written");
    let list = list.to_str().expect("a path");
    // Not in timelines: nobody fanned out what this test put into the database by hand.
    let places = ["check", "--acknowledged", list, "--places", "database,search"];
    let (good, verdict) = chirpy.chirpy(&places);
    assert!(good && verdict.contains(r#""in_database":4"#), "{verdict}");

    // Migrating again changes nothing, and another number of shards is not believed.
    assert!(chirpy.chirpy(&["migrate"]).0);
    assert_eq!(database.number("SELECT count(*) FROM posts").await, 402);
    let port = free_port().to_string();
    let other = [("POST_SHARDS", "4"), ("PORT", port.as_str())];
    chirpy.beside(&["post-service"], &other, "four-shards");
    chirpy
        .until("post-service says what is wrong", || async {
            let said = "POST_SHARDS is 4, but the database was made for Some(8)";
            chirpy.log("four-shards").contains(said)
        })
        .await;
    let ready = chirpy
        .http
        .get(format!("http://127.0.0.1:{port}/readyz"))
        .send()
        .await;
    assert_eq!(ready.expect("an answer").status(), 503);
}

#[tokio::test]
async fn a_migration_that_fails_has_changed_nothing() {
    let mut chirpy = Stand::empty();
    let database = before_shards(&mut chirpy).await;
    // Something is in the way, halfway.
    database.run("CREATE TABLE post_places (mine TEXT)").await;
    let migrate = |chirpy: &Stand| chirpy.chirpy_with(&["migrate"], &[("DATABASE_URL", &database.url)]);
    let (good, said) = migrate(&chirpy);
    assert!(!good && said.contains("migration 5"), "{said}");
    let single = "SELECT count(*) FROM pg_class WHERE relname = 'posts' AND relkind = 'r'";
    assert_eq!(database.number(single).await, 1, "posts is the table it was");
    assert_eq!(database.number("SELECT count(*) FROM posts").await, 400);
    database.run("DROP TABLE post_places").await;
    let (good, said) = migrate(&chirpy);
    assert!(good, "{said}");
    assert_eq!(
        database.number("SELECT count(*) FROM posts_shard_00").await % 10,
        0
    );
    assert_eq!(database.number("SELECT count(*) FROM posts").await, 400);
}

/// Everyone's posts by way of the API, each acknowledged or not.
async fn post_all(chirpy: &Stand, tokens: &[String], text: &str) -> Vec<(u16, Value)> {
    let posts = tokens
        .iter()
        .map(|token| chirpy.call("POST", "/api/posts", Some(token), Some(json!({ "text": text }))));
    join_all(posts).await
}

/// A database that is frozen holds back what is in it, and nothing else: `own` has a shard of the other, `others` one of it.
async fn one_is_frozen(chirpy: &Stand, second: &Postgres, own: &str, others: &str, reader: &str) {
    let post = async |token: &str, text: &str| {
        let text = Some(json!({ "text": text }));
        let (status, post) = chirpy.call("POST", "/api/posts", Some(token), text).await;
        assert_eq!(status, 201, "{post}");
        ids(&json!([post]))[0]
    };
    let newest = async || {
        let (_, timeline) = chirpy
            .call("GET", "/api/timeline?limit=1", Some(reader), None)
            .await;
        ids(&timeline)
    };
    let found = async |word: &str| {
        let (_, found) = chirpy
            .call("GET", &format!("/api/search?q={word}"), Some(reader), None)
            .await;
        ids(&found)
    };
    // In followers' timelines, and in search.
    let arrives = async |id: i64, word: &'static str| {
        chirpy
            .until(&format!("followers have {word}"), || async {
                newest().await == [id]
            })
            .await;
        chirpy
            .until(&format!("search finds {word}"), || async {
                found(word).await == [id]
            })
            .await;
    };
    let before = post(others, "melted").await;
    chirpy
        .until("all is read so far", || async {
            found("melted").await == [before]
        })
        .await;
    let frozen = chirpy.freeze(second);
    let during = post(own, "slush").await;
    arrives(during, "slush").await;
    // A page that reaches over both databases has the one's posts, and the other's again when it is back.
    let page = async || {
        let (status, page) = chirpy
            .call("GET", "/api/timeline?limit=100", Some(reader), None)
            .await;
        (status, ids(&page))
    };
    let (status, shown) = page().await;
    assert!(
        status == 200 && shown.contains(&during) && !shown.contains(&before),
        "{status} {shown:?}, {before} is out of reach, {during} is not"
    );
    let asked = json!({ "ids": [before, during, during + (1 << 30)], "partial": true });
    let read = async || {
        let url = format!("{}/posts/read", chirpy.url("post-service"));
        json_of(chirpy.http.post(url).json(&asked)).await
    };
    let some = read().await;
    assert_eq!(
        (ids(&some["posts"]), &some["unknown"]),
        (vec![during], &json!([before])),
        "{some}"
    );
    drop(frozen);
    chirpy
        .until("all databases are read", || async {
            ids(&read().await["posts"]).into_iter().collect::<BTreeSet<_>>()
                == BTreeSet::from([before, during])
        })
        .await;
    chirpy
        .until("pages are whole again", || async {
            page().await.1.contains(&before)
        })
        .await;
    let after = post(others, "thaw").await;
    arrives(after, "thaw").await;
}

#[tokio::test]
async fn two_databases_hold_four_shards_each_and_one_alone_still_serves_its_own() {
    let mut chirpy = Stand::empty();
    let first = chirpy.postgres("first").await;
    let second = chirpy.postgres("second").await;
    let map = format!("0-3={}; 4-7={}", first.url, second.url);
    let home = first.url.clone();
    let switches = [
        ("POST_SHARD_MAP", map.as_str()),
        ("RATE_LIMIT_PER_SECOND", "0"),
        // What is shown is asked for.
        ("POST_CACHE_MAX_AGE_S", "0"),
    ];
    chirpy.start(&home, &switches).await;
    let people: Vec<String> = (1..=30).map(|n| format!("person{n:04}")).collect();
    let tokens = join_all(people.iter().map(|name| chirpy.login(name))).await;

    let mut acknowledged = vec![];
    for round in 0..3 {
        for (status, post) in post_all(&chirpy, &tokens, &format!("round {round}")).await {
            assert_eq!(status, 201, "{post}");
            acknowledged.push(ids(&json!([post]))[0]);
        }
    }
    let count = "SELECT count(*) FROM posts";
    let (one, two) = (first.number(count).await, second.number(count).await);
    assert!(one > 0 && two > 0 && one + two == 90, "{one} and {two}");
    let strangers = "SELECT count(*) FROM posts WHERE shard >= 4";
    assert_eq!(
        (first.number(strangers).await, second.number(strangers).await),
        (0, two)
    );
    assert!(
        acknowledged.windows(31).all(|pair| pair[0] < pair[30]),
        "ids are in the order of time"
    );

    // The whole timeline of who follows people of both, newest first.
    let (reader, _) = chirpy.account("reader").await;
    for name in &people {
        let path = format!("/api/follow/{name}");
        assert_eq!(chirpy.call("POST", &path, Some(&reader), None).await.0, 204);
    }
    let (status, latest) = chirpy
        .call(
            "POST",
            "/api/posts",
            Some(&tokens[4]),
            Some(json!({ "text": "東京タワー" })),
        )
        .await;
    assert_eq!(status, 201, "{latest}");
    let latest = ids(&json!([latest]))[0];
    acknowledged.push(latest);
    chirpy
        .until("the timeline has every post", || async {
            let (_, timeline) = chirpy
                .call("GET", "/api/timeline?limit=100", Some(&reader), None)
                .await;
            let shown = ids(&timeline);
            shown.len() == 91 && shown[0] == latest && shown.is_sorted_by(|a, b| a > b)
        })
        .await;
    chirpy
        .until("search has read both databases' changes", || async {
            let (_, found) = chirpy
                .call("GET", "/api/search?q=round&limit=200", Some(&reader), None)
                .await;
            let found = ids(&found);
            let halves = found.iter().filter(|id| *id % 64 >= 4).count();
            halves > 0 && halves < found.len()
        })
        .await;

    // Answers across the border: every person answers the same post, so some are in the other database.
    let answer = json!({ "text": "見えた", "reply_to": latest });
    for token in &tokens {
        let (status, reply) = chirpy
            .call("POST", "/api/posts", Some(token), Some(answer.clone()))
            .await;
        assert_eq!(status, 201, "{reply}");
        acknowledged.push(ids(&json!([reply]))[0]);
        let like = format!("/api/posts/{latest}/like");
        assert_eq!(chirpy.call("PUT", &like, Some(token), None).await.0, 200);
    }
    let path = format!("/api/posts/{latest}/conversation?limit=100");
    let (_, conversation) = chirpy.call("GET", &path, Some(&reader), None).await;
    assert_eq!(ids(&conversation).len(), 31);
    assert_eq!(
        (&conversation[0]["replies"], &conversation[0]["likes"]),
        (&json!(30), &json!(30))
    );
    assert_eq!(conversation[1]["reply_to_author"], "person0005");
    let gone = ids(&conversation)[1];
    let path = format!("/api/posts/{gone}");
    assert_eq!(chirpy.call("DELETE", &path, Some(&tokens[0]), None).await.0, 200);
    let (_, post) = chirpy
        .call("GET", &format!("/api/posts/{latest}"), Some(&reader), None)
        .await;
    assert_eq!(post["replies"], 29);

    let (own, others): (Vec<usize>, Vec<usize>) = (0..30).partition(|person| acknowledged[*person] % 64 < 4);
    one_is_frozen(&chirpy, &second, &tokens[own[0]], &tokens[others[0]], &reader).await;

    // A database that is away takes its own shards with it and no other.
    chirpy.kill_postgres(&second);
    let stored = std::sync::Mutex::new(Vec::<i64>::new());
    chirpy
        .until("only the other's shards take posts", || async {
            let outcomes = post_all(&chirpy, &tokens, "half a service").await;
            let taken = outcomes.iter().filter(|(status, _)| *status == 201);
            let taken: Vec<i64> = taken.map(|(_, post)| ids(&json!([post]))[0]).collect();
            stored.lock().expect("not poisoned").extend(&taken);
            !taken.is_empty() && taken.len() < 30 && taken.iter().all(|id| id % 64 < 4)
        })
        .await;
    acknowledged.extend(stored.into_inner().expect("not poisoned"));
    let _second = chirpy.start_again("second", second).await;
    chirpy
        .until("everyone can post again", || async {
            let outcomes = post_all(&chirpy, &tokens, "whole again").await;
            outcomes.iter().all(|(status, _)| *status == 201)
        })
        .await;
    let list = chirpy.folder().join("acknowledged");
    let lines: String = acknowledged
        .iter()
        .map(|id| format!("{{\"id\":{id}}}\n"))
        .collect();
    std::fs::write(&list, lines).expect("written");
    let path = list.to_str().expect("a path").to_owned();
    chirpy
        .until("nothing is lost, and timelines have what was posted", || async {
            let (good, verdict) = chirpy.chirpy(&["check", "--acknowledged", &path]);
            assert!(good, "{verdict}");
            verdict.contains(r#""timelines_missing":0"#)
        })
        .await;
}
