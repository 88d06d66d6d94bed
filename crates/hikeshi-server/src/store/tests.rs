use hikeshi_drill::event::Actor;
use jiff::Timestamp;

use super::*;

fn event(seq: u64, kind: EventKind) -> Event {
    Event {
        v: LOG_VERSION,
        seq,
        at: Timestamp::from_second(1_700_000_000 + seq as i64).unwrap(),
        kind,
    }
}

fn started() -> Event {
    event(
        1,
        EventKind::DrillStarted {
            drill: "d1".into(),
            scenario: "timelines-stop-updating".into(),
            system: "chirpy".into(),
            slo_clock: 1.0,
            rehearsal: false,
            seed: 7,
        },
    )
}

fn taken(seq: u64) -> Event {
    let actor = Actor {
        name: format!("言葉{seq}\n\"x\""),
        seat: "operator".into(),
        npc: false,
    };
    event(seq, EventKind::SeatTaken { actor })
}

fn three() -> Vec<Event> {
    vec![started(), taken(2), taken(3)]
}

#[tokio::test]
async fn what_is_appended_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = DrillLog::create(dir.path(), "d1").unwrap();
    log.append(&three()).await.unwrap();
    log.append(&[]).await.unwrap();
    log.append(&[taken(4)]).await.unwrap();
    assert_eq!(read(dir.path(), "d1").unwrap().len(), 4);
    drop(log);
    let (log, events) = DrillLog::open(dir.path(), "d1").unwrap();
    assert_eq!(events[..3], three());
    log.append(&[taken(5)]).await.unwrap();
    assert_eq!(read(dir.path(), "d1").unwrap().len(), 5);
}

#[tokio::test]
async fn a_log_cut_at_any_byte_keeps_every_whole_line_and_goes_on() {
    let whole = encode(&three()).unwrap();
    for cut in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        let log = DrillLog::create(dir.path(), "d1").unwrap();
        drop(log);
        let path = dir.path().join("d1").join(LOG_FILE);
        fs::write(&path, &whole[..cut]).unwrap();
        let (log, events) = DrillLog::open(dir.path(), "d1").unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        let lines = whole[..cut].iter().filter(|b| **b == b'\n').count();
        assert_eq!(events, three()[..lines], "cut at {cut}");
        let next = lines as u64 + 1;
        log.append(&[taken(next)]).await.unwrap();
        assert_eq!(read(dir.path(), "d1").unwrap().len(), lines + 1, "cut at {cut}");
    }
}

#[test]
fn garbage_at_the_end_is_cut_and_garbage_before_good_lines_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(DrillLog::create(dir.path(), "d1").unwrap());
    let path = dir.path().join("d1").join(LOG_FILE);
    let mut bytes = encode(&three()[..2]).unwrap();
    bytes.extend_from_slice(b"\0\0\0\0\n\0\0\n");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(DrillLog::open(dir.path(), "d1").unwrap().1.len(), 2);
    bytes.extend(encode(&[taken(3)]).unwrap());
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        DrillLog::open(dir.path(), "d1"),
        Err(StoreError::Damaged { line: 3, .. })
    ));
}

#[test]
fn a_gap_a_newer_version_and_an_unknown_kind_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    drop(DrillLog::create(dir.path(), "d1").unwrap());
    let path = dir.path().join("d1").join(LOG_FILE);
    let first = String::from_utf8(encode(&[started()]).unwrap()).unwrap();
    let write = |second: &str| fs::write(&path, format!("{first}{second}\n")).unwrap();
    write(r#"{"v":99,"seq":2,"at":"2026-01-01T00:00:00Z","kind":"telepathy"}"#);
    assert!(matches!(
        read(dir.path(), "d1"),
        Err(StoreError::Newer {
            line: 2,
            found: 99,
            ..
        })
    ));
    write(r#"{"v":1,"seq":2,"at":"2026-01-01T00:00:00Z","kind":"telepathy"}"#);
    assert!(matches!(
        read(dir.path(), "d1"),
        Err(StoreError::Damaged { line: 2, .. })
    ));
    write(r#"{"v":1,"seq":3,"at":"2026-01-01T00:00:00Z","kind":"drill_ended","reason":"x"}"#);
    assert!(matches!(
        read(dir.path(), "d1"),
        Err(StoreError::Damaged { line: 2, .. })
    ));
}

#[tokio::test]
async fn sequence_numbers_have_no_gaps_and_nothing_is_written_of_a_refused_append() {
    let dir = tempfile::tempdir().unwrap();
    let log = DrillLog::create(dir.path(), "d1").unwrap();
    log.append(&[started()]).await.unwrap();
    for wrong in [vec![taken(1)], vec![taken(3)], vec![taken(2), taken(4)]] {
        assert!(matches!(log.append(&wrong).await, Err(StoreError::Gap { .. })));
    }
    log.append(&[taken(2)]).await.unwrap();
    assert_eq!(read(dir.path(), "d1").unwrap().len(), 2);
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = DrillLog::create(dir.path(), "d1").unwrap();
    assert!(matches!(
        DrillLog::open(dir.path(), "d1"),
        Err(StoreError::Locked(_))
    ));
    drop(log);
    assert!(DrillLog::open(dir.path(), "d1").is_ok());
    assert!(matches!(
        DrillLog::create(dir.path(), "d1"),
        Err(StoreError::Exists(_))
    ));
    assert!(matches!(
        DrillLog::open(dir.path(), "d2"),
        Err(StoreError::NoSuchDrill { .. })
    ));
    for bad in ["", "../x", "A", "a/b", "."] {
        assert!(
            matches!(DrillLog::create(dir.path(), bad), Err(StoreError::BadId(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn drills_are_listed_newest_first_and_unreadable_ones_do_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(list(&dir.path().join("none")).unwrap(), []);
    for (id, at, end) in [("old", 1, true), ("new", 2, false)] {
        drop(DrillLog::create(dir.path(), id).unwrap());
        let mut events = vec![Event {
            at: Timestamp::from_second(at).unwrap(),
            ..started()
        }];
        if end {
            events.push(event(
                2,
                EventKind::DrillEnded {
                    reason: "resolved".into(),
                },
            ));
        }
        fs::write(dir.path().join(id).join(LOG_FILE), encode(&events).unwrap()).unwrap();
    }
    drop(DrillLog::create(dir.path(), "empty").unwrap());
    drop(DrillLog::create(dir.path(), "broken").unwrap());
    fs::write(dir.path().join("broken").join(LOG_FILE), "{\"v\":1,\"seq\":9}\n").unwrap();
    fs::write(dir.path().join("stray"), "").unwrap();
    let found = list(dir.path()).unwrap();
    let seen: Vec<_> = found.iter().map(|d| (d.id.as_str(), d.ended)).collect();
    assert_eq!(seen, [("new", false), ("old", true)]);
}

/// `/dev/full` answers every write as a full disk does.
#[tokio::test]
async fn a_full_disk_is_told_and_the_same_events_go_in_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let log = DrillLog::create(dir.path(), "d1").unwrap();
    log.append(&[started()]).await.unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let real = std::mem::replace(&mut log.writer.lock().unwrap().file, full);
    let error = log.append(&[taken(2)]).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    log.writer.lock().unwrap().file = real;
    log.append(&[taken(2)]).await.unwrap();
    assert_eq!(read(dir.path(), "d1").unwrap(), [started(), taken(2)]);
}
