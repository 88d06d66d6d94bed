use hikeshi_slo::Cujs;

use super::*;
use crate::manifest::read;

const TALK: &str = "kind: HTTPChaos\napiVersion: chaos-mesh.org/v1alpha1\nmetadata:\n  name: http-delay\nspec:\n  \
    selector:\n    namespaces: [default]\n    labelSelectors: {app: nginx-app}\n  mode: all\n  target: Response\n  \
    port: 80\n  path: '*'\n  delay: 1s\n";

fn cujs() -> Cujs {
    hikeshi_slo::parse("cujs.yaml", include_str!("../../../../systems/chirpy/cujs.yaml")).unwrap()
}

fn target() -> Target {
    Target {
        cluster: "prod".into(),
        account: "111122223333".into(),
        region: "ap-northeast-1".into(),
        alarms: Vec::new(),
        examples: Vec::new(),
    }
}

fn exported(text: &str, target: &Target) -> Result<Export, Vec<Text>> {
    let reading = read(text, &cujs(), 1.0, "default");
    export(
        &reading
            .manifest
            .unwrap_or_else(|| panic!("{:?}", reading.problems)),
        target,
    )
}

fn file<'a>(export: &'a Export, name: &str) -> &'a str {
    &export.files.iter().find(|file| file.name == name).unwrap().text
}

fn template_of(export: &Export) -> Value {
    serde_json::from_str(file(export, "experiment-template.json")).unwrap()
}

/// A text as the FIS API limits it: between `min` and `max` characters, without white space unless `spaces`.
fn text(value: &Value, min: usize, max: usize, spaces: bool) {
    let text = value.as_str().unwrap_or_else(|| panic!("no text: {value}"));
    let count = text.chars().count();
    assert!((min..=max).contains(&count), "{count} characters: {text}");
    assert!(
        spaces || !text.contains(char::is_whitespace),
        "white space: {text}"
    );
}

fn only(value: &Value, known: &[&str], needed: &[&str]) {
    let map = value
        .as_object()
        .unwrap_or_else(|| panic!("no structure: {value}"));
    for key in map.keys() {
        assert!(known.contains(&key.as_str()), "unknown field {key}");
    }
    for key in needed {
        assert!(map.contains_key(*key), "{key} is missing");
    }
}

/// CreateExperimentTemplateRequest of the FIS API, 2020-12-01: fields, what is required, lengths, patterns. The client
/// token is added by whoever sends it.
fn must_be_a_template(template: &Value) {
    let known = [
        "description",
        "stopConditions",
        "targets",
        "actions",
        "roleArn",
        "tags",
        "logConfiguration",
        "experimentOptions",
        "experimentReportConfiguration",
        "clientToken",
    ];
    only(
        template,
        &known,
        &["description", "stopConditions", "actions", "roleArn"],
    );
    text(&template["description"], 0, 512, true);
    text(&template["roleArn"], 20, 2_048, false);
    for stop in template["stopConditions"].as_array().unwrap() {
        only(stop, &["source", "value"], &["source"]);
        text(&stop["source"], 1, 64, false);
        match stop["source"].as_str() {
            Some("none") => assert!(stop.get("value").is_none()),
            Some("aws:cloudwatch:alarm") => text(&stop["value"], 20, 2_048, true),
            other => panic!("no such source: {other:?}"),
        }
    }
    let targets = template["targets"].as_object().unwrap();
    for (name, target) in targets {
        text(&json!(name), 1, 64, false);
        let known = [
            "resourceType",
            "resourceArns",
            "resourceTags",
            "filters",
            "selectionMode",
            "parameters",
        ];
        only(target, &known, &["resourceType", "selectionMode"]);
        assert_eq!(target["resourceType"], "aws:eks:cluster");
        let arns = target["resourceArns"].as_array().unwrap();
        assert!((1..=5).contains(&arns.len()));
        arns.iter().for_each(|arn| text(arn, 20, 2_048, false));
    }
    let actions = template["actions"].as_object().unwrap();
    assert!(!actions.is_empty());
    for (name, action) in actions {
        text(&json!(name), 1, 64, false);
        only(
            action,
            &["actionId", "description", "parameters", "targets", "startAfter"],
            &["actionId"],
        );
        text(&action["description"], 0, 512, true);
        assert_eq!(action["actionId"], "aws:eks:inject-kubernetes-custom-resource");
        let parameters = action["parameters"].as_object().unwrap();
        let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
        let needed = [
            "kubernetesApiVersion",
            "kubernetesKind",
            "kubernetesNamespace",
            "kubernetesSpec",
            "maxDuration",
        ];
        assert!(
            names.len() == needed.len() && needed.iter().all(|name| names.contains(name)),
            "{names:?}"
        );
        parameters.values().for_each(|value| text(value, 1, 1_024, false));
        for (key, value) in action["targets"].as_object().unwrap() {
            assert_eq!(key, "Cluster");
            assert!(targets.contains_key(value.as_str().unwrap()));
        }
    }
    for (key, value) in template["tags"].as_object().unwrap() {
        text(&json!(key), 1, 128, true);
        text(value, 0, 256, true);
    }
}

#[test]
fn the_talks_experiment_becomes_a_whole_template() {
    let export = exported(TALK, &target()).unwrap();
    let template = template_of(&export);
    must_be_a_template(&template);
    let parameters = &template["actions"]["http-delay"]["parameters"];
    // The spec alone, and a duration because FIS needs an end.
    let spec: Value = serde_json::from_str(parameters["kubernetesSpec"].as_str().unwrap()).unwrap();
    assert_eq!((&spec["delay"], &spec["duration"]), (&json!("1s"), &json!("5m")));
    assert!(spec.get("metadata").is_none());
    assert_eq!(parameters["maxDuration"], "PT6M");
    assert_eq!(template["stopConditions"], json!([{"source": "none"}]));
    assert_eq!(
        template["roleArn"],
        "arn:aws:iam::111122223333:role/hikeshi-fis-http-delay"
    );
    assert!(
        export.notes.iter().any(|note| note.en.contains("spec.duration")),
        "{:?}",
        export.notes
    );
}

#[test]
fn both_guides_have_the_same_commands() {
    let export = exported(TALK, &target()).unwrap();
    let commands = |name| -> Vec<&str> {
        let block = file(&export, name)
            .split("```")
            .nth(1)
            .unwrap()
            .trim_start_matches("sh\n");
        block.lines().filter(|line| !line.starts_with('#')).collect()
    };
    assert_eq!(commands("README.md"), commands("README.ja.md"));
    assert_eq!(commands("README.md").len(), 6);
}

#[test]
fn the_role_may_do_this_and_nothing_else() {
    let export = exported(TALK, &target()).unwrap();
    let rbac: Vec<Value> = file(&export, "kubernetes-rbac.yaml")
        .split("---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect();
    assert_eq!(rbac.len(), 2);
    assert_eq!(rbac[0]["rules"][0]["resources"], json!(["httpchaos"]));
    assert_eq!(rbac[0]["rules"][0]["apiGroups"], json!(["chaos-mesh.org"]));
    assert_eq!(rbac[1]["subjects"][0]["name"], GROUP);
    assert_eq!(rbac[1]["roleRef"]["name"], rbac[0]["metadata"]["name"]);
    let mapped: Value = serde_saphyr::from_str(file(&export, "aws-auth-map-roles.yaml")).unwrap();
    assert_eq!(mapped[0]["groups"], json!([GROUP]));
    assert_eq!(mapped[0]["rolearn"], template_of(&export)["roleArn"]);
    let trust: Value = serde_json::from_str(file(&export, "iam-trust-policy.json")).unwrap();
    assert_eq!(trust["Statement"][0]["Principal"]["Service"], "fis.amazonaws.com");
    let may: Value = serde_json::from_str(file(&export, "iam-permissions-policy.json")).unwrap();
    assert_eq!(may["Statement"][0]["Action"], "eks:DescribeCluster");
    assert_eq!(
        may["Statement"][0]["Resource"],
        "arn:aws:eks:ap-northeast-1:111122223333:cluster/prod"
    );
    let granted = export
        .files
        .iter()
        .filter(|file| !file.name.starts_with("README"));
    assert!(
        granted.clone().count() == 5 && granted.clone().all(|file| !file.text.contains("system:masters"))
    );
}

#[test]
fn rights_follow_the_selector_into_other_namespaces() {
    let export = exported(&TALK.replace("[default]", "[a, b]"), &target()).unwrap();
    let rbac = file(&export, "kubernetes-rbac.yaml");
    for namespace in ["a", "b", "default"] {
        assert_eq!(
            rbac.matches(&format!("namespace: {namespace}\n")).count(),
            2,
            "{namespace}: {rbac}"
        );
    }
}

#[test]
fn durations_outside_of_what_fis_can_do_are_said() {
    let with = |duration: &str| exported(&format!("{TALK}  duration: {duration}\n"), &target());
    let max =
        |export: &Export| template_of(export)["actions"]["http-delay"]["parameters"]["maxDuration"].clone();
    let short = with("20s").unwrap();
    assert_eq!(max(&short), "PT2M");
    assert!(short.notes.iter().any(|note| note.en.contains("after 20s")));
    assert_eq!(max(&with("1h29m").unwrap()), "PT1H30M");
    assert_eq!(max(&with("11h59m").unwrap()), "PT12H");
    assert!(with("12h").unwrap_err()[0].en.contains("too long"));
}

#[test]
fn what_cannot_be_carried_is_said_and_what_would_change_the_fault_refused() {
    let annotated = |line: &str| {
        TALK.replace(
            "  name: http-delay\n",
            &format!("  name: http-delay\n  annotations:\n    {line}\n"),
        )
    };
    let refused = exported(&annotated("hikeshi.dev/percent: '1.5'"), &target()).unwrap_err();
    assert!(refused[0].en.contains("every matching request"), "{refused:?}");
    let export = exported(&annotated("hikeshi.dev/guard: 'errors > 0.1'"), &target()).unwrap();
    assert!(
        export.notes[0].en.contains("hikeshi.dev/guard is not carried"),
        "{:?}",
        export.notes
    );
    for name in ["README.md", "README.ja.md"] {
        assert!(file(&export, name).contains("errors > 0.1"), "{name}");
    }
    let japanese = file(&export, "README.ja.md");
    assert!(
        japanese.contains("hikeshi.dev/guard は運ばれません"),
        "{japanese}"
    );
    let long = TALK.replace("path: '*'", &format!("path: '/{}'", "x".repeat(1_000)));
    assert!(
        exported(&long, &target()).unwrap_err()[0]
            .en
            .contains("characters long")
    );
}

#[test]
fn white_space_in_a_text_is_escaped_for_fis_takes_none() {
    let export = exported(&TALK.replace("path: '*'", "path: '/a b'"), &target()).unwrap();
    let template = template_of(&export);
    must_be_a_template(&template);
    let spec = template["actions"]["http-delay"]["parameters"]["kubernetesSpec"]
        .as_str()
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(spec).unwrap()["path"], "/a b");
}

#[test]
fn alarms_become_stop_conditions_and_wrong_targets_are_refused() {
    let alarm = "arn:aws:cloudwatch:ap-northeast-1:111122223333:alarm:burn".to_owned();
    let with_alarm = Target {
        alarms: vec![alarm.clone()],
        ..target()
    };
    let export = exported(TALK, &with_alarm).unwrap();
    must_be_a_template(&template_of(&export));
    assert_eq!(
        template_of(&export)["stopConditions"],
        json!([{"source": "aws:cloudwatch:alarm", "value": alarm}])
    );
    let wrong = Target {
        account: "12".into(),
        cluster: "a b".into(),
        region: String::new(),
        alarms: vec!["burn".into()],
        examples: Vec::new(),
    };
    assert_eq!(exported(TALK, &wrong).unwrap_err().len(), 4);
}

#[test]
fn schedules_and_workflows_are_exported_with_the_rights_they_need() {
    let schedule = "apiVersion: chaos-mesh.org/v1alpha1\nkind: Schedule\nmetadata: {name: kills, namespace: shop}\nspec:\n  \
        schedule: '@every 90s'\n  type: PodChaos\n  podChaos: {selector: {labelSelectors: {app: a}}, mode: one, action: pod-kill}\n";
    let export = exported(schedule, &target()).unwrap();
    must_be_a_template(&template_of(&export));
    let rbac = file(&export, "kubernetes-rbac.yaml");
    assert!(rbac.contains("podchaos") && rbac.contains("schedules"), "{rbac}");
    assert!(export.notes.iter().any(|note| note.en.contains("has no end")));
}
