//! What to do with the exported files, as commands that can be typed as they stand.

use std::fmt::Write;

use super::{GROUP, Target, role_arn};
use crate::manifest::Manifest;

pub(super) fn readme(
    manifest: &Manifest,
    target: &Target,
    role: &str,
    namespaces: &[String],
    notes: &[String],
) -> String {
    let Target { cluster, region, .. } = target;
    let arn = role_arn(target, role);
    let mut text = format!(
        "# {} {} as an AWS FIS experiment\n\n",
        manifest.kind, manifest.name
    );
    if !target.examples.is_empty() {
        let _ = writeln!(
            text,
            "**Example values:** {} were not given, so these files name examples. Export again with your own.\n",
            target.examples.join(", ")
        );
    }
    let _ = writeln!(
        text,
        "| file | what it is |\n|---|---|\n\
         | `experiment-template.json` | the template: target, action, stop conditions, role |\n\
         | `iam-trust-policy.json` | lets FIS, in this account and region only, take the role |\n\
         | `iam-permissions-policy.json` | what the role may do in AWS: find this cluster |\n\
         | `kubernetes-rbac.yaml` | what the group `{GROUP}` may do in the cluster: this kind, in {} |\n\
         | `aws-auth-map-roles.yaml` | for clusters that map roles by the `aws-auth` ConfigMap |\n",
        namespaces.join(", ")
    );
    let _ = writeln!(
        text,
        "Chaos Mesh must be installed in the cluster. Then, in this folder:\n\n\
         ```sh\n\
         # 1. The role that the experiment runs as\n\
         aws iam create-role --role-name {role} --assume-role-policy-document file://iam-trust-policy.json\n\
         aws iam put-role-policy --role-name {role} --policy-name hikeshi-fis --policy-document file://iam-permissions-policy.json\n\
         # 2. Its rights in the cluster\n\
         kubectl apply -f kubernetes-rbac.yaml\n\
         aws eks create-access-entry --region {region} --cluster-name {cluster} --principal-arn {arn} --username hikeshi-fis --kubernetes-groups {GROUP}\n\
         # 3. The template\n\
         aws fis create-experiment-template --region {region} --cli-input-json file://experiment-template.json\n\
         # 4. Run it, with the id that step 3 has printed\n\
         aws fis start-experiment --region {region} --experiment-template-id \"$TEMPLATE_ID\"\n\
         ```\n\n\
         A cluster whose authentication mode is `CONFIG_MAP` has no access entries: instead of `create-access-entry`, add the\n\
         entry of `aws-auth-map-roles.yaml` to `mapRoles` in the ConfigMap `aws-auth` of namespace `kube-system`\n\
         (`kubectl edit configmap aws-auth -n kube-system`).\n\n\
         The group is `{GROUP}`, not `system:masters`: who can start this template can put in this kind of fault in these\n\
         namespaces, and do nothing else in the cluster.\n"
    );
    text.push_str("## Stop conditions\n\n");
    if target.alarms.is_empty() {
        text.push_str(
            "`stopConditions` is `none`: nothing but its end or a person stops this experiment. Export again with\n\
             `--alarm ARN` (several times if need be) to name CloudWatch alarms; FIS stops the experiment, and deletes the chaos\n\
             object, as soon as one of them is in ALARM. An alarm on the burn rate of an SLO stops what spends the budget too fast.\n\n",
        );
    } else {
        text.push_str(
            "FIS stops the experiment, and deletes the chaos object, as soon as one of these alarms is in ALARM. It does not\n\
             start while one of them is.\n\n",
        );
        for alarm in &target.alarms {
            let _ = writeln!(text, "- `{alarm}`");
        }
        text.push('\n');
    }
    text.push_str("## What FIS does not carry\n\n");
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    if !manifest.checks.is_empty() {
        text.push_str("\nThe checks of the manifest, to be made into alarms or looked at:\n\n");
        for check in &manifest.checks {
            let _ = writeln!(
                text,
                "- `{}`: `{} {} {}`",
                check.annotation(),
                check.query,
                check.op.sign(),
                check.threshold
            );
        }
    }
    text
}
