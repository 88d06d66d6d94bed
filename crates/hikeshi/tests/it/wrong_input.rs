//! Wrong input and wrong machines: one clear message, the right exit code, nothing started.

use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::harness::{Home, text};

const USAGE: i32 = 2;
const COMPONENT: i32 = 3;

/// Standard error of a run that must fail with `code`: one message (with at most its hint), and no panic.
fn message(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "exit code; said: {said}{}",
        text(&output.stdout)
    );
    let messages = said.lines().filter(|line| line.starts_with("hikeshi: ")).count();
    assert_eq!(messages, 1, "exactly one message: {said}");
    let others: Vec<&str> = said
        .lines()
        .filter(|line| !line.starts_with("hikeshi: ") && !line.starts_with("  hint: ") && !is_progress(line))
        .collect();
    assert!(others.is_empty(), "only the message and its hint: {said}");
    for noise in ["panicked", "RUST_BACKTRACE", "stack backtrace", "Caused by"] {
        assert!(!said.contains(noise), "{said}");
    }
    said
}

/// `   0.1s  starting ...`
fn is_progress(line: &str) -> bool {
    line.split_whitespace()
        .next()
        .and_then(|word| word.strip_suffix('s'))
        .is_some_and(|number| number.parse::<f64>().is_ok())
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn a_misspelt_scenario_is_answered_with_the_one_that_was_meant() {
    let home = Home::new();
    for args in [
        &["drill", "start", "timelines-stop-updatin"],
        &["rehearse", "timelines-stop-updatin", "--pace=10"],
    ] {
        let said = message(&home.run(args), USAGE);
        assert_says(
            &said,
            &[
                "timelines-stop-updatin",
                "did you mean",
                "\"timelines-stop-updating\"",
            ],
        );
    }
    assert!(!home.path().exists(), "nothing was started, so nothing is there");
}

#[test]
fn a_misspelt_key_is_shown_by_file_line_and_column() {
    let home = Home::new();
    let file = home
        .share()
        .join("scenarios/timelines-stop-updating/scenario.yaml");
    let right = std::fs::read_to_string(&file).expect("the shipped scenario");
    let line = right
        .lines()
        .position(|line| line.starts_with("difficulty:"))
        .expect("a difficulty")
        + 1;
    std::fs::write(&file, right.replace("\ndifficulty:", "\ndifficulti:")).expect("writing the scenario");
    let path = file.to_str().expect("a plain path");
    for args in [
        &["scenario", "lint", path][..],
        &["drill", "start", "timelines-stop-updating"][..],
    ] {
        let said = message(&home.run(args), USAGE);
        assert_says(&said, &[&format!("{path}:{line}:1"), "difficulti", "difficulty"]);
    }
}

#[test]
fn a_scenario_file_that_is_not_there_is_named() {
    let home = Home::new();
    let said = message(
        &home.run(&["scenario", "lint", "/nonexistent/scenario.yaml"]),
        USAGE,
    );
    assert_says(&said, &["/nonexistent/scenario.yaml"]);
}

#[test]
fn a_missing_program_is_said_at_once_with_its_package() {
    let home = Home::new();
    let file = home.share().join("images/redis.yaml");
    let right = std::fs::read_to_string(&file).expect("the redis image");
    std::fs::write(
        &file,
        right.replace("program: redis-server", "program: redis-serverless"),
    )
    .expect("writing the image");

    let doctor = home.run(&["doctor"]);
    message(&doctor, COMPONENT);
    assert_says(
        &text(&doctor.stdout),
        &["redis-serverless", "apt-get install redis-server"],
    );

    let started = Instant::now();
    for args in [
        &["up"][..],
        &["rehearse", "timelines-stop-updating"],
        &["bench", "up", "--rounds=1"],
    ] {
        let said = message(&home.run(args), COMPONENT);
        assert_says(
            &said,
            &[
                "redis-serverless is missing",
                "apt-get install redis-server",
                "hikeshi doctor",
            ],
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "said before anything is started"
    );
    assert_eq!(home.ok(&["down"]).trim(), "nothing is running");
}

#[test]
fn what_only_builds_and_tests_need_may_be_missing() {
    let home = Home::new();
    let kubectl = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join("kubectl"))
        .find(|path| path.is_file())
        .expect("kubectl on PATH");
    std::os::unix::fs::symlink(kubectl, home.share().join("kubectl")).expect("a link");
    let doctor = home
        .hikeshi(&["doctor", "--json"])
        .env("PATH", home.share())
        .output()
        .expect("hikeshi starts");
    assert!(
        doctor.status.success(),
        "{}{}",
        text(&doctor.stdout),
        text(&doctor.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert_eq!(report["ok"], true);
    let findings = report["findings"].as_array().expect("findings");
    let chromium = findings.iter().find(|finding| finding["what"] == "Chromium");
    let chromium = chromium.expect("a finding about Chromium");
    assert_eq!(chromium["needed"], "for tests");
    assert_says(
        chromium["problem"].as_str().expect("a problem"),
        &["cargo xtask setup --tests"],
    );
}

#[test]
fn an_unknown_system_is_named() {
    let home = Home::new();
    let said = message(&home.run(&["up", "chirppy"]), USAGE);
    assert_says(&said, &["chirppy"]);
}

#[test]
fn a_taken_port_is_named() {
    let home = Home::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("an address").to_string();
    let port = address.rsplit(':').next().expect("a port");
    for args in [
        &["up", "--listen", &address][..],
        &["drill", "start", "timelines-stop-updating", "--listen", &address][..],
    ] {
        let said = message(&home.run(args), USAGE);
        assert_says(&said, &[port, "taken", "--listen"]);
    }
    assert_eq!(home.ok(&["down"]).trim(), "nothing is running");
}

#[test]
fn an_address_that_nobody_can_type_is_refused_with_the_remedy() {
    let home = Home::new();
    for address in ["0.0.0.0:7700", "[::]:7700"] {
        for args in [
            &["up", "--listen", address][..],
            &["drill", "start", "timelines-stop-updating", "--listen", address][..],
        ] {
            let said = message(&home.run(args), USAGE);
            assert_says(
                &said,
                &[address, "certificate", "hint: give this machine's address"],
            );
        }
    }
    assert!(!home.path().exists(), "nothing was started, so nothing is there");
}

#[test]
fn a_full_disk_is_said_with_its_place() {
    let home = Home::new();
    // `hikeshi` in namespaces of its own, where a disk of 256 KiB can be mounted without harm to anybody.
    for size in ["4k", "256k"] {
        let script = format!(
            "mkdir -p \"$HIKESHI_HOME\" && mount -t tmpfs -o size={size},mode=755 tiny \"$HIKESHI_HOME\" && exec \"$0\" \"$@\""
        );
        let output = home.hikeshi_within(
            &[
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                &script,
            ],
            &["up"],
        );
        let said = message(&output, COMPONENT);
        let place = home.path();
        assert_says(&said, &["No space left", place.to_str().expect("a plain path")]);
        assert_says(&said, &["hint: free some space"]);
    }
}

#[test]
fn forbidden_user_namespaces_are_said_with_the_remedy() {
    let home = Home::new();
    // The limit counts in this user namespace only.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let within = ["unshare", "--user", "--map-root-user", "sh", "-c", script];
    let doctor = home.hikeshi_within(&within, &["doctor"]);
    message(&doctor, COMPONENT);
    assert_says(
        &text(&doctor.stdout),
        &["user namespaces", "sysctl user.max_user_namespaces"],
    );
    let said = message(&home.hikeshi_within(&within, &["up"]), COMPONENT);
    assert_says(&said, &["user namespaces", "sysctl user.max_user_namespaces"]);
}

#[test]
fn an_unknown_drill_is_named() {
    let home = Home::new();
    for args in [
        &["story", "20200101-000000-nothing"][..],
        &["drill", "show", "20200101-000000-nothing"],
        &["postmortem", "draft", "20200101-000000-nothing"],
    ] {
        let said = message(&home.run(args), USAGE);
        assert_says(&said, &["20200101-000000-nothing", "there are no drills yet"]);
    }
    assert_says(&message(&home.run(&["story", "last"]), USAGE), &["no drills yet"]);
}

#[test]
fn a_bad_seat_or_role_is_explained() {
    let home = Home::new();
    let said = message(&home.run(&["kubeconfig", "--seat", "Pika Seven"]), USAGE);
    assert_says(&said, &["Pika Seven", "small letters and digits"]);
    let said = message(
        &home.run(&["kubeconfig", "--seat", "pika7", "--role", "operater"]),
        USAGE,
    );
    assert_says(&said, &["operater", "did you mean operator?"]);
}

#[test]
fn what_needs_a_running_system_says_how_to_start_one() {
    let home = Home::new();
    for args in [
        &["kubeconfig"][..],
        &["kubeconfig", "--seat", "pika7"],
        &["drill", "end"],
    ] {
        assert_says(&message(&home.run(args), COMPONENT), &["hikeshi up"]);
    }
}
