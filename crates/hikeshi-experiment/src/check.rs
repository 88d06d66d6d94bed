//! Hypotheses and guards: what an annotation says, as a PromQL figure and a number it is compared with.

use hikeshi_scenario::Text;
use hikeshi_scenario::problem::nearest;
use hikeshi_slo::windows::{ALERTS, compressed};
use hikeshi_slo::{Cuj, Cujs, Slo, error_ratio};
use serde::{Deserialize, Serialize};

use crate::annotations::{self, Role};

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = ">")]
    More,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    Unequal,
}

impl Op {
    /// As PromQL writes it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
            Self::Unequal => "!=",
        }
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Less => value < threshold,
            Self::AtMost => value <= threshold,
            Self::More => value > threshold,
            Self::AtLeast => value >= threshold,
            #[expect(clippy::float_cmp, reason = "PromQL compares so, too")]
            Self::Equal => value == threshold,
            #[expect(clippy::float_cmp, reason = "PromQL compares so, too")]
            Self::Unequal => value != threshold,
        }
    }

    fn turned(self) -> Self {
        match self {
            Self::Less => Self::More,
            Self::AtMost => Self::AtLeast,
            Self::More => Self::Less,
            Self::AtLeast => Self::AtMost,
            same => same,
        }
    }
}

/// A hypothesis or a guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The annotation's suffix, else the role.
    pub name: String,
    pub role: Role,
    /// As it is written in the annotation.
    pub said: String,
    /// PromQL of the figure, without the comparison.
    pub query: String,
    pub op: Op,
    pub threshold: f64,
    /// `seconds`, `ratio`, `burn rate`, or empty.
    pub unit: String,
}

/// Why an annotation's value is refused, and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    pub message: Text,
    pub suggestion: Option<String>,
}

impl Misread {
    fn new(ja: impl Into<String>, en: impl Into<String>) -> Self {
        Self {
            message: Text {
                ja: ja.into(),
                en: en.into(),
            },
            suggestion: None,
        }
    }
}

impl Check {
    /// Reads an annotation's value. `slo_clock` is how many times faster than written the SLO windows run.
    ///
    /// # Errors
    /// A sentence for the person who wrote it.
    pub fn parse(role: Role, name: &str, said: &str, cujs: &Cujs, slo_clock: f64) -> Result<Self, Misread> {
        let text = said.trim();
        let check = |query: String, op: Op, threshold: f64, unit: &str| Self {
            name: name.to_owned(),
            role,
            said: text.to_owned(),
            query,
            op,
            threshold,
            unit: unit.to_owned(),
        };
        if text.is_empty() {
            return Err(Misread::new(
                "空です。PromQL の比較か `slo: SYSTEM/JOURNEY/SLI` を書いてください",
                "is empty: write a PromQL comparison, or `slo: SYSTEM/JOURNEY/SLI`",
            ));
        }
        if let Some(rest) = text.strip_prefix("burn:") {
            if role == Role::Hypothesis {
                return Err(Misread::new(
                    "仮説は定常状態です。`slo: SYSTEM/JOURNEY/SLI` と書いてください (`burn:` はガード用です)",
                    "a hypothesis is a steady state: write `slo: SYSTEM/JOURNEY/SLI`; `burn:` is for guards",
                ));
            }
            let (factor, path) = burn(rest)?;
            let (cuj, slo) = find(path, cujs)?;
            let reachable = 1.0 / slo.budget();
            if factor >= reachable {
                let objective = slo.objective;
                return Err(Misread::new(
                    format!(
                        "バーンレート {factor} には決して届きません。目標が {objective} % なら、全面停止でも {reachable:.1} 倍です"
                    ),
                    format!(
                        "burn {factor} can never be reached: with an objective of {objective} % even an outage burns {reachable:.1} times too fast"
                    ),
                ));
            }
            return Ok(check(
                burn_query(cuj, slo, factor, slo_clock),
                Op::More,
                factor,
                "burn rate",
            ));
        }
        if let Some(path) = text.strip_prefix("slo:") {
            let (cuj, slo) = find(path.trim(), cujs)?;
            let op = match role {
                Role::Hypothesis => Op::AtLeast,
                Role::Guard => Op::Less,
            };
            let window = format!("{}s", compressed(ALERTS[0].short, slo_clock).max(10));
            let query = format!("1 - {}", error_ratio(&cuj.name, slo.sli, &window));
            return Ok(check(query, op, 1.0 - slo.budget(), "ratio"));
        }
        let (query, op, threshold) = comparison(text)?;
        let unit = if query.contains("_seconds") && !query.contains("_count") {
            "seconds"
        } else {
            ""
        };
        Ok(check(query, op, threshold, unit))
    }

    /// The annotation it is written in.
    pub fn annotation(&self) -> String {
        let base = match self.role {
            Role::Hypothesis => annotations::HYPOTHESIS,
            Role::Guard => annotations::GUARD,
        };
        match annotations::role(base) {
            Some((_, plain)) if plain == self.name => base.to_owned(),
            _ => format!("{base}.{}", self.name),
        }
    }

    /// Whether the comparison is true: for a hypothesis of every series, for a guard of any. None without a number.
    pub fn is_true(&self, values: &[f64]) -> Option<bool> {
        let mut numbers = values.iter().filter(|value| !value.is_nan()).peekable();
        numbers.peek()?;
        let holds = |value: &f64| self.op.holds(*value, self.threshold);
        Some(match self.role {
            Role::Hypothesis => numbers.all(holds),
            Role::Guard => numbers.any(holds),
        })
    }

    /// The figure that matters most of several series: the one farthest on the bad side.
    pub fn worst(&self, values: &[f64]) -> Option<f64> {
        let numbers = values.iter().copied().filter(|value| !value.is_nan());
        let bad = match self.role {
            Role::Hypothesis => self.op.turned(),
            Role::Guard => self.op,
        };
        match bad {
            Op::More | Op::AtLeast => numbers.max_by(f64::total_cmp),
            Op::Less | Op::AtMost => numbers.min_by(f64::total_cmp),
            Op::Equal | Op::Unequal => {
                let far = |value: &f64| (value - self.threshold).abs();
                match (self.role, self.op) {
                    (Role::Hypothesis, Op::Equal) | (Role::Guard, Op::Unequal) => {
                        numbers.max_by(|a, b| far(a).total_cmp(&far(b)))
                    }
                    _ => numbers.min_by(|a, b| far(a).total_cmp(&far(b))),
                }
            }
        }
    }

    /// `0.62 >= 0.5`, `98.7 % < 99 %`: a figure beside what it is compared with.
    pub fn compared(&self, value: f64) -> String {
        let op = if self.op.holds(value, self.threshold) {
            self.op.sign()
        } else {
            match self.op {
                Op::Less => ">=",
                Op::AtMost => ">",
                Op::More => "<=",
                Op::AtLeast => "<",
                Op::Equal => "!=",
                Op::Unequal => "==",
            }
        };
        format!("{} {op} {}", self.figure(value), self.figure(self.threshold))
    }

    /// A figure with its unit.
    pub fn figure(&self, value: f64) -> String {
        match self.unit.as_str() {
            "seconds" => format!("{} s", short(value)),
            "ratio" => format!("{} %", short(value * 100.0)),
            _ => short(value),
        }
    }
}

/// At most four significant digits, as people read them.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let digits = match value.abs() {
        size if size >= 1_000.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.001 => 4,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// `14.4 slo: chirpy/read-timeline/latency`.
fn burn(text: &str) -> Result<(f64, &str), Misread> {
    let form = || {
        Misread::new(
            "`burn:` は `burn: 倍率 slo: SYSTEM/JOURNEY/SLI` と書きます (例: `burn: 14.4 slo: chirpy/read-timeline/latency`)",
            "`burn:` is written `burn: FACTOR slo: SYSTEM/JOURNEY/SLI`, e.g. `burn: 14.4 slo: chirpy/read-timeline/latency`",
        )
    };
    let (factor, path) = text.split_once("slo").ok_or_else(form)?;
    let path = path.trim_start().strip_prefix(':').unwrap_or(path).trim();
    let factor: f64 = factor.trim().trim_end_matches(',').parse().map_err(|_| form())?;
    if factor.is_finite() && factor > 0.0 {
        Ok((factor, path))
    } else {
        Err(form())
    }
}

/// The smaller of the burn rates over an alert's two windows, as the alert itself asks for both: of the first alert
/// that is not faster than `factor`.
fn burn_query(cuj: &Cuj, slo: &Slo, factor: f64, slo_clock: f64) -> String {
    let alert = ALERTS
        .iter()
        .find(|alert| alert.factor <= factor)
        .unwrap_or(&ALERTS[ALERTS.len() - 1]);
    let rate = |window| {
        let window = format!("{}s", compressed(window, slo_clock));
        format!(
            "({}) / {}",
            error_ratio(&cuj.name, slo.sli, &window),
            slo.budget()
        )
    };
    let (long, short) = (rate(alert.long), rate(alert.short));
    format!("(({short}) < ({long})) or ({long})")
}

fn find<'a>(path: &str, cujs: &'a Cujs) -> Result<(&'a Cuj, &'a Slo), Misread> {
    let parts: Vec<&str> = path.split('/').map(str::trim).collect();
    let [system, journey, sli] = parts[..] else {
        return Err(Misread {
            suggestion: nearest(path, all(cujs).iter().map(String::as_str)).map(str::to_owned),
            ..Misread::new(
                format!("`{path}` は SYSTEM/JOURNEY/SLI の形ではありません"),
                format!("`{path}` is not SYSTEM/JOURNEY/SLI"),
            )
        });
    };
    let missing = |(ja, en): (&str, &str), name: &str, known: Vec<&str>| Misread {
        suggestion: nearest(name, known.iter().copied()).map(str::to_owned),
        ..Misread::new(
            format!(
                "`{name}` という{ja}はありません。あるのは {} です",
                known.join("、")
            ),
            format!("no {en} is called `{name}`; there {}", listed(&known)),
        )
    };
    if system != cujs.system {
        return Err(missing(
            ("システム", "system"),
            system,
            vec![cujs.system.as_str()],
        ));
    }
    let cuj = cujs.cujs.iter().find(|cuj| cuj.name == journey).ok_or_else(|| {
        missing(
            ("ジャーニー", "journey"),
            journey,
            cujs.cujs.iter().map(|cuj| cuj.name.as_str()).collect(),
        )
    })?;
    let slo = cuj.slos.iter().find(|slo| slo.sli.name() == sli).ok_or_else(|| {
        missing(
            (" SLI ", "SLI of that journey"),
            sli,
            cuj.slos.iter().map(|slo| slo.sli.name()).collect(),
        )
    })?;
    Ok((cuj, slo))
}

fn all(cujs: &Cujs) -> Vec<String> {
    let paths = |cuj: &Cuj| -> Vec<String> {
        cuj.slos
            .iter()
            .map(|slo| format!("{}/{}/{}", cujs.system, cuj.name, slo.sli.name()))
            .collect()
    };
    cujs.cujs.iter().flat_map(paths).collect()
}

fn listed(known: &[&str]) -> String {
    match known {
        [] => "are none".to_owned(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

/// Splits a PromQL comparison with a number at its outermost operator.
fn comparison(text: &str) -> Result<(String, Op, f64), Misread> {
    let found = outermost(text)?;
    let [(at, op)] = found[..] else {
        return Err(if found.is_empty() {
            Misread::new(
                "比較がありません。`histogram_quantile(0.99, ...) < 0.5` のように、成り立つはずのことを書いてください",
                "is no comparison: write what must be so, e.g. `histogram_quantile(0.99, ...) < 0.5`",
            )
        } else {
            Misread::new(
                "比較が 2 つ以上あります。1 つずつ別のアノテーションに書いてください (`hikeshi.dev/guard.errors` など)",
                "has more than one comparison: write each in an annotation of its own (`hikeshi.dev/guard.errors`, ...)",
            )
        });
    };
    let (left, right) = (text[..at].trim(), text[at + op.sign().len()..].trim());
    match (number(left), number(right)) {
        (None, Some(threshold)) if !left.is_empty() => Ok((left.to_owned(), op, threshold)),
        (Some(threshold), None) if !right.is_empty() => Ok((right.to_owned(), op.turned(), threshold)),
        _ => Err(Misread::new(
            "数値と比べてください。`a < b` ではなく `a / b < 1` のように書きます",
            "must compare a figure with a number: instead of `a < b` write `a / b < 1`",
        )),
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// Comparison operators outside of brackets and strings, with their places; `and`, `or`, `unless` there are refused.
fn outermost(text: &str) -> Result<Vec<(usize, Op)>, Misread> {
    let bytes = text.as_bytes();
    let mut open: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' | b'`' => {
                at = after_string(bytes, at).ok_or_else(|| {
                    Misread::new("文字列が閉じられていません", "has a string without an end")
                })?
            }
            b'(' | b'[' | b'{' => {
                open.push(byte);
                at += 1;
            }
            b')' | b']' | b'}' => {
                let opening = match byte {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                if open.pop() != Some(opening) {
                    let sign = byte as char;
                    return Err(Misread::new(
                        format!("対応する括弧のない `{sign}` があります"),
                        format!("has a `{sign}` that nothing opens"),
                    ));
                }
                at += 1;
            }
            b'<' | b'>' | b'=' | b'!' if open.is_empty() => {
                let two = bytes.get(at + 1) == Some(&b'=');
                let op = match (byte, two) {
                    (b'<', false) => Op::Less,
                    (b'<', true) => Op::AtMost,
                    (b'>', false) => Op::More,
                    (b'>', true) => Op::AtLeast,
                    (b'=', true) => Op::Equal,
                    (b'!', true) => Op::Unequal,
                    _ => {
                        let sign = byte as char;
                        return Err(Misread::new(
                            format!("`{sign}` が一つだけあります。比較は `==` です"),
                            format!("has a lone `{sign}`: `==` compares"),
                        ));
                    }
                };
                found.push((at, op));
                at += op.sign().len();
            }
            _ if byte.is_ascii_alphabetic() || byte == b'_' => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b':')))
                    .map_or(bytes.len(), |length| at + length);
                let word = text[at..end].to_ascii_lowercase();
                if open.is_empty() && matches!(word.as_str(), "and" | "or" | "unless") {
                    return Err(Misread::new(
                        format!(
                            "`{word}` でつながっています。比較は 1 つずつ別のアノテーションに書いてください (`hikeshi.dev/guard.errors` など)"
                        ),
                        format!(
                            "joins with `{word}`: write each comparison in an annotation of its own (`hikeshi.dev/guard.errors`, ...)"
                        ),
                    ));
                }
                if open.is_empty() && word == "bool" {
                    return Err(Misread::new(
                        "`bool` は付けずに比べてください",
                        "says `bool`: compare without it",
                    ));
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    match open.pop() {
        Some(opening) => {
            let sign = opening as char;
            Err(Misread::new(
                format!("`{sign}` が閉じられていません"),
                format!("has a `{sign}` that nothing closes"),
            ))
        }
        None => Ok(found),
    }
}

fn after_string(bytes: &[u8], from: usize) -> Option<usize> {
    let quote = bytes[from];
    let mut at = from + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if quote != b'`' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests;
