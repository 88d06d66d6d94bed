use serde_json::{Value, json};

use super::*;

fn pump() -> Value {
    json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["litres"], "properties": {
        "litres": {"type": "integer", "minimum": 1, "maximum": 100},
        "mode": {"type": "string", "enum": ["jet", "mist"], "default": "jet"},
        "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "hoses": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["colour"],
            "items": {"type": "object", "properties": {"colour": {"type": "string"}, "metres": {"type": "number", "default": 5}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": true},
        "note": {"type": "string", "nullable": true},
        "since": {"type": "string", "format": "date-time"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "integer"}}},
        "either": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}}}})
}

fn said(spec: Value) -> Vec<String> {
    let causes = causes(
        &pump(),
        &json!({"apiVersion": "f/v1", "kind": "Pump", "metadata": {}, "spec": spec}),
    );
    causes
        .into_iter()
        .map(|(field, message)| format!("{field}: {message}"))
        .collect()
}

#[test]
fn what_is_right_passes() {
    let spec = json!({"litres": 40, "mode": "mist", "name": "abc", "hoses": [{"colour": "red", "metres": 2.5}], "labels": {"a": "b"},
        "port": "http", "note": null, "since": "2026-01-01T00:00:00Z", "free": {"a": 1, "b": [2]}, "either": {"a": 1}});
    assert_eq!(said(spec), Vec::<String>::new());
    assert_eq!(said(json!({"litres": 1.0, "port": 80})), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_named_in_kubernetes_words() {
    let cases = [
        (json!({}), "spec.litres: Required value"),
        (
            json!({"litres": "x"}),
            "spec.litres: Invalid value: \"string\": spec.litres in body must be of type integer: \"string\"",
        ),
        (
            json!({"litres": 1.5}),
            "spec.litres: Invalid value: \"number\": spec.litres in body must be of type integer: \"number\"",
        ),
        (
            json!({"litres": 0}),
            "spec.litres: Invalid value: 0: spec.litres in body should be greater than or equal to 1",
        ),
        (
            json!({"litres": 101}),
            "spec.litres: Invalid value: 101: spec.litres in body should be less than or equal to 100",
        ),
        (
            json!({"litres": 1, "mode": "flood"}),
            "spec.mode: Unsupported value: \"flood\": supported values: \"jet\", \"mist\"",
        ),
        (
            json!({"litres": 1, "name": "a"}),
            "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long",
        ),
        (
            json!({"litres": 1, "name": "abcde"}),
            "spec.name: Too long: may not be more than 4 bytes",
        ),
        (
            json!({"litres": 1, "name": "A1"}),
            "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
        ),
        (
            json!({"litres": 1, "hoses": [{"colour": "red"}, {"colour": "red"}]}),
            "spec.hoses[1]: Duplicate value: {\"colour\":\"red\"}",
        ),
        (
            json!({"litres": 1, "hoses": [{"colour": "a"}, {"colour": "b"}, {"colour": "c"}]}),
            "spec.hoses: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"litres": 1, "labels": {"a": 1}}),
            "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
        ),
        (
            json!({"litres": 1, "port": true}),
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"litres": 1, "name": null}),
            "spec.name: Invalid value: \"null\": spec.name in body must be of type string: \"null\"",
        ),
        (
            json!({"litres": 1, "since": "noon"}),
            "spec.since: Invalid value: \"noon\": spec.since in body must be of type date-time: \"noon\"",
        ),
        (
            json!({"litres": 1, "either": {}}),
            "spec.either: Invalid value: \"\": \"spec.either\" must validate one and only one schema (oneOf). Found none valid",
        ),
    ];
    for (spec, words) in cases {
        assert_eq!(said(spec.clone()), [words], "{spec}");
    }
    assert_eq!(
        causes(&pump(), &json!({"kind": "Pump"})),
        [("spec".to_owned(), "Required value".to_owned())]
    );
}

#[test]
fn unknown_fields_go_unless_they_are_to_be_kept() {
    let mut object = json!({"apiVersion": "f/v1", "kind": "Pump", "metadata": {"name": "p"}, "extra": 1,
        "spec": {"litres": 1, "litre": 2, "hoses": [{"colour": "red", "length": 3}], "labels": {"any": "x"}, "free": {"b": 1}}});
    assert_eq!(
        prune(&pump(), &mut object),
        ["extra", "spec.hoses[0].length", "spec.litre"]
    );
    assert_eq!(
        object["spec"],
        json!({"litres": 1, "hoses": [{"colour": "red"}], "labels": {"any": "x"}, "free": {"b": 1}})
    );
    assert_eq!(object["metadata"]["name"], "p");
}

#[test]
fn defaults_reach_into_lists_and_replace_forbidden_nulls() {
    let mut object = json!({"spec": {"litres": 1, "mode": null, "hoses": [{"colour": "red"}]}});
    fill(&pump(), &mut object);
    assert_eq!(
        object["spec"],
        json!({"litres": 1, "mode": "jet", "hoses": [{"colour": "red", "metres": 5}]})
    );
}

fn definition(schema: Value) -> Value {
    json!({"versions": [{"name": "v1", "storage": true, "schema": {"openAPIV3Schema": schema}}]})
}

#[test]
fn a_null_that_is_not_allowed_stands_for_nothing() {
    let schema = json!({"type": "object", "properties": {"note": {"type": "string"},
        "kept": {"type": "string", "nullable": true}}});
    let mut object = json!({"note": null, "kept": null});
    fill(&schema, &mut object);
    assert_eq!(object, json!({"kept": null}));
    assert!(causes(&schema, &object).is_empty());
}

#[test]
fn a_definition_that_cannot_be_checked_is_refused_by_its_field() {
    assert_eq!(definition::causes(&definition(pump())), []);
    let fields = |schema: Value| -> Vec<String> {
        let causes = definition::causes(&definition(schema));
        causes.into_iter().map(|(field, _)| field).collect()
    };
    let root = "spec.versions[0].schema.openAPIV3Schema";
    let inside = |spec: Value| json!({"type": "object", "properties": {"spec": spec}});
    assert_eq!(
        fields(inside(json!({}))),
        [format!("{root}.properties[spec].type")]
    );
    assert_eq!(
        fields(inside(json!({"type": "int"}))),
        [format!("{root}.properties[spec].type")]
    );
    let pattern = json!({"type": "string", "pattern": "("});
    assert_eq!(
        fields(inside(pattern)),
        [format!("{root}.properties[spec].pattern")]
    );
    assert_eq!(fields(Value::Null), [root]);
}

#[test]
fn rules_that_are_not_evaluated_are_warned_of() {
    let mut spec = definition(pump());
    assert_eq!(definition::warnings(&spec), Vec::<String>::new());
    let schema = &mut spec["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["x-kubernetes-validations"] = json!([{"rule": "self.litres > 3"}]);
    assert_eq!(
        definition::warnings(&spec),
        [
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations: rules are not evaluated here"
        ]
    );
}
