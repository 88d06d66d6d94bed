//! A score out of 100 that explains itself. It is the team's, never a person's.

use hikeshi_scenario::Scenario;
use serde::Serialize;

use crate::Lang;
use crate::event::Event;
use crate::metrics::{Metrics, metrics};

/// The team's score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Score {
    pub points: u32,
    pub of: u32,
    pub lines: Vec<Line>,
}

/// One line: what it is for, how much of it, why, and the events that show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Stable name, e.g. `acknowledge`.
    pub name: &'static str,
    pub points: u32,
    pub of: u32,
    pub reason_ja: String,
    pub reason_en: String,
    pub seqs: Vec<u64>,
}

impl Line {
    pub fn reason(&self, lang: Lang) -> &str {
        lang.pick(&self.reason_ja, &self.reason_en)
    }
}

/// Judges a log by what [`metrics`] measured.
pub fn score(events: &[Event], scenario: &Scenario) -> Score {
    let m = metrics(events, scenario);
    let lines = vec![
        timed(
            "acknowledge",
            10,
            m.to_acknowledge,
            m.acknowledged.map(|k| k.seq),
            (120.0, 300.0),
            (
                "検知(アラートの確認)",
                "acknowledged",
                "the alert was never acknowledged",
            ),
        ),
        timed(
            "assign",
            10,
            m.to_assign,
            m.commander.map(|k| k.seq),
            (180.0, 480.0),
            (
                "アサイン(指揮官の決定)",
                "a commander assigned",
                "nobody was made commander",
            ),
        ),
        timed(
            "impact",
            10,
            m.to_impact,
            m.impact.map(|k| k.seq),
            (300.0, 600.0),
            ("インパクトの明言", "impact stated", "the impact was never stated"),
        ),
        timed(
            "notify",
            5,
            m.to_notify,
            m.notified.map(|k| k.seq),
            (300.0, 900.0),
            (
                "関係者への第一報",
                "stakeholders told",
                "stakeholders were never told",
            ),
        ),
        silence(&m),
        promises(&m),
        hypotheses(&m),
        mitigated(&m),
        resolved(&m),
        duplicates(&m),
        calls(&m),
        hints(&m),
        budget(&m),
    ];
    Score {
        points: lines.iter().map(|l| l.points).sum(),
        of: lines.iter().map(|l| l.of).sum(),
        lines,
    }
}

fn line(name: &'static str, points: u32, of: u32, ja: String, en: String, seqs: Vec<u64>) -> Line {
    Line {
        name,
        points,
        of,
        reason_ja: ja,
        reason_en: en,
        seqs,
    }
}

/// Whole within the first limit, half within the second.
fn timed(
    name: &'static str,
    of: u32,
    seconds: Option<f64>,
    seq: Option<u64>,
    (good, fair): (f64, f64),
    (ja, en, never): (&str, &str, &str),
) -> Line {
    let Some(seconds) = seconds else {
        return line(
            name,
            0,
            of,
            format!("{ja}がありませんでした"),
            never.to_owned(),
            Vec::new(),
        );
    };
    let points = if seconds <= good {
        of
    } else if seconds <= fair {
        of / 2
    } else {
        0
    };
    let (took, limit) = (span(seconds, Lang::Ja), span(good, Lang::Ja));
    let ja = format!("{ja}: アラートから {took} (目安 {limit})");
    let en = format!(
        "{en} {} after the alert (aim: {})",
        span(seconds, Lang::En),
        span(good, Lang::En)
    );
    line(name, points, of, ja, en, seq.into_iter().collect())
}

/// `1 change`, `2 changes`.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn silence(m: &Metrics) -> Line {
    let Some(longest) = m.silences.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)) else {
        return line(
            "silence",
            10,
            10,
            "知らせるべき関係者はいませんでした".into(),
            "nobody had to be kept informed".into(),
            Vec::new(),
        );
    };
    let points = if longest.seconds <= 900.0 {
        10
    } else if longest.seconds <= 1_500.0 {
        5
    } else {
        0
    };
    let ja = format!(
        "最も長い沈黙は {} さんへの {} (目安 15 分)",
        longest.toward,
        span(longest.seconds, Lang::Ja)
    );
    let en = format!(
        "the longest silence was {} toward {} (aim: 15 min)",
        span(longest.seconds, Lang::En),
        longest.toward
    );
    line("silence", points, 10, ja, en, longest.seqs.to_vec())
}

fn promises(m: &Metrics) -> Line {
    let broken: Vec<u64> = m.promises.iter().filter(|p| !p.kept).map(|p| p.seq).collect();
    if m.promises.is_empty() {
        return line(
            "promises",
            5,
            5,
            "時刻を約束した報告はありませんでした".into(),
            "no update was promised for a time".into(),
            broken,
        );
    }
    if broken.is_empty() {
        let kept = m.promises.len();
        return line(
            "promises",
            5,
            5,
            format!("報告の約束 {kept} 件はすべて守られました"),
            format!("{} came in time", count(kept, "promised update")),
            m.promises.iter().map(|p| p.seq).collect(),
        );
    }
    let n = broken.len();
    line(
        "promises",
        0,
        5,
        format!("約束した時刻までに報告がありませんでした ({n} 件)"),
        format!("{} did not come in time", count(n, "promised update")),
        broken,
    )
}

fn hypotheses(m: &Metrics) -> Line {
    let blind: Vec<u64> = m
        .actions
        .iter()
        .filter(|a| !a.after_hypothesis)
        .map(|a| a.seq)
        .collect();
    if m.hypotheses.is_empty() {
        return line(
            "hypotheses",
            0,
            10,
            "仮説が書かれませんでした".into(),
            "no hypothesis was written".into(),
            blind,
        );
    }
    if blind.is_empty() {
        let seqs = m.hypotheses.iter().map(|h| h.seq).collect();
        return line(
            "hypotheses",
            10,
            10,
            "変更の前に仮説が書かれていました".into(),
            "hypotheses were written before changes".into(),
            seqs,
        );
    }
    let n = blind.len();
    line(
        "hypotheses",
        5,
        10,
        format!("仮説なしの変更が {n} 件ありました"),
        format!("{} came before any hypothesis", count(n, "change")),
        blind,
    )
}

fn mitigated(m: &Metrics) -> Line {
    let relapsed: Vec<u64> = m.relapsed_mitigations.iter().map(|k| k.seq).collect();
    match m.to_mitigate {
        Some(seconds) => {
            let points = if seconds <= 900.0 {
                10
            } else if seconds <= 1_800.0 {
                7
            } else {
                4
            };
            let points = points - u32::from(!relapsed.is_empty()) * 2;
            let ja = format!(
                "暫定復旧: アラートから {} (再発した宣言 {} 件)",
                span(seconds, Lang::Ja),
                relapsed.len()
            );
            let en = format!(
                "mitigated {} after the alert ({} relapsed)",
                span(seconds, Lang::En),
                count(relapsed.len(), "declaration")
            );
            line(
                "mitigated",
                points,
                10,
                ja,
                en,
                m.mitigated.iter().map(|k| k.seq).chain(relapsed).collect(),
            )
        }
        None if relapsed.is_empty() => line(
            "mitigated",
            0,
            10,
            "暫定復旧の宣言がありませんでした".into(),
            "nobody declared it mitigated".into(),
            relapsed,
        ),
        None => line(
            "mitigated",
            0,
            10,
            "暫定復旧を宣言しましたが、再発しました".into(),
            "declared mitigated, and it came back".into(),
            relapsed,
        ),
    }
}

fn resolved(m: &Metrics) -> Line {
    let seqs: Vec<u64> = m.resolved.iter().chain(&m.oracle).map(|k| k.seq).collect();
    match (m.resolved, m.oracle_green) {
        (Some(_), Some(true)) => line(
            "resolved",
            10,
            10,
            "終息宣言のとおり、本当に直っていました".into(),
            "declared resolved, and it holds".into(),
            seqs,
        ),
        (Some(_), Some(false)) => line(
            "resolved",
            0,
            10,
            "終息宣言のとき、まだ直っていませんでした".into(),
            "declared resolved, but it was not".into(),
            seqs,
        ),
        (Some(_), None) => line(
            "resolved",
            5,
            10,
            "終息宣言は検証されていません".into(),
            "declared resolved; nobody checked".into(),
            seqs,
        ),
        (None, _) => line(
            "resolved",
            0,
            10,
            "終息宣言がありませんでした".into(),
            "nobody declared it resolved".into(),
            seqs,
        ),
    }
}

fn duplicates(m: &Metrics) -> Line {
    let seqs: Vec<u64> = m.duplicated_work.iter().flat_map(|d| d.seqs).collect();
    match m.duplicated_work.len() {
        0 => line(
            "duplicates",
            5,
            5,
            "同じ作業の重複はありませんでした".into(),
            "no work was done twice".into(),
            seqs,
        ),
        n => line(
            "duplicates",
            if n == 1 { 3 } else { 0 },
            5,
            format!("3 分以内に同じコマンドが {n} 回重複しました"),
            format!("run by two people within 3 min: {}", count(n, "command")),
            seqs,
        ),
    }
}

fn calls(m: &Metrics) -> Line {
    let seqs: Vec<u64> = m.unanswered_calls.iter().map(|k| k.seq).collect();
    match seqs.len() {
        0 => line(
            "calls",
            5,
            5,
            "宙に浮いた「誰か」はありませんでした".into(),
            "no `can anyone ...?` was left hanging".into(),
            seqs,
        ),
        n => line(
            "calls",
            0,
            5,
            format!("「誰か」が担当の決まらないまま {n} 件残りました"),
            format!("{n} `can anyone ...?` found no owner"),
            seqs,
        ),
    }
}

fn hints(m: &Metrics) -> Line {
    let seqs: Vec<u64> = m.hints.iter().map(|k| k.seq).collect();
    let n = seqs.len();
    let points = u32::try_from(5_usize.saturating_sub(n * 2)).unwrap_or(0);
    line(
        "hints",
        points,
        5,
        format!("ヒント {n} 件"),
        format!("{} taken", count(n, "hint")),
        seqs,
    )
}

fn budget(m: &Metrics) -> Line {
    let worst = m
        .budget_burned
        .iter()
        .max_by(|a, b| a.1.share.total_cmp(&b.1.share));
    let Some((journey, burn)) = worst else {
        return line(
            "budget",
            0,
            5,
            "SLO の計測値がありません".into(),
            "no SLO was measured".into(),
            Vec::new(),
        );
    };
    let points = if burn.share <= 0.1 {
        5
    } else if burn.share <= 0.3 {
        3
    } else {
        0
    };
    let percent = burn.share * 100.0;
    line(
        "budget",
        points,
        5,
        format!("エラーバジェットの消費は最大 {percent:.1} % ({journey})"),
        format!("at most {percent:.1} % of an error budget was burned ({journey})"),
        burn.seqs.clone(),
    )
}

/// `45 s`, `3 min 20 s`.
pub fn span(seconds: f64, lang: Lang) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a drill's length; a wild value saturates"
    )]
    let whole = seconds.round() as i64;
    let (minutes, rest) = (whole / 60, whole % 60);
    match (lang, minutes, rest) {
        (Lang::Ja, 0, s) => format!("{s} 秒"),
        (Lang::Ja, m, 0) => format!("{m} 分"),
        (Lang::Ja, m, s) => format!("{m} 分 {s} 秒"),
        (Lang::En, 0, s) => format!("{s} s"),
        (Lang::En, m, 0) => format!("{m} min"),
        (Lang::En, m, s) => format!("{m} min {s} s"),
    }
}
