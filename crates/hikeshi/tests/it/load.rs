//! `hikeshi load` without a system: against a small server of the test's own, and with wrong input.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::harness::{Home, text};

const PROFILE: &str = "\
apiVersion: hikeshi.dev/v1
kind: LoadProfile
name: small
title: {ja: 小, en: Small}
arrivals: poisson
rate: 100
journeys: {read-timeline: 1}
people: {count: 3}
stages: [{for: 1s, at: 1}]
expect: {errors: 0%}
";

/// Logs everyone in, takes every post, and answers every GET with `timeline`, whose posts are by whoever's profile is read. It lives as long as the test program.
fn serve(timeline: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || attend(stream, timeline));
        }
    });
    address
}

fn attend(stream: TcpStream, timeline: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut answer = stream;
    loop {
        let mut first = String::new();
        let (mut length, mut line) = (0, String::new());
        if lines.read_line(&mut first).ok()? == 0 {
            return None;
        }
        while line.trim() != "" || line.is_empty() {
            line.clear();
            lines.read_line(&mut line).ok()?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        let body = if first.starts_with("POST /api/posts ") {
            let sent: Value = serde_json::from_slice(&body).ok()?;
            json!({"id": 3, "author": "a", "text": sent["text"]}).to_string()
        } else if first.starts_with("POST") {
            r#"{"token":"t"}"#.to_owned()
        } else if let Some(whose) = first.strip_prefix("GET /api/users/") {
            let (name, _) = whose.split_once('/')?;
            timeline.replace(r#""author":"a""#, &format!(r#""author":"{name}""#))
        } else {
            timeline.to_owned()
        };
        write!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
    }
}

fn profile(home: &Home, text: &str) -> String {
    std::fs::create_dir_all(home.path()).expect("a folder");
    let file = home.path().join("profile.yaml");
    std::fs::write(&file, text).expect("writing the profile");
    file.display().to_string()
}

/// Whatever is searched, each of its posts has it.
const GOOD: &str = r#"[{"id":2,"author":"a","text":"東京 coffee 蕎麦 postmortem"},
{"id":1,"author":"a","text":"蕎麦 coffee 東京 postmortem"}]"#;

#[test]
fn a_run_tells_its_figures_as_json_a_table_and_a_page() {
    let home = Home::new();
    let target = format!("http://{}", serve(GOOD));
    let (file, page) = (profile(&home, PROFILE), home.path().join("page.html"));
    let page_name = page.display().to_string();
    let run = ["load", "run", &file, "--target", &target];
    let told: Value = home.json(&[&run[..], &["--json", "--html", &page_name]].concat());
    let reads = &told["journeys"]["read-timeline"];
    assert!(
        reads["offered"].as_u64().is_some_and(|offered| offered > 50),
        "{told}"
    );
    assert_eq!(
        (&reads["ok"], &told["good"]),
        (&reads["offered"], &Value::from(true))
    );
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("<svg") && page.contains("read-timeline"), "{page}");

    let output = home.run(&[&run[..], &["--lang", "ja", "--rate", "50", "--duration", "2s"]].concat());
    let (table, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{table}{progress}");
    assert!(table.contains("read-timeline") && table.contains("✓"), "{table}");
    // A line a second while it runs.
    let live = regex::Regex::new(r"(?m)1/2 秒  \d+ 件/秒  エラー 0  p50 [\d.]+ ms  p99 [\d.]+ ms$")
        .expect("a pattern");
    assert!(live.is_match(&progress), "{progress}");
}

#[test]
fn every_shipped_profile_runs_with_the_journeys_it_names() {
    let home = Home::new();
    let target = format!("http://{}", serve(GOOD));
    for profile in home.json(&["load", "list", "--json"]).as_array().expect("a list") {
        let name = profile["name"].as_str().expect("a name");
        // Of a hundred requests two at least are of the rarest journey.
        let run = [
            "load",
            "run",
            name,
            "--target",
            &target,
            "--rate",
            "100",
            "--duration",
            "2s",
            "--json",
        ];
        let output = home.run(&run);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for journey in profile["journeys"].as_array().expect("journeys") {
            let journey = &told["journeys"][journey.as_str().expect("its name")];
            assert!(
                journey["ok"].as_u64().is_some_and(|ok| ok > 0) && journey["error"] == 0,
                "{name}: {journey} {}",
                text(&output.stderr)
            );
        }
    }
}

#[test]
fn answers_that_are_wrong_fail_the_run() {
    let home = Home::new();
    let target = format!(
        "http://{}",
        serve(r#"[{"id":1,"author":"a","text":"x"},{"id":2,"author":"a","text":"y"}]"#)
    );
    let file = profile(&home, PROFILE);
    let output = home.run(&["load", "run", &file, "--target", &target]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("wrong answer: the timeline is out of order"),
        "{table}"
    );
}

#[test]
fn wrong_input_is_told_with_its_place_and_without_a_system_nothing_is_sent() {
    let home = Home::new();
    let wrong = profile(
        &home,
        &PROFILE
            .replace("rate: 100", "rate: none")
            .replace("arrivals", "arivals"),
    );
    for (args, code, says) in [
        (
            vec!["load", "run", &wrong],
            2,
            "profile.yaml:5:1: unknown key `arivals`",
        ),
        (vec!["load", "run", "stedy"], 2, "did you mean \"steady\"?"),
        (vec!["load", "run", "./nowhere.yaml"], 2, "nowhere.yaml"),
        (
            vec!["load", "run", "steady", "--target", "https://a"],
            2,
            "http://HOST:PORT",
        ),
        (vec!["load", "run", "steady", "--duration", "5"], 2, "--duration"),
        (vec!["load", "run", "steady", "--rate", "0"], 2, "more than 0"),
        (vec!["load", "run", "steady", "--pods", "0"], 2, "--pods"),
        (vec!["load", "run", "steady"], 3, "nothing is running"),
        (
            vec!["load", "run", "steady", "--pods", "2"],
            3,
            "nothing is running",
        ),
    ] {
        let output = home.run(&args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}
