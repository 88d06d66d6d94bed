//! A manifest comes by kubectl or by `hikeshi experiment`: what one door refuses the other refuses, by the same fields
//! and with the same words.

use http::Request;
use kube::client::Body;
use serde_json::Value;

use crate::support::Cluster;

/// The talk's, which is well.
const TALK: &str = include_str!("../../../hikeshi-experiment/tests/talk.yaml");
/// What to put in place of what, each a slip of its own or several at once; the first leaves it well.
const SLIPS: [&[(&str, &str)]; 16] = [
    &[],
    &[("delay: 1s", "dealy: 1s")],
    &[("delay: 1s", "delay: soon"), ("port: 80", "port: eighty")],
    &[("port: 80", "port: 0")],
    &[("  port: 80\n", "")],
    &[("mode: all", "mode: al")],
    &[("mode: all", "mode: fixed")],
    &[("mode: all", "mode: all\n  value: '2'")],
    &[("target: Response", "target: Request")],
    &[("app: nginx-app", "app: 5")],
    &[("code: 500", "code: '500'")],
    &[("server: nginx-test", "content-length: '5'")],
    &[("spec:\n", "sepc: {}\nspec:\n")],
    &[("name: http-delay", "name: HTTP_delay")],
    &[("spec:\n", "  annotations: {hikeshi.dev/percnt: '5'}\nspec:\n")],
    &[(
        "spec:\n",
        "  annotations: {hikeshi.dev/percent: '500', hikeshi.dev/seed: x}\nspec:\n",
    )],
];
const OTHERS: [(&str, &str); 5] = [
    (
        "podchaos",
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: PodChaos\nmetadata: {name: a}\nspec: {action: pod-kil, mode: one, selector: {}}\n",
    ),
    (
        "networkchaos",
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\nmetadata: {name: a}\nspec: {action: duplicate, mode: one, selector: {}, delay: {latency: 1}}\n",
    ),
    (
        "stresschaos",
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: StressChaos\nmetadata: {name: a}\nspec: {mode: one, selector: {nods: []}, stressors: {memory: {workers: 1}}}\n",
    ),
    (
        "schedules",
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: Schedule\nmetadata: {name: a}\nspec: {schedule: '61 * * * *', type: PodChaos, timeChaos: {}}\n",
    ),
    (
        "workflows",
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: Workflow\nmetadata: {name: a}\nspec: {entry: al, templates: [{name: all, templateType: Serial, children: [x]}, {name: b, templateType: HTTPChaos}]}\n",
    ),
];

/// Fields and words of what the API says against a manifest, in order.
fn refused_by_the_api(cluster: &Cluster, plural: &str, text: &str) -> Vec<String> {
    let object: Value = serde_saphyr::from_str(text).unwrap();
    let path = format!("/apis/chaos-mesh.org/v1alpha1/namespaces/chirpy/{plural}?dryRun=All");
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(&object).unwrap()))
        .unwrap();
    let answer = cluster.run(async {
        use http_body_util::BodyExt;
        let answer = cluster.client().await.send(request).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    });
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let mut found: Vec<String> = answer["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cause| {
            format!(
                "{}: {}",
                cause["field"].as_str().unwrap(),
                cause["message"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(found.is_empty(), answer["kind"] != "Status", "{answer}");
    found.sort();
    found
}

fn refused_by_hikeshi(text: &str) -> Vec<String> {
    let cujs = include_str!("../../../../systems/chirpy/cujs.yaml");
    let cujs = hikeshi_slo::parse("cujs.yaml", cujs);
    let reading = hikeshi_experiment::manifest::read(text, &cujs.unwrap(), 1.0, "chirpy");
    let mut found: Vec<String> = reading
        .problems
        .into_iter()
        .map(|problem| {
            let meant = problem
                .suggestion
                .map(|meant| format!(" (did you mean {meant}?)"));
            format!(
                "{}: {}{}",
                problem.path,
                problem.message.en,
                meant.unwrap_or_default()
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn both_doors_refuse_the_same_with_the_same_words() {
    let cluster = Cluster::start();
    let talks = SLIPS.iter().map(|slips| {
        let text = slips.iter().fold(TALK.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        ("httpchaos", text)
    });
    let others = OTHERS.iter().map(|(plural, text)| (*plural, (*text).to_owned()));
    for (index, (plural, text)) in talks.chain(others).enumerate() {
        let here = refused_by_hikeshi(&text);
        assert_eq!(here.is_empty(), index == 0, "{text}{here:?}");
        assert_eq!(refused_by_the_api(&cluster, plural, &text), here, "{text}");
    }
}
