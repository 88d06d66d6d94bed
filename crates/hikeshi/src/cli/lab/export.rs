//! `hikeshi lab export`: the talk's own kind of manifests, to be applied where Chaos Mesh and a load balancer are.

use std::path::PathBuf;

use clap::Args;
use hikeshi_lab::{Normal, compile, level};
use serde_json::Value;

use super::{How, USUAL_SYSTEM};
use crate::cli::args::Lang;
use crate::cli::output;
use crate::daemon::{lab, session};
use crate::failure::{Context, Failure};

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A journey of the system's lab.yaml
    #[arg(value_name = "CUJ")]
    journey: String,
    /// One level, such as 1s, +800ms, 1.5%
    #[arg(long)]
    level: String,
    /// What everything else takes: 200ms, or quantiles (their middle is used)
    #[arg(long, default_value = "", hide_default_value = true)]
    normal: String,
    /// Only requests with the cookie hikeshi_lab=VALUE feel it
    #[arg(long, value_name = "VALUE")]
    person: Option<String>,
    /// The Deployment behind your ingress, as `kubectl get deployment NAME -o json` tells it; else the system's own
    #[arg(long, value_name = "FILE")]
    deployment: Option<PathBuf>,
    #[arg(long, default_value = USUAL_SYSTEM)]
    system: String,
    #[command(flatten)]
    how: How,
}

pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    let lang = Lang::or_environment(args.how.lang);
    let share = crate::paths::share()?;
    let file = lab::file(&share, &args.system)?
        .ok_or_else(|| Failure::usage(format!("system {} has no lab.yaml", args.system)))?;
    let Some(journey) = file.journey(&args.journey) else {
        let names: Vec<&str> = file.journeys.iter().map(|journey| journey.cuj.as_str()).collect();
        return Err(
            Failure::usage(format!("the lab has no journey `{}`", args.journey))
                .hint(format!("there are {}", names.join(", "))),
        );
    };
    let cujs = session::cujs(&share, &args.system)?;
    let described = journey.described(&cujs).map_err(Failure::usage)?;
    let mut only = cujs;
    only.cujs = vec![described];
    let availability = hikeshi_slo::specs(&only)
        .into_iter()
        .find(|spec| spec.sli == "availability");
    let level =
        level::parse(&args.level, availability.as_ref()).map_err(|text| Failure::usage(lang.of(&text)))?;
    let normal = match args.normal.as_str() {
        "" => Normal::default(),
        text => Normal::parse(text).map_err(|wrong| Failure::usage(lang.of(&wrong.0)))?,
    };
    let deployment = match &args.deployment {
        Some(path) => serde_json::from_str::<Value>(&super::read(path)?).map_err(|error| {
            Failure::usage(format!("{}: {error}: write it with `-o json`", path.display()))
        })?,
        None => shipped(&share, &args.system, &file.entrance.deployment)?,
    };
    let exported = compile::talk(
        &file.entrance,
        &deployment,
        journey,
        level,
        &normal,
        args.person.as_deref(),
    )
    .map_err(|text| Failure::usage(lang.of(&text)))?;
    if args.how.json {
        output::json(&serde_json::json!({"objects": exported.objects, "notes": exported.notes}));
        return Ok(());
    }
    for note in &exported.notes {
        output::line(format!("# {}", lang.of(note)));
    }
    for object in &exported.objects {
        output::line("---");
        output::line(
            serde_saphyr::to_string(object)
                .component("writing a manifest")?
                .trim_end(),
        );
    }
    Ok(())
}

/// The Deployment among the system's own manifests.
fn shipped(share: &std::path::Path, system: &str, name: &str) -> Result<Value, Failure> {
    let objects = crate::control::manifests::read(&share.join("systems").join(system))?;
    let found = objects
        .into_iter()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == name);
    found.ok_or_else(|| Failure::usage(format!("system {system} has no Deployment {name}")))
}
