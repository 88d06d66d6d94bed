//! An experiment as a template of AWS Fault Injection Service: the JSON of `aws fis create-experiment-template`, the IAM
//! role it runs as, and the rights of that role in the cluster, no wider than this one experiment needs.
//!
//! Field names and limits are those of the FIS API (2020-12-01), action `aws:eks:inject-kubernetes-custom-resource`.

use hikeshi_chaos::annotations::{SEED, is_of_experiments, shapes};
use hikeshi_chaos::plural;
use hikeshi_scenario::Text;
use serde_json::{Value, json};

use crate::duration::{words, words_ja};
use crate::manifest::{API_VERSION, Manifest, chaos_specs, duration_of, takes_duration, yaml};

mod readme;

/// Where the template is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// EKS cluster's name.
    pub cluster: String,
    /// Twelve digits.
    pub account: String,
    pub region: String,
    /// ARNs of CloudWatch alarms that stop the experiment.
    pub alarms: Vec<String>,
    /// Which of cluster, account and region are examples to be replaced, e.g. `--account`.
    pub examples: Vec<&'static str>,
}

/// One file of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: &'static str,
    pub text: String,
}

/// The files, and what a reader must know of what FIS cannot carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    pub files: Vec<File>,
    pub notes: Vec<Text>,
}

/// The group that the role is in, inside the cluster. Never `system:masters`.
pub const GROUP: &str = "hikeshi:fis";
/// FIS' limits on an action's time, in seconds.
const SHORTEST: f64 = 60.0;
const LONGEST: f64 = 12.0 * 3_600.0;
/// FIS must see the fault end before its own limit: installing and removing it takes this much at most.
const MARGIN: f64 = 60.0;
/// Given to a fault that has no end of its own: FIS would call one that never ends a failure.
const DEFAULT: f64 = 300.0;
/// Longest value of an action's parameter, in characters.
const LONGEST_PARAMETER: usize = 1_024;

fn text(ja: impl Into<String>, en: impl Into<String>) -> Text {
    Text {
        ja: ja.into(),
        en: en.into(),
    }
}

/// Makes the export.
///
/// # Errors
/// Sentences on what of the manifest FIS cannot do at all.
pub fn export(manifest: &Manifest, target: &Target) -> Result<Export, Vec<Text>> {
    let mut refusals = wrong_target(target);
    let mut notes = Vec::new();
    let mut object = manifest.object.clone();
    let annotations = object["metadata"]["annotations"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for key in annotations.keys() {
        if shapes(key) && key != SEED {
            refusals.push(text(
                format!(
                    "アノテーション {key} は障害の形を決めますが、FIS が運ぶのは spec だけです。これがないと、条件に合うリクエストがすべて障害を受けます。それでよければ外してください"
                ),
                format!(
                    "annotation {key} shapes the fault, and FIS carries the spec only: without it every matching request would be hit; take it out if that is meant"
                ),
            ));
        } else if is_of_experiments(key) {
            notes.push(text(
                format!(
                    "{key} は運ばれません (FIS が渡すのは spec だけです)。CloudWatch アラームを作って --alarm で指定すれば、実験を止める条件になります"
                ),
                format!(
                    "{key} is not carried: FIS passes on the spec only. Make it a CloudWatch alarm and give that with --alarm, so that it stops the experiment"
                ),
            ));
        } else {
            notes.push(text(
                format!("アノテーション {key} は運ばれません (FIS が渡すのは spec だけです)"),
                format!("annotation {key} is not carried: FIS passes on the spec only"),
            ));
        }
    }
    if object["metadata"]["labels"]
        .as_object()
        .is_some_and(|labels| !labels.is_empty())
    {
        notes.push(text(
            "metadata.labels は運ばれません (FIS が渡すのは spec だけです)",
            "metadata.labels are not carried: FIS passes on the spec only",
        ));
    }
    let name = &manifest.name;
    notes.push(text(
        format!("名前 {name} は運ばれません (オブジェクトの名前は FIS がつけます)"),
        format!("the name {name} is not carried: FIS names the object itself"),
    ));
    let lasts = match duration_of(&object) {
        Some(seconds) => seconds,
        None if takes_duration(&object) => {
            object["spec"]["duration"] = json!(words(DEFAULT));
            notes.push(text(
                format!(
                    "spec.duration がなかったので {}にしました (終わらないアクションは、FIS では失敗になります)",
                    words_ja(DEFAULT)
                ),
                format!(
                    "spec.duration was missing and is {} now: FIS counts an action that does not end as failed",
                    words(DEFAULT)
                ),
            ));
            DEFAULT
        }
        None => {
            if manifest.kind == "Schedule" {
                notes.push(text(
                    format!(
                        "Schedule には終わりがないので、{}後に FIS が削除します",
                        words_ja(DEFAULT + MARGIN)
                    ),
                    format!(
                        "a Schedule has no end: FIS deletes it after {}",
                        words(DEFAULT + MARGIN)
                    ),
                ));
            }
            DEFAULT
        }
    };
    if lasts + MARGIN > LONGEST {
        refusals.push(text(
            format!(
                "{}は長すぎます。FIS の 1 アクションは 12 時間までで、そのうち{}は障害の注入と解除に使います",
                words_ja(lasts),
                words_ja(MARGIN)
            ),
            format!(
                "a duration of {} is too long: FIS allows an action 12h, of which {} are for putting the fault in and taking it out",
                words(lasts),
                words(MARGIN)
            ),
        ));
    }
    if lasts < SHORTEST {
        notes.push(text(
            format!(
                "FIS のアクションは最短 1 分ですが、障害そのものは spec のとおり{}で終わります",
                words_ja(lasts)
            ),
            format!(
                "FIS' shortest action is 1m: the fault itself ends after {}, as its spec says",
                words(lasts)
            ),
        ));
    }
    let spec = compact(&object["spec"]);
    if spec.chars().count() > LONGEST_PARAMETER {
        let count = spec.chars().count();
        refusals.push(text(
            format!(
                "spec が JSON で {count} 文字あり、FIS の上限 {LONGEST_PARAMETER} 文字を超えます。実験を分けてください"
            ),
            format!(
                "the spec is {count} characters long as JSON, and FIS takes {LONGEST_PARAMETER}: split the experiment"
            ),
        ));
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let role = format!("hikeshi-fis-{}", shortened(&manifest.name, 52));
    let template = template(manifest, target, &role, spec, (lasts + MARGIN).max(SHORTEST));
    let namespaces = namespaces(manifest);
    let mut export = Export {
        files: vec![
            json_file("experiment-template.json", &template),
            json_file("iam-trust-policy.json", &trust(target)),
            json_file("iam-permissions-policy.json", &permissions(target)),
            File {
                name: "kubernetes-rbac.yaml",
                text: rbac(manifest, &namespaces),
            },
            File {
                name: "aws-auth-map-roles.yaml",
                text: map_roles(target, &role),
            },
        ],
        notes,
    };
    let guide = readme::Guide {
        manifest,
        target,
        role: &role,
        namespaces: &namespaces,
        notes: &export.notes,
    };
    let guides = [("README.md", guide.en()), ("README.ja.md", guide.ja())];
    let guides = guides.map(|(name, text)| File { name, text });
    export.files.extend(guides);
    Ok(export)
}

fn wrong_target(target: &Target) -> Vec<Text> {
    let mut found = Vec::new();
    if target.account.len() != 12 || !target.account.chars().all(|c| c.is_ascii_digit()) {
        let account = &target.account;
        found.push(text(
            format!("--account {account}: AWS アカウントは 12 桁の数字です"),
            format!("--account {account}: an AWS account is twelve digits"),
        ));
    }
    let plain = |text: &str, also: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    if !plain(&target.cluster, "-_") || target.cluster.len() > 100 {
        let cluster = &target.cluster;
        found.push(text(
            format!("--cluster {cluster}: EKS クラスター名に使えるのは英数字と - と _ です"),
            format!("--cluster {cluster}: an EKS cluster's name is letters, digits, - and _"),
        ));
    }
    if !plain(&target.region, "-") {
        let region = &target.region;
        found.push(text(
            format!("--region {region}: リージョンは ap-northeast-1 のように書きます"),
            format!("--region {region}: a region is written like ap-northeast-1"),
        ));
    }
    for alarm in &target.alarms {
        let shape =
            alarm.starts_with("arn:aws") && alarm.contains(":cloudwatch:") && alarm.contains(":alarm:");
        if !shape || alarm.contains(char::is_whitespace) {
            let shape = "arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME";
            found.push(text(
                format!("--alarm {alarm}: アラームは ARN ({shape}) で指定します"),
                format!("--alarm {alarm}: an alarm is given by its ARN, {shape}"),
            ));
        }
    }
    found
}

/// `aws`, `aws-cn` or `aws-us-gov`.
fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

fn cluster_arn(target: &Target) -> String {
    let Target {
        cluster,
        account,
        region,
        ..
    } = target;
    format!(
        "arn:{}:eks:{region}:{account}:cluster/{cluster}",
        partition(region)
    )
}

fn role_arn(target: &Target, role: &str) -> String {
    format!(
        "arn:{}:iam::{}:role/{role}",
        partition(&target.region),
        target.account
    )
}

fn template(manifest: &Manifest, target: &Target, role: &str, spec: String, seconds: f64) -> Value {
    let stops: Vec<Value> = if target.alarms.is_empty() {
        vec![json!({"source": "none"})]
    } else {
        target
            .alarms
            .iter()
            .map(|alarm| json!({"source": "aws:cloudwatch:alarm", "value": alarm}))
            .collect()
    };
    json!({
        "description": format!("{} {} on EKS cluster {}, exported by Hikeshi", manifest.kind, manifest.name, target.cluster),
        "targets": {"Cluster": {
            "resourceType": "aws:eks:cluster",
            "resourceArns": [cluster_arn(target)],
            "selectionMode": "ALL",
        }},
        "actions": {shortened(&manifest.name, 64): {
            "actionId": "aws:eks:inject-kubernetes-custom-resource",
            "description": format!("{} of Chaos Mesh", manifest.kind),
            "parameters": {
                "kubernetesApiVersion": API_VERSION,
                "kubernetesKind": manifest.kind,
                "kubernetesNamespace": manifest.namespace,
                "kubernetesSpec": spec,
                "maxDuration": iso(seconds),
            },
            "targets": {"Cluster": "Cluster"},
        }},
        "stopConditions": stops,
        "roleArn": role_arn(target, role),
        "tags": {"Name": manifest.name, "exported-by": "hikeshi"},
    })
}

/// JSON without any white space, for FIS takes none in a parameter: a space in a text is written as an escape.
fn compact(value: &Value) -> String {
    value
        .to_string()
        .chars()
        .map(|c| match c {
            c if c.is_whitespace() => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        })
        .collect()
}

/// ISO 8601 in whole minutes, rounded up: `PT2M`, `PT1H30M`.
fn iso(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 minute and 12 hours"
    )]
    let minutes = (seconds / 60.0).ceil() as u64;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("PT{minutes}M"),
        (hours, 0) => format!("PT{hours}H"),
        (hours, minutes) => format!("PT{hours}H{minutes}M"),
    }
}

fn shortened(name: &str, most: usize) -> &str {
    name.get(..most).unwrap_or(name).trim_end_matches('-')
}

fn trust(target: &Target) -> Value {
    let (partition, region, account) = (partition(&target.region), &target.region, &target.account);
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "fis.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {
                "StringEquals": {"aws:SourceAccount": account},
                "ArnLike": {"aws:SourceArn": format!("arn:{partition}:fis:{region}:{account}:experiment/*")},
            },
        }],
    })
}

fn permissions(target: &Target) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "FindTheCluster",
            "Effect": "Allow",
            "Action": "eks:DescribeCluster",
            "Resource": cluster_arn(target),
        }],
    })
}

/// Where rights are needed: the object's own namespace, and those whose pods it selects (Chaos Mesh asks for both).
fn namespaces(manifest: &Manifest) -> Vec<String> {
    let mut all = vec![manifest.namespace.clone()];
    for (_, spec) in chaos_specs(&manifest.object) {
        for selector in [&spec["selector"], &spec["target"]["selector"]] {
            let listed = selector["namespaces"].as_array().into_iter().flatten();
            all.extend(listed.filter_map(Value::as_str).map(str::to_owned));
            all.extend(
                selector["pods"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.clone()),
            );
        }
    }
    all.sort();
    all.dedup();
    all
}

fn rbac(manifest: &Manifest, namespaces: &[String]) -> String {
    let name = format!("hikeshi-fis-{}", plural(&manifest.kind));
    // What it makes in turn (Schedule, Workflow) is checked by Chaos Mesh against the same rights.
    let mut resources = vec![plural(&manifest.kind)];
    resources.extend(chaos_specs(&manifest.object).iter().map(|(kind, _)| plural(kind)));
    resources.sort();
    resources.dedup();
    let mut documents = Vec::new();
    for namespace in namespaces {
        documents.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "namespace": namespace},
            "rules": [{"apiGroups": ["chaos-mesh.org"], "resources": resources,
                "verbs": ["get", "list", "watch", "create", "patch", "delete"]}],
        }));
        documents.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}],
        }));
    }
    documents
        .iter()
        .map(yaml)
        .map(with_newline)
        .collect::<Vec<_>>()
        .join("---\n")
}

fn map_roles(target: &Target, role: &str) -> String {
    let entry = json!([{"rolearn": role_arn(target, role), "username": "hikeshi-fis", "groups": [GROUP]}]);
    with_newline(yaml(&entry))
}

fn with_newline(text: String) -> String {
    format!("{}\n", text.trim_end())
}

fn json_file(name: &'static str, value: &Value) -> File {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    File {
        name,
        text: with_newline(text),
    }
}

#[cfg(test)]
mod tests;
