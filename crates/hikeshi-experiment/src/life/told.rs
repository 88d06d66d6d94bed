//! An experiment as the page and the command line are told of it.

use hikeshi_scenario::Text;

use super::{Experiment, text};
use crate::annotations::Role;
use crate::api::{CheckResult, Detail, Figure, Phase, Summary};
use crate::manifest::yaml;

impl Experiment {
    /// One line of the list.
    pub fn summary(&self) -> Summary {
        Summary {
            id: self.id.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            kind: self.kind.clone(),
            phase: self.phase,
            started_at: self.started_at.unwrap_or(self.created_at),
            ended_at: self.ended_at,
            by: if self.by.is_empty() { "unknown" } else { &self.by }.to_owned(),
            hit: self.hit(),
            verdict: self.verdict.filter(|_| self.phase == Phase::Ended),
            sentence: self.sentence(),
        }
    }

    /// Everything.
    pub fn detail(&self) -> Detail {
        Detail {
            summary: self.summary(),
            manifest: yaml(&self.object),
            records: self.records.clone(),
            figures: self
                .measured
                .iter()
                .map(|measured| Figure {
                    name: measured.check.name.clone(),
                    query: measured.check.query.clone(),
                    unit: measured.check.unit.clone(),
                    objective: Some(measured.check.threshold),
                    points: measured.points.clone(),
                })
                .collect(),
            checks: self
                .measured
                .iter()
                .map(|measured| self.result(measured))
                .collect(),
            edges: self.edges.clone(),
            recovery: self.recovery.clone(),
            events: self.events.clone(),
        }
    }

    fn result(&self, measured: &super::Measured) -> CheckResult {
        let check = &measured.check;
        let known = self.phase == Phase::Ended && measured.during.is_some();
        let holds = match check.role {
            Role::Guard => (measured.broken || known).then_some(!measured.broken),
            Role::Hypothesis => {
                let at = |value: Option<f64>| value.and_then(|value| check.is_true(&[value]));
                let all = [at(measured.before), Some(!measured.broken), at(measured.after)];
                if measured.broken || at(measured.before) == Some(false) {
                    Some(false)
                } else if known && all[2].is_some() {
                    Some(all.iter().all(|one| *one == Some(true)))
                } else {
                    None
                }
            }
        };
        CheckResult {
            name: check.name.clone(),
            role: check.role,
            query: check.said.clone(),
            before: measured.before,
            during: measured.during,
            after: measured.after,
            holds,
        }
    }

    fn sentence(&self) -> Text {
        let hit = self.hit();
        match self.phase {
            Phase::Pending => text("定常状態を確認しています。", "The steady state is being checked."),
            Phase::Injecting => text("注入しています。", "It is being injected."),
            Phase::Running => text(
                format!("{hit} 個の Pod に注入中です。"),
                format!("{hit} pod(s) are hit."),
            ),
            Phase::Recovering => text(
                "障害を解除し、復旧を確認しています。",
                "The fault is lifted; recovery is being verified.",
            ),
            Phase::Ended => match (self.verdict, &self.reason) {
                (Some(verdict), Some(reason)) => {
                    let word = verdict.word();
                    text(
                        format!("{}: {}。", word.ja, reason.ja),
                        format!("{}: {}.", word.en, reason.en),
                    )
                }
                _ => text(
                    format!("終了しました。{hit} 個の Pod に注入しました (仮説なし)。"),
                    format!("Ended; {hit} pod(s) were hit (no hypothesis was stated)."),
                ),
            },
        }
    }
}
