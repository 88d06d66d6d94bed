use super::*;

fn object(name: &str, n: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "a"}, "n": n})
}

fn put(store: &Store, name: &str, n: u64) -> u64 {
    store.write(|view| revision_of(&view.put("things", "a", name, object(name, n)).unwrap()))
}

#[test]
fn a_restart_finds_everything_acknowledged_at_any_truncation() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for n in 0..40 {
        put(&store, &format!("x{}", n % 7), n);
        if n % 5 == 4 {
            store.write(|view| view.delete("things", "a", &format!("x{}", n % 7)).unwrap());
        }
    }
    let bytes = fs::read(dir.path().join("objects.jsonl")).unwrap();
    // Opening syncs the disk: every cut in the last lines, and some in the rest.
    for cut in (0..bytes.len())
        .step_by(61)
        .chain(bytes.len() - 150..=bytes.len())
    {
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join("objects.jsonl"), &bytes[..cut]).unwrap();
        let again = Store::open(copy.path()).unwrap();
        // What whole lines say, and nothing else.
        let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
        let revision = again.read(View::revision);
        assert_eq!(revision as usize, whole.max(1), "cut at {cut}");
        for object in again.list("things", None).1 {
            assert!(revision_of(&object) <= revision);
        }
    }
}

#[test]
fn the_revision_survives_deletions_and_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    put(&store, "x", 1);
    store.write(|view| view.delete("things", "a", "x").unwrap());
    let before = store.read(View::revision);
    drop(store);
    for _ in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.read(View::revision), before);
        assert!(store.list("things", None).1.is_empty());
    }
}

#[test]
fn a_damaged_middle_line_is_refused_by_number() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("objects.jsonl"),
        "{\"rv\":1}\nnonsense\n{\"rv\":2}\n",
    )
    .unwrap();
    let error = Store::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn history_resumes_exactly_after_the_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = put(&store, "x", 1);
    let second = put(&store, "x", 2);
    let changes = store.since(first).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].kind, revision_of(&changes[0].object)),
        (ChangeKind::Modified, second)
    );
    assert!(store.since(second).unwrap().is_empty());
    assert!(store.since(0).is_err());
    assert!(store.since(second + 1).is_err());
}

#[test]
fn events_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for n in 0..MAX_EVENTS as u64 + 10 {
        store.write(|view| view.put("events", "a", &format!("e{n}"), object("e", n)).unwrap());
    }
    let (_, events) = store.list("events", None);
    assert_eq!(events.len(), MAX_EVENTS);
    assert!(events.iter().all(|e| e["n"].as_u64().unwrap() >= 10));
    assert_eq!(store.expire_events("9999").unwrap(), MAX_EVENTS);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Whatever was written, a log cut at any byte of its tail holds exactly what its whole lines say.
    #[test]
    fn a_tail_cut_anywhere_is_dropped(ops in proptest::collection::vec((0u8..4, proptest::prelude::any::<bool>()), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("objects.jsonl");
        let store = Store::open(dir.path()).unwrap();
        // The state after each line: the head line, then one per operation that changed something.
        let mut states = vec![(1, BTreeMap::new())];
        for (n, (key, delete)) in ops.iter().enumerate() {
            let name = format!("k{key}");
            let (revision, mut state) = states.last().unwrap().clone();
            let changed = store.write(|view| if *delete {
                view.delete("things", "a", &name).unwrap().is_some()
            } else {
                view.put("things", "a", &name, object(&name, n as u64)).unwrap();
                true
            });
            if changed {
                if *delete { state.remove(&name); } else { state.insert(name, n as u64); }
                states.push((revision + 1, state));
            }
        }
        let bytes = fs::read(&path).unwrap();
        let torn = dir.path().join("torn.jsonl");
        let tail = bytes.len().saturating_sub(300);
        for cut in tail..=bytes.len() {
            fs::write(&torn, &bytes[..cut]).unwrap();
            let (revision, objects) = read_log(&torn).unwrap();
            let whole = bytes[..cut].iter().filter(|b| **b == b'\n').count();
            let found: BTreeMap<String, u64> = objects
                .get("things")
                .into_iter()
                .flatten()
                .map(|((_, name), object)| (name.clone(), object["n"].as_u64().unwrap()))
                .collect();
            let wanted = &states[whole.max(1) - 1];
            proptest::prop_assert_eq!((&revision, &found), (&wanted.0, &wanted.1), "cut at {}", cut);
        }
    }
}
