//! Custom kinds with the real kubectl: their schemas are kept to.

use serde_json::{Value, json};

use crate::support::{Cluster, Kubectl, text, until};

fn define(k: &Kubectl, litres: Value) -> String {
    let spec = json!({"type": "object", "required": ["litres"], "properties": {
        "litres": litres, "mode": {"type": "string", "default": "jet"}}});
    let out = k.with_input(
        &["apply", "-f", "-"],
        &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "pumps.fire.example"},
            "spec": {"group": "fire.example", "scope": "Namespaced", "names": {"plural": "pumps", "singular": "pump", "kind": "Pump"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "properties": {"spec": spec}}}}]}})
        .to_string(),
    );
    format!("{}{}", text(&out.stdout), text(&out.stderr))
}

#[test]
fn objects_are_checked_pruned_and_completed() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    define(&k, json!({"type": "integer", "maximum": 50}));
    // kubectl looks up the kind; the first look may be older than the definition.
    until("the kind", || {
        k.run(&["get", "pumps"]).status.success().then_some(())
    });
    let pump = |spec: Value| {
        json!({"apiVersion": "fire.example/v1", "kind": "Pump", "metadata": {"name": "p"}, "spec": spec})
            .to_string()
    };
    let apply =
        |spec: Value, more: &[&str]| k.with_input(&[&["apply", "-f", "-"], more].concat(), &pump(spec));
    let said = text(&apply(json!({"litres": 51}), &[]).stderr);
    let words = "The Pump \"p\" is invalid: spec.litres: Invalid value: 51: spec.litres in body should be less than or equal to 50";
    assert!(said.contains(words), "{said}");
    let said = text(&apply(json!({"litres": 1, "litre": 2}), &[]).stderr);
    assert!(
        said.contains("strict decoding error: unknown field \"spec.litre\""),
        "{said}"
    );
    let said = text(&apply(json!({"litres": 1, "litre": 2}), &["--validate=warn"]).stderr);
    assert!(said.contains("Warning: unknown field \"spec.litre\""), "{said}");
    assert_eq!(
        k.json(&["get", "pump", "p"])["spec"],
        json!({"litres": 1, "mode": "jet"})
    );
    let said = k.fails(&[
        "patch",
        "pump",
        "p",
        "--type=merge",
        "-p",
        "{\"spec\":{\"litres\":\"x\"}}",
    ]);
    assert!(said.contains("must be of type integer"), "{said}");
    // Stricter now: what is there may stay as it is, and no worse.
    define(&k, json!({"type": "integer", "minimum": 10}));
    k.ok(&["label", "pump", "p", "kept=yes"]);
    k.fails(&[
        "patch",
        "pump",
        "p",
        "--type=merge",
        "-p",
        "{\"spec\":{\"litres\":2}}",
    ]);
}

#[test]
fn a_definition_says_what_of_it_is_not_done() {
    let cluster = Cluster::start();
    let k = cluster.admin();
    let rules = json!([{"rule": "self > 3"}]);
    let said = define(&k, json!({"type": "integer", "x-kubernetes-validations": rules}));
    assert!(
        said.contains("Warning: ") && said.contains("rules are not evaluated here"),
        "{said}"
    );
    assert!(said.contains("created"), "{said}");
    let said = define(&k, json!({"type": "int"}));
    let words = "properties[spec].properties[litres].type: Unsupported value: \"int\"";
    assert!(said.contains(words), "{said}");
}
