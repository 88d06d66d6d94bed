use hikeshi_chaos::annotations;
use jiff::Timestamp;

use super::*;
use crate::journey::Journey;
use crate::lab::Who;
use crate::level::Level;
use crate::normal::Normal;

fn entrance() -> Entrance {
    Entrance {
        namespace: "chirpy".into(),
        deployment: "gateway".into(),
        service: "gateway".into(),
        port: 80,
        target_port: 8080,
    }
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "gateway", "namespace": "chirpy", "uid": "u", "resourceVersion": "7", "managedFields": []},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "gateway"}}, "template": {
            "metadata": {"labels": {"app": "gateway"}, "creationTimestamp": null},
            "spec": {"containers": [{"name": "gateway", "image": "chirpy"}]}}},
        "status": {"replicas": 3},
    })
}

fn edit() -> Journey {
    serde_json::from_value(
        json!({"cuj": "edit-message", "method": "POST", "path": "/api/posts/*/update",
        "task": {"ja": "a", "en": "a"}}),
    )
    .unwrap()
}

fn made(level: Level, who: Who, normal: &Normal) -> Vec<Value> {
    let (entrance, deployment, journey) = (entrance(), deployment(), edit());
    let put = Put {
        entrance: &entrance,
        deployment: &deployment,
        journey: &journey,
        who,
        token: "t0ken",
        normal,
        number: 3,
        seed: 9,
        until: Timestamp::from_second(1_700_000_000).unwrap(),
    };
    faults(level, &put)
}

fn read(object: &Value) -> annotations::Extensions {
    annotations::read(&serde_json::from_value(object["metadata"]["annotations"].clone()).unwrap()).unwrap()
}

fn refused(object: &Value) -> Vec<String> {
    let found = hikeshi_chaos::problems("HTTPChaos", object);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_level_is_a_manifest_that_the_cluster_takes() {
    let given = Normal::parse("p50=80ms,p90=150ms,p99=400ms").unwrap();
    for normal in [Normal::default(), Normal::constant(200_000), given] {
        for who in [Who::Person, Who::Everybody] {
            for level in [
                Level::Total { micros: 1_000_000 },
                Level::Added { micros: 800_000 },
                Level::Edge {
                    micros: 1_000_000,
                    good_ppm: 990_000,
                },
                Level::Errors { ppm: 10 },
            ] {
                for object in made(level, who, &normal) {
                    assert_eq!(refused(&object), Vec::<String>::new(), "{object}");
                    assert_eq!(read(&object).seed, Some(9));
                    let only = object["metadata"]["annotations"][annotations::REQUEST_HEADERS].as_str();
                    assert_eq!(only.is_some(), who == Who::Person);
                }
            }
        }
        let until = Timestamp::from_second(1).unwrap();
        let object = super::normal(&entrance(), &deployment(), &normal, 1, until);
        assert_eq!(refused(&object), Vec::<String>::new(), "{object}");
        assert_eq!(object["spec"]["replace"]["headers"]["cache-control"], "no-store");
    }
    assert!(made(Level::Normal, Who::Person, &Normal::default()).is_empty());
}

#[test]
fn a_level_says_what_it_means() {
    let second = &made(
        Level::Total { micros: 1_000_000 },
        Who::Person,
        &Normal::default(),
    )[0];
    assert_eq!(second["spec"]["delay"], "1000000us");
    assert_eq!(second["spec"]["path"], "/api/posts/*/update");
    assert_eq!(
        second["spec"]["selector"]["labelSelectors"],
        json!({"app": "gateway-lab"})
    );
    let extensions = read(second);
    assert!(extensions.to_total);
    assert_eq!(extensions.request_headers["cookie"], "*hikeshi_lab=t0ken*");
    let errors = &made(Level::Errors { ppm: 15_000 }, Who::Everybody, &Normal::default())[0];
    assert_eq!(
        (read(errors).ppm, &errors["spec"]["replace"]["code"]),
        (Some(15_000), &json!(500))
    );
    let both = &errors["spec"]["selector"]["expressionSelectors"][0];
    assert_eq!(both["values"], json!(["gateway", "gateway-lab"]));
}

#[test]
fn the_edge_of_an_objective_has_the_normal_states_shape() {
    let normal = Normal::parse("p50=100ms,p90=200ms,p99=500ms,p99.9=3s").unwrap();
    let made = made(
        Level::Edge {
            micros: 1_000_000,
            good_ppm: 990_000,
        },
        Who::Person,
        &normal,
    );
    let [within, beyond] = made.as_slice() else {
        panic!("{made:?}")
    };
    let points = read(within).quantiles.unwrap();
    // Twice as long as every day, less the way through the ingress.
    assert_eq!(
        points.iter().map(|(_, micros)| *micros).collect::<Vec<_>>(),
        [194_000, 388_000, 970_000]
    );
    assert!((points[0].0 - 0.5 / 0.99).abs() < 1e-6);
    let far = read(beyond);
    assert_eq!(far.ppm, Some(10_000));
    assert!(far.quantiles.unwrap()[0].1 > 1_000_000);
}

#[test]
fn two_groups_stand_behind_one_ingress() {
    let group = trial_group(&deployment());
    assert_eq!(group["metadata"]["name"], "gateway-lab");
    assert_eq!(
        group["spec"]["selector"]["matchLabels"],
        json!({"app": "gateway-lab"})
    );
    assert_eq!(
        group["spec"]["template"]["metadata"]["labels"]["app"],
        "gateway-lab"
    );
    assert!(group["metadata"].get("uid").is_none() && group.get("status").is_none());
    let service = service(&entrance(), &deployment());
    assert_eq!(service["spec"]["selector"], json!({"app": "gateway-lab"}));

    let journey = edit();
    let all = ingress(&entrance(), Some(&journey), Some("t0ken"), WHOLE_WEIGHT);
    let annotation = |name: &str| {
        let text =
            all["metadata"]["annotations"][format!("alb.ingress.kubernetes.io/{name}.on-trial")].as_str();
        serde_json::from_str::<Value>(text.unwrap()).unwrap()
    };
    assert_eq!(
        annotation("actions")["forwardConfig"]["targetGroups"][0]["weight"],
        1_000
    );
    assert_eq!(
        annotation("conditions")[1]["httpHeaderConfig"]["values"][0],
        "*hikeshi_lab=t0ken*"
    );
    let paths = all["spec"]["rules"][0]["http"]["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 2);
    assert_eq!(paths[0]["path"], "/api/posts/*/update");
    let none = ingress(&entrance(), None, None, 0);
    assert_eq!(
        none["spec"]["rules"][0]["http"]["paths"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

/// Slides 69 and 82: what each group is given, and the weights.
#[test]
fn the_talks_experiments_are_printed_as_the_talk_has_them() {
    let normal = Normal::constant(200_000);
    let of = |level| talk(&entrance(), &deployment(), &edit(), level, &normal, None);
    let latency = of(Level::Total { micros: 1_000_000 }).unwrap();
    let objects = &latency.objects;
    let kinds: Vec<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        ["Deployment", "Service", "Ingress", "HTTPChaos", "HTTPChaos"]
    );
    assert_eq!(
        (&objects[3]["spec"]["delay"], &objects[4]["spec"]["delay"]),
        (&json!("200ms"), &json!("1000000us"))
    );
    assert!(
        objects
            .iter()
            .all(|object| !object.to_string().contains("hikeshi.dev/delay"))
    );
    let errors = of(Level::Errors { ppm: 15_000 }).unwrap();
    let action = errors.objects[2]["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.on-trial"]
        .as_str()
        .unwrap();
    assert!(
        action.contains("\"weight\":15}") && action.contains("\"weight\":985}"),
        "{action}"
    );
    assert_eq!(errors.objects[4]["spec"]["replace"]["code"], 500);
    let refused = of(Level::Errors { ppm: 100 }).unwrap_err();
    assert!(refused.en.contains("0.1 %"), "{}", refused.en);
    assert!(
        of(Level::Errors { ppm: 1_500 }).unwrap().notes[0]
            .en
            .contains("0.1 %")
    );
    assert!(
        of(Level::Edge {
            micros: 1,
            good_ppm: 990_000
        })
        .is_err()
    );
    for object in &errors.objects[3..] {
        assert_eq!(super::tests::refused(object), Vec::<String>::new());
    }
}
