use serde_json::{Value, json};

use super::*;

pub(crate) const BUILT_IN: Shape<'static> = Shape::Named { parent: "", name: "" };

pub(crate) fn by(manager: &str) -> Writer<'_> {
    Writer {
        manager,
        api_version: "apps/v1",
        subresource: None,
        now: "2026-01-01T00:00:00Z",
    }
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "1"}}, "template": {"spec": {"containers": [
            {"name": "web", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}], "command": ["x"]}]}}}})
}

#[test]
fn fields_are_named_as_kubernetes_names_them() {
    let fields = all(&deployment(), BUILT_IN);
    assert_eq!(
        fields.write(),
        json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}, "f:selector": {},
            "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:command": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}}}})
    );
    assert_eq!(Fields::read(&fields.write()).unwrap(), fields);
    let paths = fields.paths();
    let port =
        ".spec.template.spec.containers[name=\"web\"].ports[containerPort=80,protocol=\"TCP\"].containerPort";
    for path in [".metadata.labels.a", ".spec.selector", port] {
        assert!(paths.iter().any(|p| p == path), "{path}: {paths:?}");
    }
}

#[test]
fn a_change_moves_the_field_to_whoever_changed_it() {
    let mut made = deployment();
    record(None, &mut made, BUILT_IN, &by("kubectl-create"));
    let mut scaled = made.clone();
    scaled["spec"]["replicas"] = json!(7);
    let mut writer = by("kubectl");
    (writer.subresource, writer.now) = (Some("scale"), "2026-01-02T00:00:00Z");
    record(Some(&made), &mut scaled, BUILT_IN, &writer);
    let [first, second] = &entries(&scaled).unwrap()[..] else {
        panic!("two writers: {scaled}");
    };
    assert!(!first.fields.paths().contains(&".spec.replicas".to_owned()));
    assert_eq!(second.fields.paths(), [".spec.replicas"]);
    assert_eq!(
        second.described(),
        "\"kubectl\" with subresource \"scale\" using apps/v1 at 2026-01-02T00:00:00Z"
    );
    let mut bare = scaled.clone();
    bare["spec"].as_object_mut().unwrap().remove("replicas");
    record(Some(&scaled), &mut bare, BUILT_IN, &by("kubectl-edit"));
    // Nobody owns what is no more; who only removes owns nothing.
    assert_eq!(entries(&bare).unwrap().len(), 1);
}

#[test]
fn a_write_that_changes_nothing_leaves_no_trace() {
    let mut made = deployment();
    record(None, &mut made, BUILT_IN, &by("a"));
    let mut again = made.clone();
    record(Some(&made), &mut again, BUILT_IN, &by("b"));
    assert_eq!(again, made);
}

#[test]
fn a_client_may_make_the_server_forget() {
    let mut made = deployment();
    record(None, &mut made, BUILT_IN, &by("a"));
    let mut forgotten = made.clone();
    forgotten["metadata"]["managedFields"] = json!([{}]);
    record(Some(&made), &mut forgotten, BUILT_IN, &by("b"));
    assert_eq!(forgotten["metadata"].get("managedFields"), None);
    let mut broken = made.clone();
    broken["metadata"]["managedFields"] = json!([{"operation": "Guess"}]);
    record(Some(&made), &mut broken, BUILT_IN, &by("b"));
    assert_eq!(broken, made);
}

#[test]
fn many_writers_become_ancient() {
    let mut object = deployment();
    record(None, &mut object, BUILT_IN, &by("0"));
    for n in 1..30 {
        let old = object.clone();
        object["metadata"]["labels"][format!("l{n}")] = json!("x");
        let (manager, now) = (n.to_string(), format!("2026-01-01T00:00:{n:02}Z"));
        let mut writer = by(&manager);
        writer.now = &now;
        record(Some(&old), &mut object, BUILT_IN, &writer);
    }
    let entries = entries(&object).unwrap();
    assert!(entries.len() <= MOST_UPDATERS, "{}", entries.len());
    let mut owned = Fields::default();
    entries.iter().for_each(|entry| owned.add(&entry.fields));
    assert_eq!(owned, all(&object, BUILT_IN), "no field is lost");
    assert!(entries.iter().any(|entry| entry.manager == ANCIENT));
}

#[test]
fn a_definition_says_how_its_lists_and_maps_behave() {
    let schema = json!({"properties": {"spec": {"properties": {
        "hoses": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["colour"],
            "items": {"properties": {"colour": {"type": "string"}}}},
        "tags": {"x-kubernetes-list-type": "set"},
        "plain": {"type": "array"},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic"}}}}});
    let object = json!({"spec": {"hoses": [{"colour": "red", "m": 5}], "tags": ["a"], "plain": [1], "whole": {"a": 1}}});
    assert_eq!(
        all(&object, Shape::Schema(&schema)).paths(),
        [
            ".spec.hoses[colour=\"red\"]",
            ".spec.hoses[colour=\"red\"].colour",
            ".spec.hoses[colour=\"red\"].m",
            ".spec.plain",
            ".spec.tags[=\"a\"]",
            ".spec.whole"
        ]
    );
}
