use serde_json::json;

use super::*;
use crate::problems;

fn workflow() -> Value {
    let kill = json!({"action": "pod-kill", "mode": "one", "selector": {}});
    json!({"entry": "all", "templates": [
        {"name": "all", "templateType": "Serial", "deadline": "5m", "children": ["both", "wait", "look", "probe", "again"]},
        {"name": "both", "templateType": "Parallel", "children": ["kill"]},
        {"name": "kill", "templateType": "PodChaos", "deadline": "40s", "podChaos": kill},
        {"name": "wait", "templateType": "Suspend", "deadline": "10s"},
        {"name": "look", "templateType": "Task", "task": {"container": {"name": "look", "image": "debian"}},
            "conditionalBranches": [{"target": "kill", "expression": "exitCode == 0"}]},
        {"name": "probe", "templateType": "StatusCheck", "abortWithStatusCheck": true, "statusCheck": {"mode": "Continuous",
            "type": "HTTP", "duration": "20s", "intervalSeconds": 1, "http": {"url": "http://web.shop:8080/healthz?x=1",
            "criteria": {"statusCode": "200-299"}}}},
        {"name": "again", "templateType": "Schedule", "deadline": "1m", "schedule":
            {"schedule": "@every 5s", "type": "PodChaos", "podChaos": kill}}]})
}

fn found(spec: &Value) -> Vec<String> {
    let found = problems("Workflow", &json!({"spec": spec}));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_one_has_no_problems() {
    assert_eq!(found(&workflow()), Vec::<String>::new());
}

#[test]
fn every_problem_is_named() {
    for (pointer, value, words) in [
        (
            "/entry",
            json!("al"),
            "spec.entry: no template is called \"al\" (did you mean all?)",
        ),
        (
            "/templates/0/children",
            json!(["kil"]),
            "spec.templates[0].children: no template",
        ),
        ("/templates/1/children", json!(["all"]), "is inside itself"),
        (
            "/templates/2/templateType",
            json!("IOChaos"),
            "spec.templates[2].templateType: must be one of",
        ),
        (
            "/templates/2/podChaos/action",
            json!("melt"),
            "spec.templates[2].podChaos.action: ",
        ),
        (
            "/templates/2/podChaos/duration",
            json!("1s"),
            "spec.templates[2].podChaos.duration: is said twice",
        ),
        (
            "/templates/3/deadline",
            Value::Null,
            "spec.templates[3].deadline: is missing",
        ),
        ("/templates/3/name", json!("kill"), "spec.templates[3].name: "),
        (
            "/templates/4/conditionalBranches/0/expression",
            json!("foo()"),
            "expression: foo is not supported",
        ),
        (
            "/templates/4/task/container/image",
            json!(""),
            "spec.templates[4].task.container.image: is missing",
        ),
        (
            "/templates/4/task/container/command",
            json!("ls"),
            "spec.templates[4].task.container.command: ",
        ),
        (
            "/templates/4/task/volumes",
            json!({"name": "data"}),
            "spec.templates[4].task.volumes: ",
        ),
        (
            "/templates/5/statusCheck/intervalSeconds",
            json!(0),
            "spec.templates[5].statusCheck.intervalSeconds: must be at least 1",
        ),
        (
            "/templates/5/statusCheck/recordsHistoryLimit",
            json!(2000),
            "spec.templates[5].statusCheck.recordsHistoryLimit: must be at most 1000",
        ),
        (
            "/templates/5/statusCheck/type",
            json!("TCP"),
            "spec.templates[5].statusCheck.type: ",
        ),
        (
            "/templates/5/statusCheck/http/url",
            json!("https://x"),
            "spec.templates[5].statusCheck.http.url: ",
        ),
        (
            "/templates/5/statusCheck/http/url",
            json!("http://example.com.au/"),
            "only the cluster's own",
        ),
        (
            "/templates/5/statusCheck/http/criteria/statusCode",
            json!("2xx"),
            "neither a status code",
        ),
        (
            "/templates/6/schedule/podChaos/mode",
            json!("some"),
            "spec.templates[6].schedule.podChaos.mode: ",
        ),
    ] {
        let mut spec = workflow();
        let target = match spec.pointer_mut(pointer) {
            Some(target) => target,
            None => {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                &mut spec.pointer_mut(parent).unwrap()[name]
            }
        };
        *target = value;
        let found = found(&spec).join("; ");
        assert!(found.contains(words), "{pointer}: {found} does not say {words}");
    }
}

#[test]
fn a_url_names_a_service() {
    let service = |url: &str| {
        let criteria = Criteria {
            status_code: "200".into(),
        };
        Http {
            url: url.into(),
            method: None,
            headers: None,
            body: None,
            criteria,
        }
        .service()
    };
    let full = service("http://web.shop.svc.cluster.local:8080/a/b?c=d").unwrap();
    assert_eq!(
        (full.service.as_str(), full.namespace.as_deref()),
        ("web", Some("shop"))
    );
    assert_eq!((full.port, full.path.as_str()), (8080, "/a/b?c=d"));
    let short = service("http://web").unwrap();
    assert_eq!(
        (short.namespace, short.port, short.path.as_str()),
        (None, 80, "/")
    );
    for wrong in [
        "ftp://web",
        "http://127.0.0.1/",
        "http://web.a.example.com",
        "http://:80/",
        "http://web:http/",
    ] {
        assert!(service(wrong).is_err(), "{wrong}");
    }
}
