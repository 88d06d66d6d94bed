//! `hikeshi slo generate|import|export`.

use std::path::{Path, PathBuf};

use hikeshi_slo::formats::{self, Format, Note};
use hikeshi_slo::generate;
use serde_json::json;

use super::super::args::Lang;
use super::super::output;
use super::args::{How, Source};
use super::file;
use crate::failure::{Context, Failure};

pub fn generate(file: Option<PathBuf>, out: &Path, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let file = file::read(file)?;
    let generated = generate::generate(&file.cujs);
    for one in &generated.files {
        let path = out.join(&one.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).component(format!("making {}", folder.display()))?;
        }
        std::fs::write(&path, &one.text).component(format!("writing {}", path.display()))?;
    }
    if how.json {
        let files: Vec<&str> = generated.files.iter().map(|file| file.path.as_str()).collect();
        let notes: Vec<_> = generated
            .notes
            .iter()
            .map(|(slo, text)| json!({"slo": slo, "text": text}))
            .collect();
        output::json(&json!({"out": out, "files": files, "notes": notes}));
        return Ok(());
    }
    let count = |folder: &str| {
        generated
            .files
            .iter()
            .filter(|f| f.path.starts_with(folder))
            .count()
    };
    output::line(match lang {
        Lang::Ja => format!("{} に書き出しました:", out.display()),
        Lang::En => format!("written to {}:", out.display()),
    });
    for (folder, ja, en) in [
        ("rules/", "Prometheus のルール", "Prometheus rules"),
        ("tests/", "promtool のテスト", "promtool tests"),
        (
            "kubernetes/",
            "PrometheusRule オブジェクト",
            "PrometheusRule objects",
        ),
        ("grafana/", "Grafana のダッシュボード", "Grafana dashboard"),
    ] {
        output::line(format!(
            "  {folder:<12} {:>3}  {}",
            count(folder),
            lang.pick(ja, en)
        ));
    }
    for (slo, note) in &generated.notes {
        output::line(format!("  {slo}: {}", lang.of(note)));
    }
    output::line(match lang {
        Lang::Ja => format!("確かめるには: promtool test rules {}/tests/*.yaml", out.display()),
        Lang::En => format!(
            "to prove them: promtool test rules {}/tests/*.yaml",
            out.display()
        ),
    });
    Ok(())
}

pub fn import(file: &Path, format: Option<Source>, out: Option<&Path>, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let format = format.map(|format| match format {
        Source::Sloth => Format::Sloth,
        Source::Openslo => Format::Openslo,
    });
    let imported = formats::import(&name, &text, format).map_err(|problems| file::refusal(&problems))?;
    let yaml = serde_saphyr::to_string(&imported.cujs).component("writing the SLOs")?;
    // What was read must be right as a file of our own, too: e.g. names that only differ in what we cannot write.
    hikeshi_slo::parse(&name, &yaml).map_err(|problems| {
        let said: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
        Failure::usage(format!(
            "{name}: cannot be said in cujs.yaml: {}",
            said.join("; ")
        ))
    })?;
    deliver(&yaml, out, &imported.notes, &name, lang, how)
}

pub fn export(file: Option<PathBuf>, out: Option<&Path>, how: &How) -> Result<(), Failure> {
    let lang = Lang::or_environment(how.lang);
    let file = file::read(file)?;
    let (text, notes) = formats::export_openslo(&file.cujs);
    deliver(&text, out, &notes, &file.name, lang, how)
}

/// The text goes to its file or standard output; what could not be said, to standard error or `--json`.
fn deliver(
    text: &str,
    out: Option<&Path>,
    notes: &[Note],
    name: &str,
    lang: Lang,
    how: &How,
) -> Result<(), Failure> {
    if let Some(out) = out {
        std::fs::write(out, text).component(format!("writing {}", out.display()))?;
    }
    if how.json {
        let content = out.is_none().then_some(text);
        output::json(&json!({"out": out, "text": content, "notes": notes}));
        return Ok(());
    }
    match out {
        Some(out) => output::line(out.display()),
        None => output::line(text.trim_end()),
    }
    for note in notes {
        let at = match note.line {
            0 => String::new(),
            line => format!("{name}:{line}:{}: ", note.column),
        };
        output::aside(format!("{at}{}: {}", note.about, lang.of(&note.text)));
    }
    Ok(())
}
