use proptest::prelude::*;

use super::*;

/// The talk's manifest, as printed.
const TALK: &str = "kind: HTTPChaos
apiVersion: chaos-mesh.org/v1alpha1
metadata:
  name: http-delay
spec:
  selector:
    namespaces:
      - default
    labelSelectors:
      app: nginx-app
  mode: all
  target: Response
  port: 80
  path: '/test*'
  delay: 1s
  replace:
    code: 500
    headers:
      server: nginx-test
";

fn cujs() -> Cujs {
    hikeshi_slo::parse("cujs.yaml", include_str!("../../../../systems/chirpy/cujs.yaml")).unwrap()
}

fn reading(text: &str) -> Reading {
    read(text, &cujs(), 60.0)
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
            format!("{}:{} {}: {}{meant}", p.line, p.column, p.path, p.message)
        })
        .collect()
}

#[test]
fn the_talks_manifest_is_read_as_printed() {
    let reading = reading(TALK);
    assert_eq!(reading.problems, []);
    let manifest = reading.manifest.unwrap();
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
    let again = super::read(&manifest.yaml(), &cujs(), 60.0);
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
            "9:5 spec.selector.labelSelector: unknown field `labelSelector` (labelSelectors?)",
            "11:9 spec.mode: must be one of one, all, fixed, fixed-percent, random-max-percent, not `alll` (all?)",
            "13:9 spec.port: must be a port, 1 to 65535, not `eighty`",
            "15:10 spec.delay: must be a duration such as 300ms, 40s or 1h30m, not the number 1",
        ]
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
        ("mode: all", "mode: fixed", "how many pods"),
        ("mode: all", "mode: fixed-percent\n  value: '150'", "a percentage"),
        ("mode: all", "mode: all\n  value: '2'", "takes no `value`"),
        ("  port: 80\n", "", "`port` is missing"),
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
        told[0].ends_with("(all?)") && told[1].contains("needs `httpChaos`"),
        "{told:?}"
    );
}

proptest! {
    /// No text breaks the reader, and what it accepts it accepts again as it wrote it.
    #[test]
    fn any_edit_of_a_manifest_is_read_or_refused(at in 0..TALK.len(), put in "[a-z0-9:{}\\[\\]'\"#\\- \\n]{0,6}", cut in 0..8_usize) {
        let end = (at + cut).min(TALK.len());
        let text = format!("{}{put}{}", &TALK[..at], &TALK[end..]);
        let reading = reading(&text);
        prop_assert_eq!(reading.problems.is_empty(), reading.manifest.is_some());
        if let Some(manifest) = reading.manifest {
            let again = super::read(&manifest.yaml(), &cujs(), 60.0);
            prop_assert_eq!(again.manifest, Some(manifest));
        }
    }
}
