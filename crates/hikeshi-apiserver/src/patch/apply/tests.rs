use serde_json::{Value, json};

use super::*;
use crate::managed::tests::{BUILT_IN, by};

fn deployment(env: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a": "1"}},
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1", "env": env}]}}}})
}

fn tried(live: &Value, applied: &Value, manager: &str, force: bool) -> ApiResult<Value> {
    apply(live, applied, BUILT_IN, Part::Main, &by(manager), force)
}

fn applied(live: &Value, applied: &Value, manager: &str) -> Value {
    tried(live, applied, manager, false).unwrap()
}

fn replicas(n: u64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": n}})
}

#[test]
fn what_a_manager_leaves_out_is_removed() {
    let two = deployment(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]));
    let live = applied(&Value::Null, &two, "me");
    let one = deployment(json!([{"name": "B", "value": "2"}]));
    let out = applied(&live, &one, "me");
    let env = &out["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(*env, json!([{"name": "B", "value": "2"}]));
    let mut bare = one;
    bare["metadata"] = json!({"name": "web"});
    assert_eq!(applied(&out, &bare, "me")["metadata"].get("labels"), None);
}

#[test]
fn an_apply_that_speaks_of_no_metadata_leaves_it_alone() {
    let mut live = applied(&Value::Null, &deployment(json!([])), "me");
    live["metadata"]["finalizers"] = json!(["a.example/x"]);
    for metadata in [None, Some(Value::Null)] {
        let mut said = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}});
        if let Some(metadata) = metadata {
            said["metadata"] = metadata;
        }
        let out = applied(&live, &said, "you");
        assert_eq!(out["metadata"]["labels"], json!({"a": "1"}));
        assert_eq!(out["metadata"]["finalizers"], json!(["a.example/x"]));
        assert_eq!(out["spec"]["replicas"], 3);
    }
}

#[test]
fn what_others_own_stays_though_left_out() {
    let first = applied(
        &Value::Null,
        &deployment(json!([{"name": "A", "value": "1"}])),
        "me",
    );
    // The same value: both own it.
    let mut both = applied(&first, &deployment(json!([{"name": "A", "value": "1"}])), "you");
    both["spec"]["replicas"] = json!(7);
    managed::record(Some(&first), &mut both, BUILT_IN, &by("kubectl-edit"));
    let mut less = deployment(json!([]));
    less["spec"]["template"]["spec"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("env");
    let out = applied(&both, &less, "me");
    assert_eq!(out["spec"]["replicas"], 7);
    let env = &out["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env[0]["name"], "A");
}

#[test]
fn anothers_field_is_refused_in_kubernetes_words() {
    let live = applied(&Value::Null, &replicas(3), "other");
    let error = tried(&live, &replicas(4), "me", false).unwrap_err();
    assert_eq!((error.code, error.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"other\": .spec.replicas"
    );
    assert_eq!(
        error.details["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"other\"", "field": ".spec.replicas"}])
    );
    let mut two = replicas(4);
    two["spec"]["paused"] = json!(true);
    let live = applied(&live, &two_of(&two, 3), "other");
    two["spec"]["paused"] = json!(false);
    let error = tried(&live, &two, "me", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"other\":\n- .spec.paused\n- .spec.replicas"
    );
}

fn two_of(object: &Value, replicas: u64) -> Value {
    let mut object = object.clone();
    object["spec"]["replicas"] = replicas.into();
    object
}

#[test]
fn force_takes_the_field_over() {
    let live = applied(&Value::Null, &replicas(3), "other");
    let out = tried(&live, &replicas(4), "me", true).unwrap();
    assert_eq!(out["spec"]["replicas"], 4);
    let owners: Vec<String> = managed::entries(&out)
        .unwrap()
        .into_iter()
        .map(|e| e.manager)
        .collect();
    assert_eq!(owners, ["me"], "who owns nothing more has no entry");
    tried(&out, &replicas(3), "other", false).unwrap_err();
}

#[test]
fn who_wrote_without_applying_owns_as_well() {
    let live = applied(&Value::Null, &replicas(3), "me");
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(5);
    managed::record(Some(&live), &mut scaled, BUILT_IN, &by("kubectl-edit"));
    let error = tried(&scaled, &replicas(3), "me", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using apps/v1 at 2026-01-01T00:00:00Z: .spec.replicas"
    );
    // What is as it is wanted is no conflict.
    tried(&scaled, &replicas(5), "me", false).unwrap();
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let config = deployment(json!([{"name": "A", "value": "1"}]));
    let once = applied(&Value::Null, &config, "me");
    let later = Writer {
        now: "2027-01-01T00:00:00Z",
        ..by("me")
    };
    assert_eq!(
        apply(&once, &config, BUILT_IN, Part::Main, &later, false).unwrap(),
        once
    );
}

#[test]
fn status_is_owned_only_through_its_own_path() {
    let mut object = replicas(1);
    object["status"] = json!({"replicas": 9});
    let out = applied(&Value::Null, &object, "me");
    assert_eq!(out.get("status"), None);
    let part = Part::of(Status::Split, true);
    let out = apply(&out, &object, BUILT_IN, part, &by("me"), false).unwrap();
    assert_eq!(out["status"]["replicas"], 9);
}

#[test]
fn custom_resources_replace_lists() {
    let object = |names: Value| json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"containers": names}});
    let apply = |live: &Value, object: &Value| apply(live, object, Shape::Plain, Part::All, &by("me"), false);
    let live = apply(&Value::Null, &object(json!([{"name": "a"}, {"name": "b"}]))).unwrap();
    let out = apply(&live, &object(json!([{"name": "b"}]))).unwrap();
    assert_eq!(out["spec"]["containers"], json!([{"name": "b"}]));
}

#[test]
fn the_applied_order_holds_and_elements_need_a_name() {
    let live = deployment(json!([{"name": "A"}, {"name": "X"}, {"name": "B"}]));
    let out = applied(
        &live,
        &deployment(json!([{"name": "B"}, {"name": "A"}, {"name": "C"}])),
        "me",
    );
    let env = out["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let names: Vec<&str> = env.iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["B", "A", "X", "C"]);
    let error = tried(&live, &deployment(json!([{"value": "1"}])), "me", false).unwrap_err();
    assert!(
        error.message.contains("omits key field \"name\""),
        "{}",
        error.message
    );
    let error = tried(
        &live,
        &deployment(json!([{"name": "A"}, {"name": "A"}])),
        "me",
        false,
    )
    .unwrap_err();
    assert!(error.message.contains("duplicate entries"), "{}", error.message);
}
