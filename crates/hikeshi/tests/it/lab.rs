//! The talk's two experiments, from its own kind of manifests and from the page; that everybody else stays at the normal
//! state; and that nothing is left, however a lab ends.

use std::time::{Duration, Instant};

use hikeshi_lab::lab::Wish;
use hikeshi_lab::{Answer, Delivered, Kind, Lab, Level, Mode, Normal, Slot, Who};
use serde_json::{Value, json};

use crate::harness::{Home, eventually, kill_9};
use crate::kubectl::Kubectl;
use crate::room::Room;

/// For what takes a moment on an idle machine and longer on a busy one.
const SOON: Duration = Duration::from_secs(90);
/// How far what is delivered may be from what was asked for.
const TOLERANCE: f64 = 0.02;

/// Somebody with a post of their own, who asks through the ingress.
struct User {
    http: reqwest::Client,
    base: String,
    token: String,
    post: i64,
}

impl User {
    async fn new(home: &Home, name: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("an HTTP client");
        let host = |of: &str| {
            home.record()["hosts"][of]
                .as_str()
                .map(|address| format!("http://{address}"))
        };
        let direct = host("chirpy").expect("Chirpy's address");
        let account = json!({"name": name, "password": "correct-horse"});
        let login = eventually("somebody signs up", SOON, async || {
            let answer = http
                .post(format!("{direct}/api/register"))
                .json(&account)
                .send()
                .await
                .ok()?;
            let login: Value = answer.json().await.ok()?;
            login["token"].is_string().then_some(login)
        })
        .await;
        let token = login["token"].as_str().expect("a token").to_owned();
        let post: Value = http
            .post(format!("{direct}/api/posts"))
            .bearer_auth(&token)
            .json(&json!({"text": "before"}))
            .send()
            .await
            .expect("Chirpy answers")
            .json()
            .await
            .expect("a post");
        Self {
            http,
            base: host("ingress").expect("the ingress' address"),
            token,
            post: post["id"].as_i64().expect("the post's id"),
        }
    }

    /// Edits the post once: status and seconds. `cookie` marks the person in the lab.
    async fn edit(&self, cookie: Option<&str>) -> (u16, f64) {
        let begun = Instant::now();
        let path = format!("{}/api/posts/{}/update", self.base, self.post);
        let mut request = self
            .http
            .post(path)
            .bearer_auth(&self.token)
            .json(&json!({"text": "after"}));
        if let Some(cookie) = cookie {
            request = request.header("cookie", format!("theme=dark; {cookie}"));
        }
        let answer = request.send().await.expect("the ingress answers");
        let status = answer.status().as_u16();
        answer.bytes().await.expect("the answer's body");
        (status, begun.elapsed().as_secs_f64())
    }

    async fn read(&self) -> f64 {
        let begun = Instant::now();
        let path = format!("{}/api/timeline", self.base);
        let answer = self
            .http
            .get(path)
            .bearer_auth(&self.token)
            .send()
            .await
            .expect("the ingress answers");
        answer.bytes().await.expect("the answer's body");
        begun.elapsed().as_secs_f64()
    }

    async fn edits(&self, cookie: Option<&str>, times: usize) -> Vec<(u16, f64)> {
        let mut all = Vec::new();
        for _ in 0..times {
            all.push(self.edit(cookie).await);
        }
        all
    }
}

/// What the data plane says of an edge: requests, seconds.
async fn edge(home: &Home, of: &str) -> (f64, f64) {
    let address = home.record()["hosts"]["metrics"]
        .as_str()
        .expect("the metrics' address")
        .to_owned();
    let text = reqwest::get(format!("http://{address}/metrics"))
        .await
        .expect("metrics")
        .text()
        .await
        .expect("text");
    let sum = |metric: &str| -> f64 {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(metric) && line.contains(of));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    (
        sum("hikeshi_edge_request_duration_seconds_count"),
        sum("hikeshi_edge_request_duration_seconds_sum"),
    )
}

fn near(got: f64, wanted: f64) -> bool {
    (got - wanted).abs() <= wanted * TOLERANCE
}

impl Room {
    /// Does something in the lab; the lab as it is then, and the cookie of who sits in it.
    async fn lab(&self, act: &Value) -> (Value, Option<String>) {
        let answer = self.post("/api/lab", act).await;
        let status = answer.status();
        let cookies = answer.headers().get_all("set-cookie").iter();
        let cookie = cookies
            .filter_map(|value| value.to_str().ok()?.split(';').next())
            .find(|cookie| cookie.starts_with("hikeshi_lab=") && cookie.len() > 20)
            .map(str::to_owned);
        let state: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{act}: {status} {state}");
        (state, cookie)
    }
}

async fn nothing_is_left(admin: &Kubectl) {
    eventually("nothing of the lab is left", SOON, async || {
        let faults = admin.run("get httpchaos -n hikeshi-lab -o name").await;
        let groups = admin
            .run("get deployment,service,ingress -n chirpy -l hikeshi.dev/lab -o name")
            .await;
        (faults.stdout.is_empty() && groups.stdout.is_empty()).then_some(())
    })
    .await;
}

/// A lab of last week, in which two people found half a second needlessly strict.
fn of_last_week(home: &Home) {
    let at = jiff::Timestamp::from_second(1_790_000_000).expect("a time");
    let wish = Wish {
        journeys: vec!["post-message".to_owned()],
        kind: Kind::Latency,
        who: Who::Person,
        mode: Mode::Blind,
        levels: Vec::new(),
        trials: 8,
        normal: Normal::default(),
    };
    let mut lab = Lab::new("last-week".into(), "chirpy".into(), "bob".into(), wish, 7, at).expect("a lab");
    for person in ["bob", "cat"] {
        lab.sit(person, at).expect("a seat");
        while lab.next(at).expect("a trial") {
            let trial = lab.trial().expect("a trial").clone();
            let seconds = 10_f64.powf(trial.level.intensity());
            for slot in Slot::ALL {
                let level = lab.present(slot, at).expect("a level");
                let each = if level == Level::Normal { 0.03 } else { seconds };
                let delivered = Delivered {
                    requests: 2,
                    seconds: each * 2.0,
                    ..Delivered::default()
                };
                lab.close(delivered, at);
            }
            let answer = Answer {
                x_is: if trial.x_is_a { Slot::A } else { Slot::B },
                bearable: seconds < 1.8,
                words: String::new(),
            };
            lab.answer(answer, &|_| 2, None).expect("an answer");
        }
    }
    lab.end(
        hikeshi_scenario::Text {
            ja: "終わり".into(),
            en: "done".into(),
        },
        at,
    );
    let folder = home.path().join("labs");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(
        folder.join("last-week.json"),
        serde_json::to_vec(&lab).expect("JSON"),
    )
    .expect("a lab on disk");
}

/// What it recommends goes into the system's file, with who and why.
async fn exported(home: &Home, room: &Room) {
    let outcome = room.get("/api/lab/last-week").await;
    let change = &outcome["journeys"][0]["recommendation"]["change"];
    assert_eq!(
        change,
        &json!({"change": "within", "slo": "latency", "from_ms": 500, "to_ms": 1000}),
        "{outcome}"
    );
    room.lab(
        &json!({"do": "export", "id": "last-week", "journey": "post-message", "why": "agreed on with ann"}),
    )
    .await;
    let file = home.share().join("systems/chirpy/cujs.yaml");
    let text = std::fs::read_to_string(file).expect("the system's journeys");
    assert!(
        text.contains("{within: 1s}}, objective: 98}") && text.contains("# A timeline that does not update"),
        "{text}"
    );
    let history = home.ok(&["slo", "history"]);
    let line = history.lines().last().unwrap_or_default();
    assert!(
        line.contains("ann  post-message-latency")
            && line.contains("-> 98 % within 1s")
            && line.contains("lab last-week: agreed on"),
        "{history}"
    );
}

#[tokio::test]
async fn the_talks_experiments_are_delivered_and_leave_nothing() {
    let home = Home::new();
    std::fs::create_dir_all(home.path()).expect("the state folder");
    of_last_week(&home);
    let up = home.json(&["up", "--json"]);
    let admin = Kubectl::new(home.path().join("kubeconfig"));
    let user = User::new(&home, "labrat").await;

    from_manifests(&home, &admin, &user).await;
    let room = Room::join(up["url"].as_str().expect("a link"), "ann", "facilitator").await;
    exported(&home, &room).await;
    from_the_page(&home, &admin, &user, &room).await;
    blind(&admin, &user, &room).await;
    killed(&home, &admin, &user, &room).await;
}

/// Slides 69 and 82, applied with kubectl as they would be to a real cluster.
async fn from_manifests(home: &Home, admin: &Kubectl, user: &User) {
    let manifests = |level: &str| {
        let printed = home.ok(&[
            "lab",
            "export",
            "edit-message",
            "--level",
            level,
            "--normal",
            "200ms",
            "--lang",
            "en",
        ]);
        assert!(
            !printed.contains("hikeshi.dev/delay"),
            "it is plain Chaos Mesh:\n{printed}"
        );
        printed
    };
    let latency = manifests("1s");
    admin.apply(&latency).await;
    admin
        .ok("rollout status deployment gateway-lab -n chirpy --timeout=90s")
        .await;
    eventually("edits are slow", SOON, async || {
        (user.edit(None).await.1 >= 1.0).then_some(())
    })
    .await;
    eventually("all else is at its normal state", SOON, async || {
        (user.read().await >= 0.2).then_some(())
    })
    .await;
    let (out, own) = (
        edge(home, "destination=\"gateway-lab\"").await,
        edge(home, "source=\"gateway-lab\"").await,
    );
    let edits = user.edits(None, 20).await;
    assert!(
        edits
            .iter()
            .all(|(status, seconds)| *status == 200 && *seconds >= 1.0),
        "{edits:?}"
    );
    let (out2, own2) = (
        edge(home, "destination=\"gateway-lab\"").await,
        edge(home, "source=\"gateway-lab\"").await,
    );
    // What Chaos Mesh's delay is: on top of what the system itself needed.
    let added = ((out2.1 - out.1) - (own2.1 - own.1)) / (out2.0 - out.0);
    assert!(near(added, 1.0), "{added} s were added");
    assert!(
        user.read().await < 0.9,
        "what is not edited is not slowed by a second"
    );

    let errors = manifests("1.5%");
    admin.ok("delete httpchaos lab-trial -n chirpy").await;
    admin.apply(&errors).await;
    admin.ok("delete httpchaos lab-normal -n chirpy").await;
    eventually("the trial group answers 500", SOON, async || {
        let failed = user
            .edits(None, 100)
            .await
            .iter()
            .filter(|(status, _)| *status == 500)
            .count();
        (failed == 1 || failed == 2).then_some(())
    })
    .await;
    let failed = user
        .edits(None, 1_000)
        .await
        .iter()
        .filter(|(status, _)| *status == 500)
        .count();
    assert_eq!(failed, 15, "1.5 % of 1,000 edits");
    admin.ok("delete httpchaos --all -n chirpy").await;
    admin
        .ok("delete deployment,service,ingress -n chirpy -l hikeshi.dev/lab")
        .await;
}

/// The same from the page's API, for one person; everybody else stays at the normal state.
async fn from_the_page(home: &Home, admin: &Kubectl, user: &User, room: &Room) {
    let start = |kind: &str, level: &str, normal: &str| {
        json!({"do": "start", "journeys": ["edit-message"], "kind": kind,
        "who": "person", "mode": "feel", "levels": [level], "normal": normal})
    };
    let (state, cookie) = room.lab(&start("latency", "1s", "200ms")).await;
    let cookie = cookie.expect("the person's cookie");
    assert_eq!(state["on"]["felt"]["said"]["en"], "1 s in all");
    let edits = user.edits(Some(&cookie), 10).await;
    let mean = edits.iter().map(|(_, seconds)| seconds).sum::<f64>() / 10.0;
    assert!((1.0..1.1).contains(&mean), "as the person waits: {edits:?}");
    let others = user.edits(None, 5).await;
    assert!(
        others.iter().all(|(_, seconds)| (0.2..0.9).contains(seconds)),
        "others: {others:?}"
    );
    let told = eventually("the ingress has counted", SOON, async || {
        let state = room.get("/api/lab").await;
        (state["on"]["felt"]["judged"]["delivered"]["requests"] == 10).then_some(state)
    })
    .await;
    let judged = &told["on"]["felt"]["judged"];
    assert!(
        judged["ok"] == true && near(judged["got"].as_f64().expect("seconds"), 1.0),
        "{judged}"
    );
    // The experiments' list tells nothing of it.
    assert_eq!(room.get("/api/experiments").await["running"], json!([]));
    room.lab(&json!({"do": "stop"})).await;
    nothing_is_left(admin).await;
    assert!(
        home.ok(&["lab", "show", "last", "--lang", "en"])
            .contains("1 s asked for")
    );

    let (_, cookie) = room.lab(&start("availability", "1.5%", "")).await;
    let cookie = cookie.expect("the person's cookie");
    let failed = user
        .edits(Some(&cookie), 1_000)
        .await
        .iter()
        .filter(|(status, _)| *status == 500)
        .count();
    assert_eq!(failed, 15, "1.5 % of 1,000 edits of the person");
    assert!(
        user.edits(None, 100)
            .await
            .iter()
            .all(|(status, _)| *status != 500),
        "of nobody else"
    );
    room.lab(&json!({"do": "stop"})).await;
    nothing_is_left(admin).await;
}

/// A trial whose person leaves without a word: it ends by itself, and what it had put in is gone.
async fn blind(admin: &Kubectl, user: &User, room: &Room) {
    let start = json!({"do": "start", "journeys": ["edit-message"], "kind": "latency", "who": "person", "mode": "blind",
        "levels": ["2s"], "trials": 1});
    room.lab(&start).await;
    let (state, cookie) = room.lab(&json!({"do": "sit"})).await;
    assert!(state["mine"] == true && state["on"]["person"] == "ann", "{state}");
    let cookie = cookie.expect("the person's cookie");
    room.lab(&json!({"do": "next"})).await;
    let mut waits = Vec::new();
    for slot in ["a", "b", "x"] {
        let (state, _) = room.lab(&json!({"do": "show", "slot": slot})).await;
        assert_eq!(state["on"]["trial"]["on"], slot);
        assert!(
            state["on"]["felt"].is_null() && !state.to_string().contains("2000000"),
            "{state}"
        );
        let edits = user.edits(Some(&cookie), 2).await;
        waits.push(edits.iter().map(|(_, seconds)| seconds).sum::<f64>() / 2.0);
    }
    let slow: Vec<bool> = waits.iter().map(|wait| *wait >= 2.0).collect();
    assert_ne!(
        slow[0], slow[1],
        "one of A and B is slow, the other is not: {waits:?}"
    );
    let x = if slow[2] == slow[0] { "a" } else { "b" };
    let (state, _) = room
        .lab(&json!({"do": "answer", "x_is": x, "bearable": false, "words": ""}))
        .await;
    assert!(state["on"].is_null(), "one trial was asked for: {state}");
    let id = state["past"][0]["id"].as_str().expect("its id").to_owned();
    let outcome = room.get(&format!("/api/lab/{id}")).await;
    let trial = &outcome["journeys"][0]["trials"][0];
    assert!(trial["right"] == true && trial["void"].is_null(), "{trial}");
    assert!(
        trial["judged"]
            .as_array()
            .expect("three")
            .iter()
            .all(|judged| judged["ok"] == true),
        "{trial}"
    );
    nothing_is_left(admin).await;

    room.lab(&start).await;
    room.lab(&json!({"do": "sit"})).await;
    room.lab(&json!({"do": "next"})).await;
    room.lab(&json!({"do": "show", "slot": "a"})).await;
    // The browser is closed: nobody asks any more.
    nothing_is_left(admin).await;
    let state = room.get("/api/lab").await;
    assert!(state["on"].is_null(), "{state}");
    let id = state["past"][0]["id"].as_str().expect("its id").to_owned();
    let outcome = room.get(&format!("/api/lab/{id}")).await;
    assert!(
        outcome["ended"]["en"]
            .as_str()
            .is_some_and(|words| words.contains("closed")),
        "{}",
        outcome["ended"]
    );
}

/// Control is killed while a level is on.
async fn killed(home: &Home, admin: &Kubectl, user: &User, room: &Room) {
    let start = json!({"do": "start", "journeys": ["edit-message"], "kind": "latency", "who": "person", "mode": "feel",
        "levels": ["3s"]});
    let (_, cookie) = room.lab(&start).await;
    let cookie = cookie.expect("the person's cookie");
    assert!(user.edit(Some(&cookie)).await.1 >= 3.0);
    kill_9(home.control_pid()).await;
    eventually("the level is lifted with nobody to lift it", SOON, async || {
        (user.edit(Some(&cookie)).await.1 < 1.0).then_some(())
    })
    .await;
    home.ok(&["up"]);
    nothing_is_left(admin).await;
    assert!(user.edit(Some(&cookie)).await.1 < 1.0, "nor does it come back");
}
