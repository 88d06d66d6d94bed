//! `cujs.yaml`: what users do, who owns it, and how good it must be.

use hikeshi_scenario::{Dur, Problem, Text};
use serde::{Deserialize, Serialize};

use crate::windows::ALERTS;

/// Upper bounds of the load generator's duration histogram, in seconds.
pub const BUCKETS: [f64; 8] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0];

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cujs {
    pub api_version: String,
    pub kind: String,
    pub system: String,
    /// Fewer events than this in an alert's long window and it stays quiet: one failure of three is no incident.
    #[serde(default = "default_min_events")]
    pub min_events: u32,
    pub cujs: Vec<Cuj>,
}

fn default_min_events() -> u32 {
    20
}

/// A critical user journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cuj {
    /// The `journey` label, e.g. `read-timeline`.
    pub name: String,
    pub title: Text,
    /// Team.
    pub owner: String,
    /// Method and path at the ingress.
    pub route: String,
    pub slos: Vec<Slo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    pub sli: Sli,
    /// Percent, between 0 and 100 exclusive.
    pub objective: f64,
}

/// What share of events is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sli {
    /// Answered without an error.
    Availability,
    /// Answered in time.
    Latency(Within),
    /// What was read held what had been written.
    Freshness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// One of the histogram's buckets.
    pub within: Dur,
}

impl Sli {
    /// `availability`, `latency` or `freshness`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency(_) => "latency",
            Self::Freshness => "freshness",
        }
    }
}

impl Slo {
    /// Share of events that may be bad, 0..1, without the noise of binary fractions.
    pub fn budget(&self) -> f64 {
        ((100.0 - self.objective) * 1e10).round() / 1e12
    }
}

/// Reads `cujs.yaml`.
///
/// # Errors
/// Every problem with file, line and column.
pub fn parse(file_name: &str, text: &str) -> Result<Cujs, Vec<Problem>> {
    let cujs: Cujs = hikeshi_scenario::yaml::from_str(file_name, text)?;
    let mut problems = Vec::new();
    let mut say = |key: &str, nth: usize, message: String| {
        let (line, column) = nth_key(text, key, nth);
        problems.push(Problem {
            file: file_name.to_owned(),
            line,
            column,
            message,
            suggestion: None,
        });
    };
    if cujs.api_version != hikeshi_scenario::scenario::API_VERSION {
        say(
            "apiVersion",
            0,
            format!("apiVersion `{}` is not known to this program", cujs.api_version),
        );
    }
    if cujs.kind != "CUJs" {
        say("kind", 0, format!("kind `{}` is not CUJs", cujs.kind));
    }
    let mut nth = 0;
    for (index, cuj) in cujs.cujs.iter().enumerate() {
        let plain = !cuj.name.is_empty()
            && cuj
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !plain {
            say(
                "name",
                index,
                format!(
                    "`{}` is not a journey's name: small letters, digits and dashes",
                    cuj.name
                ),
            );
        }
        if cujs.cujs[..index].iter().any(|other| other.name == cuj.name) {
            say("name", index, format!("two journeys are named `{}`", cuj.name));
        }
        for (at, slo) in cuj.slos.iter().enumerate() {
            if !(slo.objective > 0.0 && slo.objective < 100.0) {
                say(
                    "objective",
                    nth,
                    format!("objective {} is not between 0 and 100 percent", slo.objective),
                );
            }
            if let Sli::Latency(within) = slo.sli
                && !BUCKETS
                    .iter()
                    .any(|b| (b - within.within.get().as_secs_f64()).abs() < 1e-9)
            {
                let known: Vec<String> = BUCKETS.iter().map(|b| format!("{b} s")).collect();
                say(
                    "objective",
                    nth,
                    format!(
                        "latency within {} cannot be counted: the histogram has {}",
                        within.within,
                        known.join(", ")
                    ),
                );
            }
            if cuj.slos[..at]
                .iter()
                .any(|other| other.sli.name() == slo.sli.name())
            {
                say(
                    "objective",
                    nth,
                    format!("{} has two SLOs of {}", cuj.name, slo.sli.name()),
                );
            }
            nth += 1;
        }
    }
    if problems.is_empty() {
        Ok(cujs)
    } else {
        Err(problems)
    }
}

/// Place of the nth `key:` (from 0).
fn nth_key(text: &str, key: &str, nth: usize) -> (u64, u64) {
    let mut skipped = 0;
    for (number, line) in (1u64..).zip(text.lines()) {
        let (_, column) = hikeshi_scenario::yaml::find_key(line, key);
        let at = usize::try_from(column).unwrap_or(1) - 1;
        let found = line.chars().skip(at).collect::<String>().starts_with(key);
        if found && skipped == nth {
            return (number, column);
        }
        skipped += usize::from(found);
    }
    (1, 1)
}

/// Objectives whose alerts could never fire, in words.
pub fn lint(cujs: &Cujs) -> Vec<String> {
    let mut out = Vec::new();
    for cuj in &cujs.cujs {
        for slo in &cuj.slos {
            for alert in ALERTS {
                if alert.factor * slo.budget() >= 1.0 {
                    out.push(format!(
                        "{} {}: at {} % the {}x alert over {} can never fire: even a full outage burns only {:.1}x",
                        cuj.name,
                        slo.sli.name(),
                        slo.objective,
                        alert.factor,
                        alert.long.name,
                        1.0 / slo.budget()
                    ));
                }
            }
        }
    }
    out
}
