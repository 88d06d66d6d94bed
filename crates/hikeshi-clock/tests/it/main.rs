//! Real programs with the library put before the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Built beside this test.
fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let library = own.with_file_name("libhikeshi_clock.so");
    assert!(library.exists(), "{} was not built", library.display());
    library
}

/// Seconds on CLOCK_MONOTONIC.
fn monotonic() -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec
}

fn seconds(program: &[&str], file: &Path) -> i64 {
    let output = Command::new(program[0])
        .args(&program[1..])
        .env("LD_PRELOAD", library())
        .env("HIKESHI_CLOCK", file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let number: f64 = text
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{text:?}, {}", String::from_utf8_lossy(&output.stderr)));
    number as i64
}

#[test]
fn the_time_of_day_moves_while_the_lease_holds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    let write = |offset: i64, until: i64| {
        let numbers = [offset * 1_000_000_000, until * 1_000_000_000];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        fs::write(&file, bytes).unwrap();
    };
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let date = ["date", "+%s"];
    let python = ["python3", "-c", "import time; print(time.time())"];
    for program in [&date[..], &python] {
        let moved = |offset: i64| (seconds(program, &file) - now() - offset).abs() <= 5;
        write(-3_600, monotonic() + 1_000);
        assert!(moved(-3_600), "{program:?} an hour back");
        write(86_400, monotonic() + 1_000);
        assert!(moved(86_400), "{program:?} a day on");
        write(86_400, monotonic() - 10);
        assert!(moved(0), "{program:?} when nobody renews it");
        write(0, monotonic() + 1_000);
        assert!(moved(0), "{program:?} without an offset");
    }
    let none = folder.path().join("none");
    assert!((seconds(&date, &none) - now()).abs() <= 5, "without a file");
    let elapsed = "import time; a=time.monotonic(); print(time.monotonic()-a)";
    write(86_400, monotonic() + 1_000);
    assert_eq!(
        seconds(&["python3", "-c", elapsed], &file),
        0,
        "timers are left alone"
    );
}
