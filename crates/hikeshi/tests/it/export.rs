//! `hikeshi experiment export --aws-fis`: the files as they are written, without any running system.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Home, text};

const TALK: &str = "kind: HTTPChaos\napiVersion: chaos-mesh.org/v1alpha1\nmetadata: {name: http-delay, labels: {a: b}}\nspec:\n  \
    selector: {namespaces: [default], labelSelectors: {app: nginx-app}}\n  mode: all\n  target: Response\n  port: 80\n  \
    path: '/test*'\n  delay: 1s\n";

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_talks_experiment_is_exported_whole_in_both_languages() {
    let home = Home::new();
    let manifest = home.share().join("talk.yaml");
    std::fs::write(&manifest, TALK).expect("writing a manifest");
    let manifest = manifest.to_str().expect("a plain path");
    let out = home.share().join("fis");
    let folder = out.to_str().expect("a plain path");
    let export = ["experiment", "export", "--aws-fis", manifest, "--out", folder];
    let target = [
        "--cluster",
        "prod",
        "--account",
        "111122223333",
        "--region",
        "ap-northeast-1",
    ];
    let with = |more: &[&'static str]| home.ok(&[&export[..], &target, more].concat());
    let japanese = with(&["--lang", "ja"]);
    assert!(
        japanese.contains("metadata.labels は運ばれません") && japanese.contains("README.ja.md"),
        "{japanese}"
    );
    let english = with(&["--lang", "en"]);
    assert!(english.contains("metadata.labels are not carried"), "{english}");
    let template: Value = serde_json::from_str(&read(&out, "experiment-template.json")).expect("JSON");
    assert_eq!(
        template["roleArn"],
        "arn:aws:iam::111122223333:role/hikeshi-fis-http-delay"
    );
    for name in ["iam-trust-policy.json", "iam-permissions-policy.json"] {
        serde_json::from_str::<Value>(&read(&out, name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(!read(&out, "kubernetes-rbac.yaml").contains("system:masters"));
    assert!(read(&out, "aws-auth-map-roles.yaml").contains("hikeshi:fis"));
    assert!(read(&out, "README.md").contains("## What FIS does not carry"));
    assert!(read(&out, "README.ja.md").contains("## FIS では運べないもの"));

    let refused = home.run(&[&export[..], &["--account", "12", "--lang", "ja"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("AWS アカウントは 12 桁"),
        "{}",
        text(&refused.stderr)
    );
}
