//! `hikeshi slo lint|schema|generate|import|export|budget|backtest|set|history`.

pub mod args;
mod backtest;
mod budget;
mod change;
mod fetch;
mod file;
mod marks;
mod write;

use args::SloCommand;
use hikeshi_slo::Weight;

use super::args::Lang;
use super::output;
use crate::failure::{Context, Failure};

/// Writes another text of a `cujs.yaml`, with who changed what and why in the history.
pub fn keep_objectives(path: &std::path::Path, text: &str, who: &str, why: &str) -> Result<(), Failure> {
    let before = file::read(Some(path.to_path_buf()))?;
    change::keep(&before, text, who, why).map(drop)
}

pub fn run(command: SloCommand) -> Result<(), Failure> {
    match command {
        SloCommand::Lint { file, how } => lint(file, &how),
        SloCommand::Schema => {
            output::json(&hikeshi_slo::schema());
            Ok(())
        }
        SloCommand::Generate { file, out, how } => write::generate(file, &out, &how),
        SloCommand::Import {
            file,
            format,
            out,
            how,
        } => write::import(&file, format, out.as_deref(), &how),
        SloCommand::Export {
            file,
            format: args::Target::Openslo,
            out,
            how,
        } => write::export(file, out.as_deref(), &how),
        SloCommand::Budget { file, asked, how } => budget::run(file, &asked, &how),
        SloCommand::Backtest {
            file,
            from,
            to,
            step,
            asked,
            how,
        } => backtest::run(
            file,
            &backtest::Span {
                from: &from,
                to: to.as_deref(),
                step: step.as_deref(),
            },
            &asked,
            &how,
        ),
        SloCommand::Set {
            cuj,
            sli,
            objective,
            why,
            file,
            how,
        } => change::set(
            &change::Wish {
                cuj: &cuj,
                sli: &sli,
                objective,
                why: &why,
            },
            file,
            &how,
        ),
        SloCommand::History { file, how } => change::history(file, &how),
    }
}

/// Writes down what of a system's objectives changed since they were last seen. That this fails is said by `slo history`; it is
/// no reason not to come up.
pub fn seen(system: &str) {
    let noticed = crate::paths::share()
        .and_then(|share| crate::daemon::session::cujs(&share, system))
        .and_then(|cujs| change::notice(&cujs));
    if let Err(failure) = noticed {
        tracing::warn!("the history of SLOs: {failure}");
    }
}

fn lint(file: Option<std::path::PathBuf>, how: &args::How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let file = file::read(file)?;
    let found = hikeshi_slo::lint(&file.name, &file.text).map_err(|problems| file::refusal(&problems))?;
    if how.json {
        output::json(&serde_json::to_value(&found).component("telling findings")?);
    } else {
        for finding in &found {
            let weight = match finding.weight {
                Weight::Note => lang.pick("参考", "note"),
                Weight::Warning => lang.pick("警告", "warning"),
            };
            output::line(format!(
                "{}:{}:{}: {weight}: {} [{}]",
                finding.file,
                finding.line,
                finding.column,
                lang.of(&finding.message),
                finding.rule
            ));
        }
    }
    let warnings = found.iter().filter(|f| f.weight == Weight::Warning).count();
    if warnings > 0 {
        return Err(Failure::not_so(match lang {
            Lang::Ja => format!("警告が {warnings} 件あります"),
            Lang::En => format!("{warnings} warning(s)"),
        }));
    }
    if !how.json {
        let slos = hikeshi_slo::specs(&file.cujs).len();
        output::line(match lang {
            Lang::Ja => format!("{}: SLO {slos} 件、問題は見つかりませんでした", file.name),
            Lang::En => format!("{}: {slos} SLO(s) checked, nothing wrong", file.name),
        });
    }
    Ok(())
}
