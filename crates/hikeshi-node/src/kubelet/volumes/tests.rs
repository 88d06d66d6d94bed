use super::*;

fn files(list: &[(&str, &str)]) -> Files {
    list.iter()
        .map(|(path, text)| (path.into(), (text.as_bytes().to_vec(), 0o644)))
        .collect()
}

#[test]
fn a_published_volume_changes_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("config");
    publish(&folder, &files(&[("a.conf", "1"), ("deep/b.conf", "2")])).unwrap();
    assert_eq!(fs::read_to_string(folder.join("deep/b.conf")).unwrap(), "2");
    let before = fs::read_link(folder.join("..data")).unwrap();
    publish(&folder, &files(&[("a.conf", "1"), ("deep/b.conf", "2")])).unwrap();
    assert_eq!(fs::read_link(folder.join("..data")).unwrap(), before);
    publish(&folder, &files(&[("a.conf", "3")])).unwrap();
    assert_eq!(fs::read_to_string(folder.join("a.conf")).unwrap(), "3");
    assert!(fs::symlink_metadata(folder.join("deep")).is_err());
    assert!(!folder.join(before).exists());
}

#[test]
fn a_volume_is_never_left() {
    let root = tempfile::tempdir().unwrap();
    assert!(publish(&root.path().join("v"), &files(&[("../evil", "x")])).is_err());
    assert!(sub_folder("v", root.path(), "../evil").is_err());
    sub_folder("v", root.path(), "fine/deep").unwrap();
    assert!(root.path().join("fine/deep").is_dir());
}

#[test]
fn a_link_that_leads_out_of_a_volume_is_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let (volume, outside) = (root.path().join("volume"), root.path().join("outside"));
    for folder in [&volume, &outside] {
        fs::create_dir(folder).unwrap();
    }
    symlink(&outside, volume.join("out")).unwrap();
    symlink(root.path().join("nothing"), volume.join("nowhere")).unwrap();
    for sub_path in ["out", "out/made", "nowhere", "nowhere/made", "/etc"] {
        assert!(sub_folder("v", &volume, sub_path).is_err(), "{sub_path}");
    }
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
    assert!(!root.path().join("nothing").exists());
}

#[test]
fn a_published_file_is_found_by_its_sub_path() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("config");
    publish(&folder, &files(&[("deep/a.conf", "1")])).unwrap();
    sub_folder("v", &folder, "deep/a.conf").unwrap();
    assert!(folder.join("deep/a.conf").is_file());
}

#[test]
fn only_a_folder_of_its_own_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (folder, outside) = (root.path().join("config"), root.path().join("outside"));
    for made in [&folder, &outside] {
        fs::create_dir(made).unwrap();
    }
    fs::write(outside.join("a.conf"), "1").unwrap();
    symlink("../outside", folder.join("..data")).unwrap();
    publish(&folder, &files(&[("a.conf", "1")])).unwrap();
    assert!(outside.join("a.conf").exists());
    assert!(is_stamp(&fs::read_link(folder.join("..data")).unwrap()));
}

#[test]
fn names_that_are_no_folder_are_refused() {
    let volume = |name: &str| Volume {
        name: name.to_owned(),
        ..Volume::default()
    };
    let pod_dir = Path::new("/pods/u1");
    assert_eq!(
        folder_of(pod_dir, &volume("data")).unwrap(),
        Path::new("/pods/u1/volumes/data")
    );
    assert!(folder_of(pod_dir, &volume("../../x")).is_err());
    assert!(folder_of(pod_dir, &volume("..")).is_err());
    assert!(claim_folder(Path::new("/volumes"), "chirpy", "data").is_ok());
    assert!(claim_folder(Path::new("/volumes"), "chirpy", "x/../../etc").is_err());
}

struct NoConfig;

impl ConfigSource for NoConfig {
    fn config_map(&self, _: &str, _: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        None
    }

    fn secret(&self, _: &str, _: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        None
    }
}

#[test]
fn two_containers_cannot_see_different_things_in_one_place() {
    let root = tempfile::tempdir().unwrap();
    let prepared = |second: &str, read_only: bool| {
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"namespace": "ns", "name": "p"}, "spec": {
            "automountServiceAccountToken": false,
            "volumes": [{"name": "one", "emptyDir": {}}, {"name": "two", "emptyDir": {}}],
            "containers": [
                {"name": "a", "volumeMounts": [{"name": "one", "mountPath": "/data", "readOnly": read_only}]},
                {"name": "b", "volumeMounts": [{"name": second, "mountPath": "/data"}]}]}}),
        )
        .unwrap();
        let sources = Sources {
            config: &NoConfig,
            claims: root.path(),
            ca_pem: "",
            token_for: &|_| String::new(),
        };
        prepare(&pod, &root.path().join("pod"), &sources)
    };
    let same = prepared("one", true).unwrap();
    assert_eq!((same.len(), same[0].read_only), (1, false), "{same:?}");
    let refused = prepared("two", false).unwrap_err().to_string();
    assert!(
        refused.contains("\"two\"") && refused.contains("\"b\"") && refused.contains("/data"),
        "{refused}"
    );
}

#[test]
fn a_part_of_a_volume_may_be_named_by_a_variable() {
    let root = tempfile::tempdir().unwrap();
    let prepared = |expression: &str| {
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"namespace": "ns", "name": "p-1"}, "spec": {
            "automountServiceAccountToken": false,
            "volumes": [{"name": "logs", "emptyDir": {}}],
            "containers": [{"name": "a",
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "UP", "value": ".."}],
                "volumeMounts": [{"name": "logs", "mountPath": "/logs", "subPathExpr": expression}]}]}}),
        )
        .unwrap();
        let sources = Sources {
            config: &NoConfig,
            claims: root.path(),
            ca_pem: "",
            token_for: &|_| String::new(),
        };
        prepare(&pod, &root.path().join("pod"), &sources)
    };
    let binds = prepared("of/$(POD)").unwrap();
    assert_eq!(binds[0].sub_path.as_deref(), Some(Path::new("of/p-1")));
    assert!(binds[0].source.join("of/p-1").is_dir());
    for (expression, wanted) in [
        ("$(NODE)", "names a variable"),
        ("$(UP)/x", "must not leave the volume"),
    ] {
        let refused = prepared(expression).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
}
