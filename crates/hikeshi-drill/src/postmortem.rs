//! The draft of the document after it: 17 fields, every sentence with its events, what the log does not show marked; then those
//! events themselves. Blameless: people appear as those who found and helped, never as causes.

mod cited;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hikeshi_scenario::{ActionKind, Scenario};
use jiff::tz::Offset;

use crate::Lang;
use crate::event::{Event, EventKind, JourneySample};
use crate::metrics::{Metrics, metrics};
use crate::score::span;
use crate::story::{clock, date};
use crate::timeline::{Category, timeline};
use cited::{links, told};

/// Names of the fields, in their order.
pub const FIELDS: [(&str, &str); 17] = [
    ("作成日", "Date written"),
    ("障害発生期間", "Duration"),
    ("作者", "Author"),
    ("レビュワー", "Reviewers"),
    ("ステータス", "Status"),
    ("サマリ", "Summary"),
    ("インパクト", "Impact"),
    ("根本原因", "Root cause"),
    ("発生原因", "Trigger"),
    ("対応", "Response"),
    ("検出", "Detection"),
    ("うまくいった事", "What went well"),
    ("うまくいかなかった事", "What did not go well"),
    ("幸運だった事", "Where we were lucky"),
    ("アクションアイテム", "Action items"),
    ("タイムライン", "Timeline"),
    ("参考情報", "References"),
];

/// Name of the last section: what the sentences above it cite.
pub const APPENDIX: (&str, &str) = ("根拠のイベント", "Events");

/// One figure of a sample.
type Value = fn(&JourneySample) -> Option<f64>;

/// The sentences so far, and the events that they cite.
struct Draft {
    lang: Lang,
    out: String,
    cited: BTreeSet<u64>,
}

impl Draft {
    /// A sentence shown by events.
    fn say(&mut self, ja: &str, en: &str, seqs: &[u64]) {
        if seqs.is_empty() {
            self.unsupported(ja, en);
        } else {
            self.cited.extend(seqs);
            let _ = writeln!(self.out, "- {} {}", self.lang.pick(ja, en), links(seqs));
        }
    }

    /// A sentence that no event shows: somebody has to confirm, fill in or strike it.
    fn unsupported(&mut self, ja: &str, en: &str) {
        let mark = self.lang.pick(
            "**[要確認: 記録に根拠なし]**",
            "**[to confirm: not in the record]**",
        );
        let _ = writeln!(self.out, "- {} {mark}", self.lang.pick(ja, en));
    }

    fn field(&mut self, index: usize) {
        if let Some((ja, en)) = FIELDS.get(index) {
            let _ = writeln!(self.out, "\n## {}\n", self.lang.pick(ja, en));
        }
    }

    /// Every cited event once: where the draft is pasted nobody has the log.
    fn appendix(&mut self, events: &[Event], offset: Offset) {
        let _ = writeln!(self.out, "\n## {}\n", self.lang.pick(APPENDIX.0, APPENDIX.1));
        for event in events.iter().filter(|e| self.cited.contains(&e.seq)) {
            self.out.push_str(&cited::line(event, self.lang, offset));
        }
    }
}

/// The draft as Markdown that pastes into a wiki. Its date is the last event's, for the log is all it knows.
pub fn draft(events: &[Event], scenario: &Scenario, lang: Lang, offset: Offset) -> String {
    let m = metrics(events, scenario);
    let title = lang.pick(&scenario.title.ja, &scenario.title.en);
    let mut d = Draft {
        lang,
        out: format!("# {}: {title}\n", lang.pick("ポストモーテム", "Postmortem")),
        cited: BTreeSet::new(),
    };
    let last = events.last().map_or(&[][..], std::slice::from_ref);
    d.field(0);
    for event in last {
        let day = date(event.at, offset);
        d.say(
            &format!("{day} (下書き)"),
            &format!("{day} (draft)"),
            &[event.seq],
        );
    }
    d.field(1);
    period(&mut d, events, &m, offset);
    d.field(2);
    let authors: BTreeSet<(&str, u64)> = events
        .iter()
        .filter_map(|e| match &e.kind {
            EventKind::SeatTaken { actor } if actor.seat != "observer" => Some((actor.name.as_str(), e.seq)),
            _ => None,
        })
        .collect();
    for (name, seq) in authors {
        d.say(
            &format!("{name} (対応者)"),
            &format!("{name} (responder)"),
            &[seq],
        );
    }
    d.field(3);
    d.unsupported("レビュワーを記入", "name the reviewers");
    d.field(4);
    status(&mut d, &m);
    d.field(5);
    summary(&mut d, &m, title);
    d.field(6);
    impact(&mut d, events, &m);
    d.field(7);
    causes(&mut d, events);
    d.field(8);
    trigger(&mut d, events);
    d.field(9);
    response(&mut d, events, offset);
    d.field(10);
    detection(&mut d, events, &m, offset);
    d.field(11);
    went_well(&mut d, &m);
    d.field(12);
    went_badly(&mut d, &m);
    d.field(13);
    d.unsupported("偶然に助けられたことを記入", "write where luck helped");
    d.field(14);
    actions(&mut d, scenario, &m);
    d.field(15);
    for entry in timeline(events, "", true)
        .into_iter()
        .filter(|e| e.category != Category::Seat)
    {
        let line = format!("{} {}", clock(entry.at, offset), told(&entry, lang));
        d.say(&line, &line, &entry.seqs);
    }
    d.field(16);
    for (query, seqs) in queries(events) {
        let line = format!("PromQL: `{query}`");
        d.say(&line, &line, &seqs);
    }
    let name = &scenario.metadata.name;
    d.say(
        &format!("シナリオ: {name}"),
        &format!("Scenario: {name}"),
        &events.first().map(|e| e.seq).into_iter().collect::<Vec<_>>(),
    );
    d.appendix(events, offset);
    d.out
}

/// What was asked of Prometheus, each query once with every look at it.
fn queries(events: &[Event]) -> Vec<(&str, Vec<u64>)> {
    let mut out: Vec<(&str, Vec<u64>)> = Vec::new();
    for event in events {
        let EventKind::MetricSeen { query, .. } = &event.kind else {
            continue;
        };
        match out.iter().position(|(q, _)| q == query) {
            Some(known) => out[known].1.push(event.seq),
            None => out.push((query.as_str(), vec![event.seq])),
        }
    }
    out
}

fn period(d: &mut Draft, events: &[Event], m: &Metrics, offset: Offset) {
    let Some(start) = m.injected.or(m.alert) else {
        d.unsupported("障害の始まりは記録にありません", "the record shows no beginning");
        return;
    };
    let from = format!("{} {}", date(start.at, offset), clock(start.at, offset));
    let quiet = events
        .iter()
        .rev()
        .find(|e| e.seq > start.seq && matches!(e.kind, EventKind::AlertResolved { .. }));
    match quiet {
        Some(end) => {
            let took = end.at.duration_since(start.at).as_secs_f64();
            let until = clock(end.at, offset);
            let (ja, en) = (span(took, Lang::Ja), span(took, Lang::En));
            d.say(
                &format!("{from} 〜 {until} ({ja})"),
                &format!("{from} to {until} ({en})"),
                &[start.seq, end.seq],
            );
        }
        None => d.say(
            &format!("{from} 〜 (アラートは解消していません)"),
            &format!("{from} to now (no alert has resolved)"),
            &[start.seq],
        ),
    }
}

fn status(d: &mut Draft, m: &Metrics) {
    // The declaration, and the oracle's word on it.
    let ends: Vec<u64> = m.resolved.iter().chain(&m.oracle).map(|k| k.seq).collect();
    match (m.resolved, m.oracle_green, m.mitigated) {
        (Some(_), Some(true), _) => d.say("復旧", "resolved", &ends),
        (Some(_), Some(false), _) => d.say("終息宣言後も未回復", "declared resolved, not recovered", &ends),
        (Some(_), None, _) => d.say(
            "終息を宣言した。回復は確かめられていない",
            "declared resolved; nobody checked that it holds",
            &ends,
        ),
        (None, _, Some(k)) => d.say("暫定復旧", "mitigated", &[k.seq]),
        _ => d.unsupported("対応中", "ongoing"),
    }
}

fn summary(d: &mut Draft, m: &Metrics, title: &str) {
    let marks: Vec<u64> = [m.alert, m.mitigated, m.resolved]
        .into_iter()
        .flatten()
        .map(|k| k.seq)
        .collect();
    let resolve = |lang| m.to_resolve.map(|s| span(s, lang));
    let ja = resolve(Lang::Ja).map_or_else(
        || format!("{title}。終息宣言はまだありません。"),
        |t| format!("{title}。最初のアラートから {t}で終息を宣言した。"),
    );
    let en = resolve(Lang::En).map_or_else(
        || format!("{title}. Not declared resolved yet."),
        |t| format!("{title}. Declared resolved {t} after the first alert."),
    );
    d.say(&ja, &en, &marks);
    if !m.relapsed_mitigations.is_empty() {
        let seqs: Vec<u64> = m.relapsed_mitigations.iter().map(|k| k.seq).collect();
        d.say(
            "途中の暫定復旧のあと、再発した。",
            "A mitigation on the way was followed by a relapse.",
            &seqs,
        );
    }
}

fn impact(d: &mut Draft, events: &[Event], m: &Metrics) {
    for event in events {
        if let EventKind::ImpactStated { text, text_ja, .. } = &event.kind {
            d.say(text_ja.as_deref().unwrap_or(text), text, &[event.seq]);
        }
    }
    // The worst sample of each kind, from what users really got.
    let kinds: [(&str, &str, Value); 3] = [
        ("可用性", "availability", |j| j.availability),
        ("レイテンシ達成率", "share answered in time", |j| {
            j.latency_good
        }),
        ("鮮度(品質)", "freshness", |j| j.freshness),
    ];
    let since = m.injected.or(m.alert).map_or(u64::MAX, |k| k.seq);
    for (ja, en, value) in kinds {
        let samples = events
            .iter()
            .filter(|e| e.seq > since)
            .filter_map(|e| match &e.kind {
                EventKind::Sample { journeys } => Some((e.seq, journeys)),
                _ => None,
            });
        let worst = samples
            .flat_map(|(seq, journeys)| {
                journeys
                    .iter()
                    .filter_map(move |(name, j)| Some((seq, name, value(j)?)))
            })
            .min_by(|a, b| a.2.total_cmp(&b.2));
        if let Some((seq, journey, value)) = worst.filter(|w| w.2 < 0.999) {
            let percent = value * 100.0;
            d.say(
                &format!("{journey} の{ja}は最低で {percent:.1} %"),
                &format!("{journey}: {en} fell to {percent:.1} %"),
                &[seq],
            );
        }
    }
    for (journey, burn) in &m.budget_burned {
        let percent = burn.share * 100.0;
        d.say(
            &format!("{journey} のエラーバジェットを {percent:.1} % 消費した"),
            &format!("{journey} burned {percent:.1} % of its error budget"),
            &burn.seqs,
        );
    }
}

fn causes(d: &mut Draft, events: &[Event]) {
    let hypotheses: Vec<&Event> = events
        .iter()
        .filter(|e| matches!(e.kind, EventKind::HypothesisProposed { .. }))
        .collect();
    let Some(last) = hypotheses.last() else {
        d.unsupported("直接の原因は不明", "the direct cause is unknown");
        return;
    };
    if let EventKind::HypothesisProposed { text, text_ja, .. } = &last.kind {
        let ja = format!("(推測) {}", text_ja.as_deref().unwrap_or(text));
        d.say(&ja, &format!("(conjecture) {text}"), &[last.seq]);
        d.unsupported(
            "「なぜ」をもう一段掘り下げ、推測を確かめる",
            "ask why once more, and confirm the conjecture",
        );
    }
}

fn trigger(d: &mut Draft, events: &[Event]) {
    let mut any = false;
    for event in events {
        if let EventKind::FaultInjected { name, object } = &event.kind {
            any = true;
            d.say(
                &format!("演習で注入した障害: {name} ({object})"),
                &format!("the drill's fault: {name} ({object})"),
                &[event.seq],
            );
        }
    }
    if !any {
        d.unsupported("発生の引き金は不明", "the trigger is unknown");
    }
}

fn response(d: &mut Draft, events: &[Event], offset: Offset) {
    for event in events {
        match &event.kind {
            EventKind::CommandRun {
                command,
                mutating: true,
                ..
            } => {
                let line = format!("{} `{command}`", clock(event.at, offset));
                d.say(&line, &line, &[event.seq]);
            }
            EventKind::MitigationDeclared { text, text_ja, .. }
            | EventKind::ResolvedDeclared { text, text_ja, .. } => {
                let at = clock(event.at, offset);
                d.say(
                    &format!("{at} {}", text_ja.as_deref().unwrap_or(text)),
                    &format!("{at} {text}"),
                    &[event.seq],
                );
            }
            _ => {}
        }
    }
}

fn detection(d: &mut Draft, events: &[Event], m: &Metrics, offset: Offset) {
    // The incident's first, as measured: what rang while the system was starting is not it.
    let first = m.alert.and_then(|k| events.iter().find(|e| e.seq == k.seq));
    let Some(Event {
        at,
        seq,
        kind: EventKind::AlertFired { name, .. },
        ..
    }) = first
    else {
        d.unsupported(
            "アラートは発報されなかった。監視の不足を検討する",
            "no alert fired: look at what monitoring missed",
        );
        return;
    };
    let at = clock(*at, offset);
    d.say(
        &format!("{at} アラート {name} で検出した"),
        &format!("{at} found by the alert {name}"),
        &[*seq],
    );
    if let (Some(seconds), Some(injected)) = (m.to_alert, m.injected) {
        let (ja, en) = (span(seconds, Lang::Ja), span(seconds, Lang::En));
        d.say(
            &format!("発生から発報まで {ja}"),
            &format!("{en} from the fault to the alert"),
            &[injected.seq, *seq],
        );
    }
}

fn went_well(d: &mut Draft, m: &Metrics) {
    let mut any = false;
    if let (Some(ack), Some(seconds)) = (m.acknowledged, m.to_acknowledge.filter(|s| *s <= 120.0)) {
        any = true;
        let (ja, en) = (span(seconds, Lang::Ja), span(seconds, Lang::En));
        d.say(
            &format!("アラートを {ja} で確認できた"),
            &format!("the alert was acknowledged in {en}"),
            &[ack.seq],
        );
    }
    if let Some(commander) = m.commander {
        any = true;
        d.say(
            "指揮官が明確だった",
            "it was clear who was in command",
            &[commander.seq],
        );
    }
    if !m.promises.is_empty() && m.promises.iter().all(|p| p.kept) {
        any = true;
        d.say(
            "約束した報告はすべて守られた",
            "every promised update came in time",
            &m.promises.iter().map(|p| p.seq).collect::<Vec<_>>(),
        );
    }
    if !any {
        d.unsupported("うまくいった事を記入", "write what went well");
    }
}

fn went_badly(d: &mut Draft, m: &Metrics) {
    let mut any = false;
    for action in &m.relapsed_mitigations {
        any = true;
        d.say(
            "暫定復旧の手段では再発した",
            "a mitigation did not hold",
            &[action.seq],
        );
    }
    for duplicate in &m.duplicated_work {
        any = true;
        let command = &duplicate.command;
        d.say(
            &format!("同じ作業が重複した: `{command}`"),
            &format!("the same work was done twice: `{command}`"),
            &duplicate.seqs,
        );
    }
    for call in &m.unanswered_calls {
        any = true;
        d.say(
            "担当の決まらない依頼があった",
            "a request found no owner",
            &[call.seq],
        );
    }
    for silence in m.silences.iter().filter(|s| s.seconds > 900.0) {
        any = true;
        let (ja, en) = (span(silence.seconds, Lang::Ja), span(silence.seconds, Lang::En));
        let to = &silence.toward;
        d.say(
            &format!("{to} への連絡が {ja} 途絶えた"),
            &format!("{to} heard nothing for {en}"),
            &silence.seqs,
        );
    }
    if !any {
        d.unsupported("うまくいかなかった事を記入", "write what did not go well");
    }
}

fn actions(d: &mut Draft, scenario: &Scenario, m: &Metrics) {
    let seqs: Vec<u64> = m.resolved.or(m.alert).map(|k| k.seq).into_iter().collect();
    for item in &scenario.action_items {
        let (ja, en) = match item.kind {
            ActionKind::Prevent => ("発生対策", "prevent"),
            ActionKind::Contain => ("流出対策", "contain"),
        };
        d.unsupported(
            &format!(
                "[{ja}] {} / 完了条件: {} / 担当: ___ / 期限: ___",
                item.text.ja, item.done_when.ja
            ),
            &format!(
                "[{en}] {} / done when: {} / owner: ___ / due: ___",
                item.text.en, item.done_when.en
            ),
        );
    }
    let name = &scenario.metadata.name;
    d.say(
        &format!(
            "[発生対策] 同じシナリオ `{name}` を再実行し、再発しないことを確かめる / 担当: ___ / 期限: ___"
        ),
        &format!("[prevent] run the scenario `{name}` again and see that it holds / owner: ___ / due: ___"),
        &seqs,
    );
}
