//! What is right as YAML and yet will not do what its author hopes.

use hikeshi_scenario::{Problem, Text};
use serde::Serialize;

use crate::cujs::Cujs;
use crate::policy::{Burn, Severity, Span};
use crate::read::{parse, places};
use crate::spec::{Spec, specs};
use hikeshi_scenario::node::{Node, Step};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Worth knowing; nothing need be done.
    Note,
    /// Something will not work as written.
    Warning,
}

/// One finding. Line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub file: String,
    pub line: u64,
    pub column: u64,
    /// `unreachable`, `never-spends`, `low-traffic`, `window`, `duplicate`, `ratio`, `no-alerts` or `priority`.
    pub rule: &'static str,
    pub weight: Weight,
    pub message: Text,
}

/// Reads a file and looks for what will not work, in the order of the file.
///
/// # Errors
/// What [`parse`] refuses.
pub fn lint(file_name: &str, text: &str) -> Result<Vec<Finding>, Vec<Problem>> {
    let cujs = parse(file_name, text)?;
    let mut looking = Looking {
        file: file_name,
        places: places(text),
        found: Vec::new(),
    };
    looking.at(&cujs);
    looking.found.sort_by_key(|f| (f.line, f.column));
    Ok(looking.found)
}

struct Looking<'a> {
    file: &'a str,
    places: Option<Node>,
    found: Vec<Finding>,
}

impl Looking<'_> {
    fn say(&mut self, path: &[Step<'_>], rule: &'static str, weight: Weight, ja: String, en: String) {
        let (line, column) = self.places.as_ref().map_or((0, 0), |node| node.place(path));
        self.found.push(Finding {
            file: self.file.to_owned(),
            line,
            column,
            rule,
            weight,
            message: Text { ja, en },
        });
    }

    fn at(&mut self, cujs: &Cujs) {
        let all = specs(cujs);
        let paths = cujs
            .cujs
            .iter()
            .enumerate()
            .flat_map(|(c, cuj)| (0..cuj.slos.len()).map(move |s| (c, s)));
        for (index, ((c, s), spec)) in paths.zip(&all).enumerate() {
            let slo = &cujs.cujs[c].slos[s];
            let below = |key: &'static str| -> [Step<'static>; 5] {
                ["cujs".into(), c.into(), "slos".into(), s.into(), key.into()]
            };
            for burn in &spec.burns {
                self.alert(spec, burn, &below("objective"));
            }
            if spec.alerts().next().is_none() {
                self.say(
                    &below("alerting"),
                    "no-alerts",
                    Weight::Note,
                    format!("{} にはアラートがありません。", spec.id),
                    format!("{} has no alert", spec.id),
                );
            }
            self.traffic(spec, slo.queries.is_some(), &below("sli"));
            if let Some(other) = all[..index].iter().find(|other| other.source == spec.source) {
                self.say(
                    &below("sli"),
                    "duplicate",
                    Weight::Warning,
                    format!("{} は {} と同じイベントを数えています。", spec.id, other.id),
                    format!("{} counts the same events as {}", spec.id, other.id),
                );
            }
        }
    }

    fn alert(&mut self, spec: &Spec, burn: &Burn, at: &[Step<'_>]) {
        let (long, factor) = (burn.long.name(), burn.factor);
        if !spec.reachable(burn) {
            let (objective, most) = (spec.objective, 1.0 / spec.budget);
            let needed = 100.0 - 100.0 / factor;
            self.say(
                at,
                "unreachable",
                Weight::Warning,
                format!(
                    "{}: 目標が {objective} % では {long} の {factor} 倍のアラートは決して鳴りません。全面停止でも {most:.1} 倍です。{needed:.2} % を超える目標が必要です。",
                    spec.id
                ),
                format!(
                    "{}: at {objective} % the {factor}x alert over {long} can never fire: even a full outage burns only {most:.1}x; it takes an objective above {needed:.2} %",
                    spec.id
                ),
            );
        }
        #[expect(clippy::float_cmp, reason = "one was copied from the other, or not")]
        let raised = burn.asked != burn.factor;
        if raised {
            #[expect(clippy::cast_precision_loss, reason = "at most a year of seconds")]
            let share = burn.long.seconds as f64 / spec.period.seconds() as f64 * 100.0;
            let asked = (burn.asked * 1e3).round() / 1e3;
            self.say(
                at,
                "never-spends",
                Weight::Note,
                format!(
                    "{}: 期間 {} では {long} のアラートは {asked} 倍になりますが、その速さでは期間内にバジェットを使い切りません。1 倍 (バジェットの {share:.0} %) を使います。",
                    spec.id, spec.period
                ),
                format!(
                    "{}: over {} the alert of {long} would fire at {asked}x, a speed that never spends the budget; 1x is used, which is {share:.0} % of it",
                    spec.id, spec.period
                ),
            );
        }
        if burn.long.seconds >= spec.period.seconds() {
            self.say(
                at,
                "window",
                Weight::Warning,
                format!(
                    "{}: アラートの窓 {long} が期間 {} 以上です。",
                    spec.id, spec.period
                ),
                format!(
                    "{}: the alert's window of {long} is as long as the period, {}",
                    spec.id, spec.period
                ),
            );
        }
    }

    /// Whether one failure among as few events as the gate lets through would wake somebody.
    fn traffic(&mut self, spec: &Spec, own: bool, at: &[Step<'_>]) {
        if !spec.counts() {
            self.say(
                at,
                "ratio",
                Weight::Note,
                format!(
                    "{}: 比率のクエリには件数がないため、少ないリクエストを見分けられず、期間のバジェットは時間の平均になります。",
                    spec.id
                ),
                format!(
                    "{}: a ratio has no counts: low traffic cannot be told from much, and the period's budget is an average over time",
                    spec.id
                ),
            );
            return;
        }
        let pages = spec.alerts().filter(|burn| burn.severity == Severity::Page);
        let Some(worst) = pages.min_by(|a, b| a.factor.total_cmp(&b.factor)) else {
            return;
        };
        // One failure of n burns 1 / (n x budget) times too fast: quiet needs n > 1 / (factor x budget).
        let enough = (1.0 / (worst.factor * spec.budget)).ceil();
        if spec.min_failures < 2 && f64::from(spec.min_events) < enough {
            // A gate that somebody left open on purpose, as imported files do, is a note.
            let weight = if own && spec.min_events == 0 {
                Weight::Note
            } else {
                Weight::Warning
            };
            let (least, long) = (spec.min_events, Span::name(worst.long));
            self.say(
                at,
                "low-traffic",
                weight,
                format!(
                    "{}: {long} に {least} 件しかないとき、失敗 1 件で呼び出しが鳴ります。minEvents を {enough} 以上にするか、minFailures を 2 以上にしてください。",
                    spec.id
                ),
                format!(
                    "{}: with {least} events in {long} a single failure pages; set minEvents to at least {enough}, or minFailures to 2 or more",
                    spec.id
                ),
            );
        }
    }
}
