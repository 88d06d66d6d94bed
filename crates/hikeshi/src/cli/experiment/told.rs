//! Experiments in lines for people.

use hikeshi_experiment::api::{CheckNow, CheckResult, Detail, Phase, Preview, Summary};
use hikeshi_experiment::{Role, duration};

use super::super::output;
use super::Lang;

/// What would be hit, before it is.
pub fn preview(preview: &Preview, lasts: Option<f64>, lang: Lang) {
    let Preview {
        kind,
        namespace,
        name,
        blast_radius: blast,
        ..
    } = preview;
    output::line(format!("{kind} {namespace}/{name}"));
    output::line(format!("  {}", lang.of(&preview.effect)));
    let (selected, of) = (blast.selected, blast.of);
    output::line(match lang {
        Lang::Ja => format!("影響範囲: {of} Pod のうち最大 {selected}"),
        Lang::En => format!("blast radius: at most {selected} of {of} pod(s)"),
    });
    for pod in &blast.pods {
        output::line(format!(
            "  {}/{}  {}  {}",
            pod.namespace, pod.name, pod.workload, pod.node
        ));
    }
    for service in &blast.services {
        output::line(format!(
            "  Service {}/{}:{}",
            service.namespace, service.name, service.port
        ));
    }
    let requests = match (blast.requests_per_second, blast.share_of_requests) {
        (Some(rate), Some(share)) => {
            let (rate, share) = (figure(rate, ""), figure(share, "ratio"));
            match lang {
                Lang::Ja => format!("  直近のリクエスト: 毎秒 {rate} (全体の {share})"),
                Lang::En => format!("  requests lately: {rate} per second ({share} of all)"),
            }
        }
        _ => lang
            .pick("  直近のリクエスト: 測定なし", "  requests lately: not measured")
            .to_owned(),
    };
    output::line(requests);
    if preview.duration_s.is_none()
        && let Some(lasts) = lasts
    {
        let lasts = duration::words(lasts);
        output::line(match lang {
            Lang::Ja => format!("{lasts} で終わります (--for で変えられます)"),
            Lang::En => format!("it ends after {lasts} (--for says otherwise)"),
        });
    }
    let each = |role: &str, check: &CheckNow| {
        let value = check
            .value
            .map_or_else(|| "-".to_owned(), |value| figure(value, ""));
        output::line(format!(
            "{role} {}: {}  ({} {value})",
            check.name,
            check.query,
            lang.pick("現在", "now")
        ));
    };
    preview
        .hypothesis
        .iter()
        .for_each(|check| each(lang.pick("仮説", "hypothesis"), check));
    preview
        .guards
        .iter()
        .for_each(|check| each(lang.pick("ガード", "guard"), check));
}

/// One line of the list.
pub fn line(summary: &Summary, lang: Lang) {
    let state = match (summary.phase, summary.verdict) {
        (Phase::Ended, Some(verdict)) => lang.of(&verdict.word()).to_owned(),
        (Phase::Ended, None) => lang.pick("終了", "ended").to_owned(),
        (phase, _) => phase_word(phase, lang).to_owned(),
    };
    let (hit, by) = (summary.hit, &summary.by);
    let kind = &summary.kind;
    output::line(match lang {
        Lang::Ja => format!("{}  {kind}  {state}  {hit} Pod  実行者 {by}", summary.id),
        Lang::En => format!("{}  {kind}  {state}  {hit} hit  by {by}", summary.id),
    });
}

fn phase_word(phase: Phase, lang: Lang) -> &'static str {
    match phase {
        Phase::Pending => lang.pick("確認中", "pending"),
        Phase::Injecting => lang.pick("注入中", "injecting"),
        Phase::Running => lang.pick("実行中", "running"),
        Phase::Recovering => lang.pick("復旧確認中", "recovering"),
        Phase::Ended => lang.pick("終了", "ended"),
    }
}

/// Everything about one.
pub fn detail(detail: &Detail, lang: Lang) {
    line(&detail.summary, lang);
    output::line(format!("  {}", lang.of(&detail.summary.sentence)));
    if !detail.records.is_empty() {
        output::line(lang.pick("対象:", "hit:"));
    }
    for record in &detail.records {
        let time = |at: Option<_>| at.map_or_else(|| "-".to_owned(), clock);
        let container = if record.container.is_empty() {
            String::new()
        } else {
            format!("/{}", record.container)
        };
        let (from, to) = (time(record.injected_at), time(record.recovered_at));
        let message = if record.message.is_empty() {
            String::new()
        } else {
            format!("  {}", record.message)
        };
        output::line(format!("  {}{container}  {from} -> {to}{message}", record.pod));
    }
    if !detail.checks.is_empty() {
        output::line(lang.pick(
            "測定 (前 / 最中の最悪値 / 後):",
            "measured (before / worst during / after):",
        ));
    }
    for (check, unit) in detail
        .checks
        .iter()
        .zip(detail.figures.iter().map(|figure| &figure.unit))
    {
        self::check(check, unit, lang);
    }
    match (detail.recovery.verified, detail.recovery.seconds) {
        (Some(true), Some(seconds)) => output::line(match lang {
            Lang::Ja => format!("復旧: 確認済み、{seconds:.1} 秒"),
            Lang::En => format!("recovery: verified, {seconds:.1} s"),
        }),
        (Some(false), _) => output::line(lang.pick("復旧: 確認できませんでした", "recovery: NOT verified")),
        _ => {}
    }
    output::line(lang.pick("経過:", "events:"));
    for note in &detail.events {
        output::line(format!("  {}  {}", clock(note.at), lang.of(&note.text)));
    }
}

fn check(check: &CheckResult, unit: &str, lang: Lang) {
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| figure(value, unit));
    let role = match check.role {
        Role::Hypothesis => lang.pick("仮説", "hypothesis"),
        Role::Guard => lang.pick("ガード", "guard"),
    };
    let holds = match (check.role, check.holds) {
        (Role::Hypothesis, Some(true)) => lang.pick("成立", "held"),
        (Role::Hypothesis, Some(false)) => lang.pick("不成立", "did not hold"),
        (Role::Guard, Some(true)) => lang.pick("作動せず", "quiet"),
        (Role::Guard, Some(false)) => lang.pick("作動", "tripped"),
        (_, None) => "-",
    };
    output::line(format!(
        "  {role} {}  {} / {} / {}  {holds}  ({})",
        check.name,
        show(check.before),
        show(check.during),
        show(check.after),
        check.query
    ));
}

/// A figure with its unit.
pub fn figure(value: f64, unit: &str) -> String {
    match unit {
        "seconds" => format!("{value:.3} s"),
        "ratio" => format!("{:.2} %", value * 100.0),
        _ if value.abs() >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// The time of day, UTC.
fn clock(at: impl std::fmt::Display) -> String {
    let text = at.to_string();
    let time = text.split('T').nth(1).unwrap_or(&text);
    time.get(..8).unwrap_or(time).to_owned()
}
