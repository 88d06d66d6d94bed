//! Hikeshi's extensions to Chaos Mesh's experiments: annotations, so that every manifest stays a valid one of Chaos Mesh.
//!
//! | annotation | on | meaning |
//! |---|---|---|
//! | `hikeshi.dev/percent` | HTTPChaos | share of the matching requests that is hit, `"1.5"`; always exact: 15 of every 1,000 |
//! | `hikeshi.dev/ppm` | HTTPChaos | the same in parts per million, `"15000"` |
//! | `hikeshi.dev/request-headers` | HTTPChaos | only requests whose headers fit these patterns (`*`, `?`), `"cookie=*user=ann*"`; several by `;` |
//! | `hikeshi.dev/delay-jitter` | HTTPChaos | the delay is uniform within plus and minus this, `"50ms"` |
//! | `hikeshi.dev/delay-quantiles` | HTTPChaos | the delay's distribution, `"p50=80ms,p99=1s"`: straight lines between, flat outside |
//! | `hikeshi.dev/delay-to-total` | HTTPChaos | `"true"`: answers are held until the whole exchange has taken the delay |
//! | `hikeshi.dev/seed` | HTTPChaos, NetworkChaos | whole number that, with the object's name (or its Schedule's), places the random choices; else the name alone does |
//!
//! A Schedule takes those of its type and hands them on. What an experiment is to prove (`hikeshi.dev/hypothesis`,
//! `hikeshi.dev/guard`, and what control notes beside them) is `hikeshi-experiment`'s, and may stand on every kind.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::{Check, nearest};
use crate::words::Words;
use crate::{Part, quantity};

pub const PERCENT: &str = "hikeshi.dev/percent";
pub const PPM: &str = "hikeshi.dev/ppm";
pub const REQUEST_HEADERS: &str = "hikeshi.dev/request-headers";
pub const JITTER: &str = "hikeshi.dev/delay-jitter";
pub const QUANTILES: &str = "hikeshi.dev/delay-quantiles";
pub const TO_TOTAL: &str = "hikeshi.dev/delay-to-total";
pub const SEED: &str = "hikeshi.dev/seed";
/// Chaos Mesh's own: `"true"` lifts the experiment until it is taken away.
pub const PAUSE: &str = "experiment.chaos-mesh.org/pause";

/// Chaos Mesh's own: `"true"` ends a Workflow, and lifts all that it has begun.
pub const ABORT: &str = "workflow.chaos-mesh.org/abort";

/// Until when (RFC 3339) a fault may be in force; control renews it. Beside the duration: whichever ends first.
pub const LEASE_UNTIL: &str = "hikeshi.dev/lease-until";

/// A steady state that must hold before, during and after: a PromQL comparison with a number, or `slo: SYSTEM/JOURNEY/SLI`.
/// Several by suffix: `hikeshi.dev/hypothesis.latency`. Read by `hikeshi-experiment`.
pub const HYPOTHESIS: &str = "hikeshi.dev/hypothesis";
/// A comparison that must stay false, or `burn: FACTOR slo: SYSTEM/JOURNEY/SLI`; when it becomes true the experiment
/// ends. Several by suffix: `hikeshi.dev/guard.errors`. Read by `hikeshi-experiment`.
pub const GUARD: &str = "hikeshi.dev/guard";
/// The id in the history of an experiment that control itself created. Written by control, never by hand.
pub const EXPERIMENT: &str = "hikeshi.dev/experiment";

const PREFIX: &str = "hikeshi.dev/";
/// Annotations of experiments as a whole.
const OF_EXPERIMENTS: [&str; 4] = [HYPOTHESIS, GUARD, LEASE_UNTIL, EXPERIMENT];
const OF_HTTP: [&str; 7] = [PERCENT, PPM, REQUEST_HEADERS, JITTER, QUANTILES, TO_TOTAL, SEED];

/// An object's annotations.
pub type Annotations = BTreeMap<String, String>;

/// The extensions of one experiment, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extensions {
    /// Parts per million of the matching requests.
    pub ppm: Option<u32>,
    /// Header name and pattern.
    pub request_headers: BTreeMap<String, String>,
    /// Microseconds.
    pub jitter: Option<u64>,
    /// Share (0 to 1) and microseconds.
    pub quantiles: Option<Vec<(f64, u64)>>,
    pub to_total: bool,
    pub seed: Option<u64>,
}

/// Whether an annotation of this name shapes the fault itself.
pub fn shapes(name: &str) -> bool {
    OF_HTTP.contains(&name)
}

/// Whether an annotation of this name is about an experiment as a whole.
pub fn is_of_experiments(name: &str) -> bool {
    let suffixed = |base: &&str| {
        let rest = name.strip_prefix(*base).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    OF_EXPERIMENTS.contains(&name) || [HYPOTHESIS, GUARD].iter().any(suffixed)
}

/// What is wrong with an annotation, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    pub name: &'static str,
    pub said: Words,
}

impl From<Misread> for String {
    fn from(misread: Misread) -> Self {
        format!("annotation {}: {}", misread.name, misread.said)
    }
}

/// Reads the extensions; the error names the annotation.
pub fn read(annotations: &Annotations) -> Result<Extensions, Misread> {
    fn one<T>(
        annotations: &Annotations,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, Words>,
    ) -> Result<Option<T>, Misread> {
        let text = annotations.get(name);
        text.map(|text| read(text).map_err(|said| Misread { name, said }))
            .transpose()
    }
    let (percent, ppm) = (
        one(annotations, PERCENT, quantity::percent)?,
        one(annotations, PPM, quantity::ppm)?,
    );
    if percent.is_some() && ppm.is_some() {
        let said = Words::new(
            format!("{PERCENT} と同じことを言っています。どちらか一つにしてください"),
            format!("says the same as {PERCENT}; keep one of them"),
        );
        return Err(Misread { name: PPM, said });
    }
    Ok(Extensions {
        ppm: percent.or(ppm),
        request_headers: one(annotations, REQUEST_HEADERS, headers)?.unwrap_or_default(),
        jitter: one(annotations, JITTER, quantity::micros)?,
        quantiles: one(annotations, QUANTILES, quantiles)?,
        to_total: one(annotations, TO_TOTAL, boolean)?.unwrap_or(false),
        seed: one(annotations, SEED, |text| {
            text.trim().parse().map_err(|_| {
                Words::new(
                    format!("{text:?} は整数ではありません"),
                    format!("{text:?} is no whole number"),
                )
            })
        })?,
    })
}

fn boolean(text: &str) -> Result<bool, Words> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Words::new(
            format!("{text:?} は true でも false でもありません"),
            format!("{text:?} is neither true nor false"),
        )),
    }
}

fn headers(text: &str) -> Result<BTreeMap<String, String>, Words> {
    let wrong = || unlike(text, "cookie=*user=ann*;x-tenant=a?c");
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let read = parts.map(|part| {
        let (name, pattern) = part.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(wrong());
        }
        Ok((name.to_ascii_lowercase(), pattern.to_owned()))
    });
    let read: BTreeMap<_, _> = read.collect::<Result<_, Words>>()?;
    if read.is_empty() { Err(wrong()) } else { Ok(read) }
}

fn unlike(text: &str, example: &str) -> Words {
    Words::new(
        format!("{text:?} は {example} の形ではありません"),
        format!("{text:?} is not like {example}"),
    )
}

fn quantiles(text: &str) -> Result<Vec<(f64, u64)>, Words> {
    let wrong = || unlike(text, "p50=80ms,p99=1s");
    let points: Vec<(f64, u64)> = text
        .split(',')
        .map(|point| {
            let (p, length) = point.trim().split_once('=').ok_or_else(wrong)?;
            let p: f64 = p
                .strip_prefix('p')
                .and_then(|p| p.parse().ok())
                .ok_or_else(wrong)?;
            Ok((p / 100.0, quantity::micros(length)?))
        })
        .collect::<Result<_, Words>>()?;
    let rising = points
        .windows(2)
        .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
    if !rising || points.iter().any(|(p, _)| !(0.0..=1.0).contains(p)) {
        return Err(Words::new(
            format!("{text:?}: 分位点は p0〜p100 のあいだで、だんだん大きくしてください"),
            format!("{text:?}: the quantiles must rise, and lie between p0 and p100"),
        ));
    }
    Ok(points)
}

/// Refuses unknown extensions (with a suggestion) and unreadable ones.
pub(crate) fn check(check: &mut Check, kind: &str, value: &Value) {
    let field = |name: &str| format!("metadata.annotations[{name}]");
    let texts = value.as_object().into_iter().flatten();
    let mut annotations = Annotations::new();
    for (name, text) in texts {
        match text.as_str() {
            Some(text) => drop(annotations.insert(name.clone(), text.to_owned())),
            None => check.add(
                field(name),
                (
                    "文字列にしてください (引用符で囲む)",
                    "must be a text: put it in quotes",
                ),
            ),
        }
    }
    let known: &[&str] = match kind {
        "HTTPChaos" => &OF_HTTP,
        "NetworkChaos" => &[SEED],
        _ => &[],
    };
    for name in annotations.keys().filter(|name| name.starts_with(PREFIX)) {
        if known.contains(&name.as_str()) || is_of_experiments(name) {
            continue;
        }
        let names = [known, &OF_EXPERIMENTS].concat();
        if OF_HTTP.contains(&name.as_str()) {
            let words = Words::new(
                format!("{kind} では意味を持ちません"),
                format!("has no meaning on {kind}"),
            );
            check.suggest(field(name), Part::Key, words, None);
        } else {
            let words = Words::new(
                format!("{kind} にこのアノテーションはありません"),
                format!("is not known on {kind}"),
            );
            check.suggest(field(name), Part::Key, words, nearest(name, &names));
        }
    }
    if kind == "Workflow" && annotations.get(PAUSE).is_some_and(|text| text == "true") {
        let words = Words::new(
            format!(
                "実現できません: ワークフローは一時停止できません。終わらせるには {ABORT}: \"true\" を付けてください"
            ),
            format!("cannot be honoured: a workflow cannot pause; {ABORT}: \"true\" ends it"),
        );
        check.add(field(PAUSE), words);
    }
    if let Some(text) = annotations.get(PAUSE).filter(|text| !text.is_empty()) {
        check.take(field(PAUSE), boolean(text));
    }
    if let Err(Misread { name, said }) = read(&annotations) {
        check.add(field(name), said);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(kind: &str, annotations: Value) -> Vec<String> {
        let mut found = Check::default();
        check(&mut found, kind, &annotations);
        found.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_ones_are_read() {
        let annotations = json!({PPM: "15000", JITTER: "50ms", QUANTILES: "p50=80ms,p99=1s", TO_TOTAL: "true",
            SEED: "7", "hikeshi.dev/guard.errors": "x > 1", "hikeshi.dev/hypothesis": "y < 1", "hikeshi.dev/lease-until": "z", REQUEST_HEADERS: "Cookie=*user=ann*; x-tenant=a?c", "other.dev/x": "1", PAUSE: "true"});
        assert_eq!(found("HTTPChaos", annotations.clone()), Vec::<String>::new());
        let read = read(&serde_json::from_value(annotations).unwrap()).unwrap();
        assert_eq!(
            (read.ppm, read.jitter, read.seed),
            (Some(15_000), Some(50_000), Some(7))
        );
        assert_eq!(read.request_headers["cookie"], "*user=ann*");
        assert_eq!(read.quantiles, Some(vec![(0.5, 80_000), (0.99, 1_000_000)]));
    }

    #[test]
    fn wrong_ones_are_refused_with_a_suggestion() {
        for (kind, annotations, words) in [
            (
                "HTTPChaos",
                json!({"hikeshi.dev/percnt": "1"}),
                "did you mean hikeshi.dev/percent?",
            ),
            ("HTTPChaos", json!({PERCENT: "1", PPM: "1"}), "keep one of them"),
            ("HTTPChaos", json!({PERCENT: "150"}), "between 0 and 100"),
            ("HTTPChaos", json!({QUANTILES: "p99=1s,p50=2s"}), "must rise"),
            ("HTTPChaos", json!({TO_TOTAL: "yes"}), "neither true nor false"),
            (
                "HTTPChaos",
                json!({REQUEST_HEADERS: "ann"}),
                "is not like cookie=",
            ),
            (
                "NetworkChaos",
                json!({PERCENT: "1"}),
                "has no meaning on NetworkChaos",
            ),
            (
                "PodChaos",
                json!({"hikeshi.dev/gaurd": "1"}),
                "did you mean hikeshi.dev/guard?",
            ),
            ("PodChaos", json!({SEED: "1"}), "has no meaning on PodChaos"),
            ("PodChaos", json!({PAUSE: "yes"}), "neither true nor false"),
            (
                "Workflow",
                json!({PAUSE: "true"}),
                "workflow.chaos-mesh.org/abort",
            ),
        ] {
            let found = found(kind, annotations).join("; ");
            assert!(found.contains(words), "{found} does not say {words}");
        }
    }
}
