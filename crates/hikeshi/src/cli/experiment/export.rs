//! `hikeshi experiment export --aws-fis FILE`.

use std::path::PathBuf;

use hikeshi_experiment::fis::{self, Target};
use serde_json::json;

use super::super::args::{ExportArgs, Lang};
use super::super::output;
use super::read;
use crate::failure::{Context, Failure};

/// AWS' own account of examples, and names like those in its documentation.
const EXAMPLES: (&str, &str, &str) = ("my-cluster", "111122223333", "ap-northeast-1");

pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    let lang = Lang::or_environment(args.lang);
    let manifest = read(&args.aws_fis, lang)?.manifest;
    let mut examples = Vec::new();
    let mut given = |value: Option<String>, name: &'static str, example: &str| {
        value.filter(|value| !value.is_empty()).unwrap_or_else(|| {
            examples.push(name);
            example.to_owned()
        })
    };
    let region = args.region.clone().or_else(|| {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
    });
    let (cluster, account, region) = (
        given(args.cluster.clone(), "--cluster", EXAMPLES.0),
        given(args.account.clone(), "--account", EXAMPLES.1),
        given(region, "--region", EXAMPLES.2),
    );
    let target = Target {
        cluster,
        account,
        region,
        alarms: args.alarm.clone(),
        examples,
    };
    let file = args.aws_fis.display();
    let export = fis::export(&manifest, &target).map_err(|refusals| {
        let lines: Vec<String> = refusals
            .iter()
            .map(|refusal| format!("{file}: {}", lang.of(refusal)))
            .collect();
        Failure::usage(lines.join("\n"))
    })?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("fis-{}", manifest.name)));
    std::fs::create_dir_all(&out).component(format!("making {}", out.display()))?;
    for file in &export.files {
        let path = out.join(file.name);
        std::fs::write(&path, &file.text).component(format!("writing {}", path.display()))?;
    }
    if args.json {
        let files: Vec<_> = export.files.iter().map(|file| out.join(file.name)).collect();
        output::json(
            &json!({"out": out, "files": files, "notes": export.notes, "examples": target.examples}),
        );
        return Ok(());
    }
    for file in &export.files {
        output::line(out.join(file.name).display());
    }
    if !target.examples.is_empty() {
        let names = target.examples.join(", ");
        output::line(match lang {
            Lang::Ja => format!(
                "{names} が指定されていないので、例の値が入っています。指定して書き出し直してください。"
            ),
            Lang::En => format!("{names} not given: the files name examples; export again with your own."),
        });
    }
    output::line(lang.pick("FIS では運べないもの:", "what FIS does not carry:"));
    for note in &export.notes {
        output::line(format!("  - {}", lang.of(note)));
    }
    output::line(match lang {
        Lang::Ja => format!("手順は {} にあります。", out.join("README.ja.md").display()),
        Lang::En => format!("what to do next: {}", out.join("README.md").display()),
    });
    Ok(())
}
