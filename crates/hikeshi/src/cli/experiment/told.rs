//! Experiments in lines for people.

use hikeshi_experiment::api::{
    CheckNow, CheckResult, Detail, EdgeFigures, Flow, Phase, Preview, Range, Summary, Traffic,
};
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
    traffic(&blast.traffic, lang);
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

/// What of the traffic it would touch, and what of that is not known.
fn traffic(traffic: &Traffic, lang: Lang) {
    if let (Some(all), Some(hit), Some(share)) =
        (traffic.requests_per_second, traffic.hit_per_second, traffic.share)
    {
        let (all, hit, share) = (figure(all, ""), within(hit, ""), within(share, "ratio"));
        output::line(match lang {
            Lang::Ja => format!("  リクエスト: 毎秒 {all} 件のうち {hit} 件 ({share}) に影響"),
            Lang::En => format!("  requests: {hit} of {all} per second are hit ({share})"),
        });
    } else {
        let words = lang.pick("  リクエスト: 不明", "  requests: not known");
        output::line(words);
    }
    if let Some(share) = traffic.share_of_all {
        let share = within(share, "ratio");
        output::line(match lang {
            Lang::Ja => format!("  クラスターの全リクエストの {share}"),
            Lang::En => format!("  {share} of all requests in the cluster"),
        });
    }
    for journey in &traffic.journeys {
        let (title, share) = (lang.of(&journey.title), within(journey.share, "ratio"));
        let rate = figure(journey.per_second, "");
        output::line(match lang {
            Lang::Ja => format!("  ジャーニー「{title}」: 毎秒 {rate} 件のうち {share}"),
            Lang::En => format!("  journey {title}: {share} of {rate} per second"),
        });
    }
    for note in &traffic.notes {
        output::line(format!("  * {}", lang.of(note)));
    }
}

/// A figure within its limits.
fn within(range: Range, unit: &str) -> String {
    let (least, most) = (figure(range.least, unit), figure(range.most, unit));
    if least == most {
        most
    } else {
        format!("{least} - {most}")
    }
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
    if !detail.edges.is_empty() {
        output::line(lang.pick(
            "通信 (直前 1 分 / 最中 / 後): 毎秒の件数、エラー率、p50、p99",
            "traffic (the minute before / during / after): requests per second, errors, p50, p99",
        ));
    }
    detail.edges.iter().for_each(edge);
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

fn edge(edge: &EdgeFigures) {
    let show = |flow: Option<Flow>| match flow {
        None => "-".to_owned(),
        Some(flow) => {
            let of =
                |value: Option<f64>, unit| value.map_or_else(|| "-".to_owned(), |value| figure(value, unit));
            format!(
                "{} {} {} {}",
                figure(flow.requests_per_second, ""),
                of(flow.error_share, "ratio"),
                of(flow.p50_s, "seconds"),
                of(flow.p99_s, "seconds")
            )
        }
    };
    output::line(format!(
        "  {} -> {}  {} / {} / {}",
        edge.source,
        edge.destination,
        show(edge.before),
        show(edge.during),
        show(edge.after)
    ));
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
