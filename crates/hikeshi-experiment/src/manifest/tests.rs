use proptest::prelude::*;

use super::*;

/// The talk's manifest, as printed.
const TALK: &str = include_str!("../../tests/talk.yaml");

fn cujs() -> Cujs {
    hikeshi_slo::parse("cujs.yaml", include_str!("../../../../systems/chirpy/cujs.yaml")).unwrap()
}

fn reading(text: &str) -> Reading {
    super::read(text, &cujs(), 60.0, "default")
}

fn told(text: &str) -> Vec<String> {
    reading(text)
        .problems
        .iter()
        .map(|p| {
            let meant = p
                .suggestion
                .as_ref()
                .map(|s| format!(" ({s}?)"))
                .unwrap_or_default();
            format!("{}:{} {}: {}{meant}", p.line, p.column, p.path, p.message.en)
        })
        .collect()
}

#[test]
fn the_talks_manifest_is_read_as_printed() {
    let read = reading(TALK);
    assert_eq!(read.problems, []);
    let manifest = read.manifest.unwrap();
    assert_eq!(
        (manifest.kind.as_str(), manifest.namespace.as_str()),
        ("HTTPChaos", "default")
    );
    assert_eq!(
        manifest.object["metadata"],
        json!({"name": "http-delay", "namespace": "default"})
    );
    assert_eq!(duration_of(&manifest.object), None);
    assert!(takes_duration(&manifest.object));
    // What was made whole is read as the same.
    let again = reading(&manifest.yaml());
    assert_eq!(again.manifest.unwrap(), manifest);
}

#[test]
fn every_slip_is_named_with_its_place_and_what_was_meant() {
    let text = TALK
        .replace("labelSelectors", "labelSelector")
        .replace("mode: all", "mode: alll")
        .replace("port: 80", "port: eighty")
        .replace("delay: 1s", "delay: 1");
    assert_eq!(
        told(&text),
        [
            "9:5 spec.selector.labelSelector: is not supported (labelSelectors?)",
            "11:9 spec.mode: must be one of one, all, fixed, fixed-percent, random-max-percent, not `alll` (all?)",
            "13:9 spec.port: must be a port, 1 to 65535, not `eighty`",
            "15:10 spec.delay: must be a duration such as 300ms, 40s or 1h30m, not the number 1",
        ]
    );
}

#[test]
fn parts_of_netem_stand_beside_each_other_and_nothing_beside_a_partition() {
    let of = |action: &str| {
        format!(
            "kind: NetworkChaos
apiVersion: chaos-mesh.org/v1alpha1
metadata:
  name: slow
spec:
  selector: {{labelSelectors: {{app: web}}}}
  mode: all
  action: {action}
  delay: {{latency: 10ms}}
  loss: {{loss: '5'}}
"
        )
    };
    assert_eq!(told(&of("delay")), [""; 0]);
    let problems = told(&of("partition"));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[1].contains("spec.loss: is not read with this action"),
        "{problems:?}"
    );
}

#[test]
fn annotations_are_read_and_unknown_ones_refused() {
    let text = TALK.replace(
        "  name: http-delay\n",
        "  name: http-delay\n  annotations:\n    hikeshi.dev/hypothesis: 'slo: chirpy/read-timeline/latency'\n    \
         hikeshi.dev/guard.errors: 'rate(x[5s]) > 0.1'\n    hikeshi.dev/percent: '1.5'\n",
    );
    let manifest = reading(&text).manifest.unwrap();
    let names: Vec<_> = manifest
        .checks
        .iter()
        .map(|c| (c.role, c.name.as_str()))
        .collect();
    assert_eq!(names, [(Role::Hypothesis, "hypothesis"), (Role::Guard, "errors")]);
    let wrong = text
        .replace("hikeshi.dev/percent", "hikeshi.dev/precent")
        .replace("latency'", "latncy'");
    let told = told(&wrong);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("6:29 ") && told[0].ends_with("(latency?)"),
        "{told:?}"
    );
    assert!(told[1].ends_with("(hikeshi.dev/percent?)"), "{told:?}");
}

#[test]
fn a_wrong_kind_or_file_is_said_at_its_place() {
    assert_eq!(told("")[0], "1:1 : the file is empty");
    assert!(told(&TALK.replace("HTTPChaos", "HttpChaos"))[0].ends_with("(HTTPChaos?)"));
    assert!(told(&TALK.replace("v1alpha1", "v1"))[0].contains("chaos-mesh.org/v1alpha1?"));
    assert!(told(&format!("{TALK}---\n{TALK}"))[0].starts_with("20:1 : one experiment per file"));
    assert!(told(&format!("---\n{TALK}---\n")).is_empty());
    assert!(told(&TALK.replace("name: http-delay", "name: HTTP_delay"))[0].contains("metadata.name"));
    assert!(told("- a\n")[0].contains("a mapping, not a list"));
}

#[test]
fn what_belongs_together_is_asked_for() {
    for (from, to, words) in [
        (
            "  delay: 1s\n  replace:\n    code: 500\n    headers:\n      server: nginx-test\n",
            "",
            "does nothing",
        ),
        ("mode: all", "mode: fixed", "a number of pods"),
        ("mode: all", "mode: fixed-percent\n  value: '150'", "a percentage"),
        ("mode: all", "mode: all\n  value: '2'", "takes no value"),
        ("  port: 80\n", "", "spec.port: is missing"),
        ("delay: 1s", "delay: 1s\n  tls: {}", "cannot be honoured"),
    ] {
        let told = told(&TALK.replace(from, to));
        assert!(told.len() == 1 && told[0].contains(words), "{words}: {told:?}");
    }
}

#[test]
fn schedules_and_workflows_are_read_to_their_depth() {
    let schedule = "apiVersion: chaos-mesh.org/v1alpha1\nkind: Schedule\nmetadata: {name: nightly}\nspec:\n  \
        schedule: '@every 90s'\n  type: PodChaos\n  podChaos:\n    selector: {labelSelectors: {app: a}}\n    \
        mode: one\n    action: pod-kil\n";
    let slip = told(schedule);
    assert!(
        slip.len() == 1
            && slip[0].starts_with("10:13 spec.podChaos.action")
            && slip[0].ends_with("(pod-kill?)"),
        "{slip:?}"
    );
    let schedule = reading(&schedule.replace("pod-kil", "pod-kill"))
        .manifest
        .unwrap();
    assert_eq!(chaos_specs(&schedule.object)[0].0, "PodChaos");
    let workflow = "apiVersion: chaos-mesh.org/v1alpha1\nkind: Workflow\nmetadata: {name: both}\nspec:\n  entry: al\n  \
        templates:\n    - {name: all, templateType: Serial, deadline: 4m, children: [slow]}\n    \
        - name: slow\n      templateType: HTTPChaos\n      deadline: 1m\n";
    let told = told(workflow);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].ends_with("(all?)")
            && told[1].contains("httpChaos: is missing; templateType HTTPChaos needs it"),
        "{told:?}"
    );
}

/// What of a manifest the Kubernetes API refuses, as it says it.
fn refused_by_the_api(text: &str) -> Vec<String> {
    let object: Value = serde_saphyr::from_str(text).unwrap();
    let kind = object["kind"].as_str().unwrap().to_owned();
    let mut found: Vec<String> = hikeshi_chaos::problems(&kind, &object)
        .iter()
        .map(ToString::to_string)
        .collect();
    found.sort();
    found
}

/// What of it this crate refuses, in the API's form.
fn refused_here(text: &str) -> Vec<String> {
    let mut found: Vec<String> = reading(text)
        .problems
        .iter()
        .map(|p| match &p.suggestion {
            Some(meant) => format!("{}: {} (did you mean {meant}?)", p.path, p.message.en),
            None => format!("{}: {}", p.path, p.message.en),
        })
        .collect();
    found.sort();
    found
}

proptest! {
    /// Whichever door a manifest comes by, the same is refused with the same words, and every word has its place and a
    /// translation.
    #[test]
    fn both_doors_refuse_the_same(which in 0..MANIFESTS.len(), cut in any::<prop::sample::Index>(),
        put in prop::sample::select(vec!["", "5", "soon", "[]", "{}", "true", "null", "{a: 1}", "'50'"])) {
        // One value of one line becomes another: a type, a word or a name that does not fit.
        let lines: Vec<&str> = MANIFESTS[which].lines().collect();
        let values: Vec<usize> = (4..lines.len()).filter(|at| lines[*at].contains(": ")).collect();
        let at = values[cut.index(values.len())];
        let key = lines[at].split(": ").next().unwrap();
        let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        lines[at] = if put.is_empty() { format!("{key}x: 1") } else { format!("{key}: {put}") };
        let text = lines.join("\n");
        let here = refused_here(&text);
        prop_assert_eq!(&here, &refused_by_the_api(&text), "{}", text);
        for problem in reading(&text).problems {
            prop_assert!(problem.line > 0, "{:?}", problem);
            prop_assert!(!problem.message.ja.is_ascii(), "{:?}", problem);
        }
    }
}

/// One of each kind, each of its values on a line of its own from the fifth line on.
const MANIFESTS: [&str; 7] = [
    TALK,
    "apiVersion: chaos-mesh.org/v1alpha1\nkind: NetworkChaos\nmetadata:\n  name: net\nspec:\n  action: delay\n  mode: one\n  \
     selector: {labelSelectors: {app: a}}\n  direction: both\n  delay:\n    latency: 10ms\n    jitter: 1ms\n    correlation: '5'\n  \
     target:\n    mode: all\n    selector: {namespaces: [x]}\n  duration: 5s\n",
    "apiVersion: chaos-mesh.org/v1alpha1\nkind: PodChaos\nmetadata:\n  name: pod\nspec:\n  action: container-kill\n  mode: fixed\n  \
     value: '2'\n  selector: {pods: {default: [a]}}\n  containerNames: [a]\n",
    "apiVersion: chaos-mesh.org/v1alpha1\nkind: StressChaos\nmetadata:\n  name: stress\nspec:\n  mode: all\n  selector: {nodes: [node-a]}\n  \
     stressors:\n    cpu:\n      workers: 1\n      load: 50\n    memory:\n      workers: 1\n      size: 50%\n",
    "apiVersion: chaos-mesh.org/v1alpha1\nkind: TimeChaos\nmetadata:\n  name: time\nspec:\n  mode: all\n  selector:\n    \
     expressionSelectors: [{key: app, operator: In, values: [a]}]\n  timeOffset: -10m\n  clockIds: [CLOCK_REALTIME]\n",
    "apiVersion: chaos-mesh.org/v1alpha1\nkind: Schedule\nmetadata:\n  name: sched\nspec:\n  schedule: '@every 90s'\n  type: PodChaos\n  \
     historyLimit: 3\n  concurrencyPolicy: Forbid\n  podChaos:\n    action: pod-kill\n    mode: one\n    \
     selector: {labelSelectors: {app: a}}\n    gracePeriod: 5\n",
    "apiVersion: chaos-mesh.org/v1alpha1\nkind: Workflow\nmetadata:\n  name: flow\nspec:\n  entry: all\n  templates:\n  - name: all\n    \
     templateType: Serial\n    children: [look, kill]\n  - name: look\n    templateType: StatusCheck\n    deadline: 5s\n    statusCheck:\n      \
     type: HTTP\n      mode: Continuous\n      http:\n        url: http://a.b:80/\n        criteria:\n          statusCode: '200'\n  \
     - name: kill\n    templateType: PodChaos\n    podChaos:\n      action: pod-kill\n      mode: all\n      selector: {nodes: [node-a]}\n",
];

#[test]
fn the_corpus_is_well() {
    for text in MANIFESTS {
        assert_eq!(told(text), Vec::<String>::new(), "{text}");
    }
}

proptest! {
    /// No text breaks the reader, and what it accepts it accepts again as it wrote it.
    #[test]
    fn any_edit_of_a_manifest_is_read_or_refused(at in 0..TALK.len(), put in "[a-z0-9:{}\\[\\]'\"#\\- \\n]{0,6}", cut in 0..8_usize) {
        let end = (at + cut).min(TALK.len());
        let text = format!("{}{put}{}", &TALK[..at], &TALK[end..]);
        let read = reading(&text);
        prop_assert_eq!(read.problems.is_empty(), read.manifest.is_some());
        if let Some(manifest) = read.manifest {
            let again = reading(&manifest.yaml());
            prop_assert_eq!(again.manifest, Some(manifest));
        }
    }
}
