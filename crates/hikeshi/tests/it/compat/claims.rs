//! What a group claims must be in it: a kind that neither its setup nor a case names is not proven by it.

use regex::Regex;

use super::case::Group;
use super::page::Kind;

/// Kinds that a command is about without naming them, and that command.
const IMPLIED: [(&str, &str); 8] = [
    ("controllerrevisions.apps", "rollout history statefulset"),
    ("events", "get events"),
    ("events.events.k8s.io", "kubectl events"),
    ("nodes.metrics.k8s.io", "top nodes"),
    ("pods.metrics.k8s.io", "top pods"),
    ("selfsubjectaccessreviews.authorization.k8s.io", "auth can-i"),
    ("selfsubjectreviews.authentication.k8s.io", "auth whoami"),
    (
        "selfsubjectrulesreviews.authorization.k8s.io",
        "auth can-i --list",
    ),
];

/// The kinds a group claims and does not touch.
pub fn empty<'a>(group: &'a Group, kinds: &[Kind]) -> Vec<&'a str> {
    let named = |key: &&String| {
        let mut commands = group.cases.iter().flat_map(|case| {
            let meanwhile = case.meanwhile.iter().map(String::as_str);
            [case.run.as_str()].into_iter().chain(meanwhile)
        });
        if let Some((_, command)) = IMPLIED.iter().find(|(kind, _)| kind == key) {
            return commands.any(|line| line.contains(command));
        }
        let Some(kind) = kinds.iter().find(|kind| kind.key == **key) else {
            // Not served: said elsewhere.
            return true;
        };
        let manifest = pattern(&format!(r"\bkind: *{}\b", kind.kind));
        let inputs = group.cases.iter().map(|case| &case.input);
        if inputs.chain([&group.setup]).any(|text| manifest.is_match(text)) {
            return true;
        }
        let words = pattern(&format!(r"[ ,]({})([ ,/.]|$)", kind.words().join("|")));
        commands.any(|line| words.is_match(line))
    };
    let claimed = group.kinds.iter().filter(|key| !named(key));
    claimed.map(String::as_str).collect()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::page::kinds;
    use super::*;

    const LISTING: &str = "\
pods                              po       v1                     true    Pod
persistentvolumeclaims            pvc      v1                     true    PersistentVolumeClaim
persistentvolumes                 pv       v1                     false   PersistentVolume
horizontalpodautoscalers          hpa      autoscaling/v2         true    HorizontalPodAutoscaler
workflows                         wf       chaos-mesh.org/v1alpha1 true   Workflow
selfsubjectrulesreviews                    authorization.k8s.io/v1 false  SelfSubjectRulesReview
";

    fn unproven(claimed: &str, setup: &str, run: &str) -> bool {
        let text = format!(
            "title: {{en: a, ja: a}}\nkinds: [{claimed}]\nsetup: |\n  {setup}\ncases: [{{run: \"{run}\"}}]\n"
        );
        let group: Group = serde_saphyr::from_str(&text).unwrap();
        !empty(&group, &kinds(LISTING)).is_empty()
    }

    #[test]
    fn a_kind_must_be_named_by_a_manifest_or_a_command() {
        let hpa = "horizontalpodautoscalers.autoscaling";
        assert!(!unproven(hpa, "", "kubectl get hpa busy"));
        assert!(!unproven(
            "workflows.chaos-mesh.org",
            "kind: Workflow",
            "kubectl version"
        ));
        assert!(!unproven("pods", "", "kubectl wait pod/a"));
        assert!(!unproven("persistentvolumes", "", "kubectl get pods,pv"));
        assert!(unproven(hpa, "", "kubectl get pods"));
        assert!(unproven(
            "workflows.chaos-mesh.org",
            "kind: WorkflowNode",
            "kubectl get workflownodes"
        ));
        assert!(unproven(
            "persistentvolumes",
            "kind: PersistentVolumeClaim",
            "kubectl get pvc"
        ));
        let rules = "selfsubjectrulesreviews.authorization.k8s.io";
        assert!(unproven(rules, "", "kubectl auth can-i get pods"));
        assert!(!unproven(rules, "", "kubectl auth can-i --list"));
    }
}
