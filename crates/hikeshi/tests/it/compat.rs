//! The real kubectl, in every version given, against a real cluster: the cases in `tests/compat`, and the page made from them.

mod case;
mod claims;
mod page;
mod runner;

use std::path::{Path, PathBuf};

use futures::StreamExt;

use crate::harness::{Home, text};
use case::Group;
use page::Lang;
use runner::Runner;

/// Groups at a time: most of their time they wait for the cluster.
const ABREAST: usize = 3;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `HIKESHI_KUBECTLS`, as `cargo xtask test` sets it; else the one of this machine.
fn kubectls() -> Vec<PathBuf> {
    match std::env::var_os("HIKESHI_KUBECTLS") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => vec!["kubectl".into()],
    }
}

/// A system of nothing but the cluster itself.
fn bare_system(home: &Home) {
    let folder = home.share().join("systems/bare");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in [
        (
            "cujs.yaml",
            "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: bare\ncujs: []\n",
        ),
        (
            "00.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: bare}\n",
        ),
    ] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

async fn play_one(runner: &Runner, group: &Group, round: usize) -> Vec<String> {
    runner
        .play(group, &format!("compat-{}-{round}", group.name))
        .await
}

async fn play(runner: &Runner, groups: &[Group], round: usize) -> Vec<String> {
    let (alone, together): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.alone);
    let mut playing = futures::stream::iter(together)
        .map(|group| play_one(runner, group, round))
        .buffer_unordered(ABREAST);
    let mut wrong = Vec::new();
    while let Some(found) = playing.next().await {
        wrong.extend(found);
    }
    for group in alone {
        wrong.extend(play_one(runner, group, round).await);
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_page_works_with_every_kubectl() {
    let mut groups = case::load(&here().join("tests/compat"));
    // One group while writing it.
    if let Ok(only) = std::env::var("HIKESHI_COMPAT_ONLY") {
        groups.retain(|group| only.split(',').any(|name| name == group.name));
    }
    let home = Home::new();
    bare_system(&home);
    home.ok(&["up", "bare"]);
    let kubeconfig = PathBuf::from(home.ok(&["kubeconfig"]).trim());
    let mut wrong = Vec::new();
    let mut listing = String::new();
    for (round, kubectl) in kubectls().into_iter().enumerate() {
        let runner = Runner {
            kubectl: kubectl.clone(),
            kubeconfig: kubeconfig.clone(),
            folder: home.path().join(format!("compat-{round}")),
        };
        let version = runner::version(&kubectl);
        let found = play(&runner, &groups, round).await;
        wrong.extend(
            found
                .into_iter()
                .map(|problem| format!("kubectl {version}: {problem}")),
        );
        let output = std::process::Command::new(&kubectl)
            .args(["api-resources", "--no-headers"])
            .env("KUBECONFIG", &kubeconfig)
            .env("HOME", &runner.folder)
            .output()
            .expect("kubectl starts");
        listing = text(&output.stdout);
    }
    let kinds = page::kinds(&listing);
    for group in &groups {
        for key in group
            .kinds
            .iter()
            .filter(|key| kinds.iter().all(|kind| kind.key != **key))
        {
            wrong.push(format!("{}: the server serves no {key}", group.name));
        }
        for key in claims::empty(group, &kinds) {
            wrong.push(format!(
                "{}: neither a case nor the setup names {key}",
                group.name
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    if std::env::var_os("HIKESHI_COMPAT_ONLY").is_none() {
        let docs = here().join("../../docs");
        for (name, lang) in [("compatibility.md", Lang::En), ("compatibility.ja.md", Lang::Ja)] {
            if let Err(problem) = page::same(&docs.join(name), &page::render(&groups, &kinds, lang)) {
                wrong.push(problem);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
