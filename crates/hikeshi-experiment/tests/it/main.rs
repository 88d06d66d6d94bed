//! The guides: every manifest in them can be run, and both languages have the same ones.

use hikeshi_experiment::fis::{Target, export};
use hikeshi_experiment::{Manifest, manifest};

const GUIDES: [(&str, &str); 2] = [
    ("experiments.md", include_str!("../../../../docs/experiments.md")),
    (
        "experiments.ja.md",
        include_str!("../../../../docs/experiments.ja.md"),
    ),
];

/// The fenced blocks of a language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    text.split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

fn manifests(name: &str, text: &str) -> Vec<Manifest> {
    let cujs = include_str!("../../../../systems/chirpy/cujs.yaml");
    let cujs = hikeshi_slo::parse("cujs.yaml", cujs).expect("the shipped journeys");
    blocks(text, "yaml")
        .into_iter()
        .map(|block| {
            let reading = manifest::read(block, &cujs, 60.0, "default");
            assert_eq!(reading.problems, [], "{name}:\n{block}");
            reading.manifest.expect("no problems")
        })
        .collect()
}

#[test]
fn every_manifest_in_the_guides_can_be_run_and_exported() {
    let target = Target {
        cluster: "my-cluster".into(),
        account: "111122223333".into(),
        region: "ap-northeast-1".into(),
        alarms: Vec::new(),
        examples: Vec::new(),
    };
    let [english, japanese] = GUIDES.map(|(name, text)| manifests(name, text));
    assert_eq!(english.len(), 2);
    assert_eq!(english, japanese);
    for manifest in english {
        assert!(export(&manifest, &target).is_ok(), "{}", manifest.name);
    }
}

#[test]
fn the_guides_have_the_same_commands() {
    let commands = |text| -> Vec<String> {
        blocks(text, "sh")
            .concat()
            .lines()
            .map(|line| line.replace(" --lang ja", ""))
            .collect()
    };
    let [english, japanese] = GUIDES.map(|(_, text)| commands(text));
    assert!(english.len() >= 4);
    assert_eq!(english, japanese);
}
