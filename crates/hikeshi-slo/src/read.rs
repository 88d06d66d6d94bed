//! Reads `cujs.yaml`, and says everything that is wrong with it at its place.

use hikeshi_scenario::Problem;

use crate::cujs::{BUCKETS, Cujs, Queries, Sli, Slo};
use crate::period::Period;
use crate::spec::WINDOW;
use hikeshi_scenario::node::{Node, Step, read_all};

/// Reads `cujs.yaml`.
///
/// # Errors
/// Every problem with file, line and column.
pub fn parse(file_name: &str, text: &str) -> Result<Cujs, Vec<Problem>> {
    let cujs: Cujs = hikeshi_scenario::yaml::from_str(file_name, text)?;
    let mut checking = Checking {
        file: file_name,
        places: places(text),
        problems: Vec::new(),
    };
    checking.file(&cujs);
    if checking.problems.is_empty() {
        Ok(cujs)
    } else {
        checking.problems.sort_by_key(|p| (p.line, p.column));
        Err(checking.problems)
    }
}

/// The places of a text that was read before.
pub(crate) fn places(text: &str) -> Option<Node> {
    read_all(text).ok()?.into_iter().next()
}

struct Checking<'a> {
    file: &'a str,
    places: Option<Node>,
    problems: Vec<Problem>,
}

impl Checking<'_> {
    fn say(&mut self, path: &[Step<'_>], message: String) {
        let (line, column) = self.places.as_ref().map_or((0, 0), |node| node.place(path));
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            column,
            message,
            suggestion: None,
        });
    }

    fn file(&mut self, cujs: &Cujs) {
        if cujs.api_version != hikeshi_scenario::scenario::API_VERSION {
            self.say(
                &["apiVersion".into()],
                format!("apiVersion `{}` is not known to this program", cujs.api_version),
            );
        }
        if cujs.kind != "CUJs" {
            self.say(&["kind".into()], format!("kind `{}` is not CUJs", cujs.kind));
        }
        if let Some(window) = cujs.window {
            self.period(window, &["window".into()]);
        }
        self.alerts(cujs.alerts.as_deref(), &["alerts".into()]);
        self.actions(&cujs.policy, &["policy".into()]);
        for (index, cuj) in cujs.cujs.iter().enumerate() {
            let at: [Step<'_>; 2] = ["cujs".into(), index.into()];
            let name = [at[0], at[1], "name".into()];
            if !plain(&cuj.name) {
                self.say(
                    &name,
                    format!(
                        "`{}` is not a journey's name: small letters, digits and dashes",
                        cuj.name
                    ),
                );
            }
            if cujs.cujs[..index].iter().any(|other| other.name == cuj.name) {
                self.say(&name, format!("two journeys are named `{}`", cuj.name));
            }
            for (nth, slo) in cuj.slos.iter().enumerate() {
                let at = [at[0], at[1], "slos".into(), nth.into()];
                self.slo(cujs, slo, &at);
                if cuj.slos[..nth].iter().any(|other| other.label() == slo.label()) {
                    let message = format!("{} has two SLOs of {}", cuj.name, slo.label());
                    self.say(&at, message);
                }
            }
        }
    }

    fn slo(&mut self, cujs: &Cujs, slo: &Slo, at: &[Step<'_>]) {
        let below = |key: &'static str| -> Vec<Step<'_>> {
            let mut path = at.to_vec();
            path.push(key.into());
            path
        };
        if !(slo.objective > 0.0 && slo.objective < 100.0) {
            self.say(
                &below("objective"),
                format!("objective {} is not between 0 and 100 percent", slo.objective),
            );
        }
        if let Some(name) = slo.name.as_deref().filter(|name| !plain(name)) {
            self.say(
                &below("name"),
                format!("`{name}` is not an SLO's name: small letters, digits and dashes"),
            );
        }
        if let Some(window) = slo.window {
            self.period(window, &below("window"));
        }
        self.alerts(slo.alerts.as_deref(), &below("alerts"));
        self.actions(slo.policy.as_deref().unwrap_or_default(), &below("policy"));
        for key in slo.labels.keys() {
            if !is_label(key) {
                self.say(&below("labels"), format!("`{key}` cannot be a Prometheus label"));
            }
            if RESERVED.contains(&key.as_str()) {
                self.say(
                    &below("labels"),
                    format!("the label `{key}` is set by Hikeshi itself"),
                );
            }
        }
        match &slo.queries {
            Some(queries) => self.queries(queries, &below("queries")),
            None => self.counted(cujs, slo.sli, &below("sli")),
        }
    }

    /// Whether something counts the events of this kind.
    fn counted(&mut self, cujs: &Cujs, sli: Sli, at: &[Step<'_>]) {
        let missing = |what: &str| format!("{} cannot be counted: write its queries, or {what}", sli.name());
        match (sli, &cujs.metrics) {
            (Sli::Custom, _) => self.say(at, "custom needs queries that count its events".to_owned()),
            (Sli::Quality, None) => self.say(at, missing("`metrics` with a selector of `degraded` answers")),
            (Sli::Quality, Some(m)) if m.degraded.is_none() => {
                self.say(at, missing("`degraded` in metrics"));
            }
            (Sli::Latency(_), Some(m)) if m.durations.is_none() => {
                self.say(at, missing("`durations` in metrics"));
            }
            (Sli::Freshness, Some(m)) if m.reads.is_none() || m.stale.is_none() => {
                self.say(at, missing("`reads` and `stale` in metrics"));
            }
            (Sli::Latency(within), metrics) => {
                let buckets = metrics.as_ref().map_or(&BUCKETS[..], |m| &m.buckets);
                let seconds = within.within.get().as_secs_f64();
                let known = metrics.is_some() && buckets.is_empty();
                if !known && !buckets.iter().any(|b| (b - seconds).abs() < 1e-9) {
                    let known: Vec<String> = buckets.iter().map(|b| format!("{b} s")).collect();
                    self.say(
                        at,
                        format!(
                            "latency within {} cannot be counted: the histogram has {}",
                            within.within,
                            known.join(", ")
                        ),
                    );
                }
            }
            _ => {}
        }
    }

    fn queries(&mut self, queries: &Queries, at: &[Step<'_>]) {
        let Queries {
            bad,
            good,
            total,
            error_ratio,
        } = queries;
        let shape = (
            bad.is_some(),
            good.is_some(),
            total.is_some(),
            error_ratio.is_some(),
        );
        if !matches!(
            shape,
            (true, false, true, false) | (false, true, true, false) | (false, false, false, true)
        ) {
            self.say(
                at,
                "queries are `bad` and `total`, or `good` and `total`, or `errorRatio` alone".to_owned(),
            );
        }
        for (key, query) in [
            ("bad", bad),
            ("good", good),
            ("total", total),
            ("errorRatio", error_ratio),
        ] {
            if query.as_ref().is_some_and(|query| !query.contains(WINDOW)) {
                let mut path = at.to_vec();
                path.push(key.into());
                self.say(
                    &path,
                    format!("this query has no {WINDOW}: it would see the same range in every window"),
                );
            }
        }
    }

    fn period(&mut self, period: Period, at: &[Step<'_>]) {
        let Period::Rolling(length) = period else { return };
        let seconds = length.get().as_secs();
        if seconds < 3_600 || length.get().subsec_nanos() > 0 {
            self.say(
                at,
                format!("a window of {length} is shorter than an hour: no burn rate can be told in it"),
            );
        } else if seconds > 366 * 86_400 {
            self.say(at, format!("a window of {length} is longer than a year"));
        }
    }

    fn alerts(&mut self, alerts: Option<&[crate::policy::AlertPolicy]>, at: &[Step<'_>]) {
        for (index, alert) in alerts.unwrap_or_default().iter().enumerate() {
            let below = |key: &'static str| -> Vec<Step<'_>> {
                at.iter().copied().chain([index.into(), key.into()]).collect()
            };
            if !(alert.budget > 0.0 && alert.budget <= 100.0) {
                self.say(
                    &below("budget"),
                    format!("{} % of a budget is not between 0 and 100", alert.budget),
                );
            }
            let long = alert.long.get().as_secs();
            let same = |other: &crate::policy::AlertPolicy| {
                (other.severity, other.long) == (alert.severity, alert.long)
            };
            if alerts.unwrap_or_default()[..index].iter().any(same) {
                let severity = alert.severity.name();
                let message = format!(
                    "two {severity} alerts look at {}: they could not be told apart",
                    alert.long
                );
                self.say(&below("long"), message);
            }
            if long < 60 {
                self.say(
                    &below("long"),
                    format!("a window of {} is shorter than a minute", alert.long),
                );
            }
            if let Some(short) = alert.short
                && (short.get().as_secs() == 0 || short.get().as_secs() > long)
            {
                self.say(
                    &below("short"),
                    format!(
                        "the short window {short} is not within the long one, {}",
                        alert.long
                    ),
                );
            }
        }
    }

    fn actions(&mut self, actions: &[crate::cujs::Action], at: &[Step<'_>]) {
        for (index, action) in actions.iter().enumerate() {
            if !(action.spent > 0.0 && action.spent <= 1_000.0) {
                let path: Vec<Step<'_>> = at.iter().copied().chain([index.into(), "spent".into()]).collect();
                self.say(
                    &path,
                    format!(
                        "spent {} is not a percentage above 0 and up to 1000",
                        action.spent
                    ),
                );
            }
        }
    }
}

/// Labels that tell our own series apart.
const RESERVED: [&str; 6] = ["slo", "journey", "sli", "window", "period", "le"];

fn plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether Prometheus takes it as a label's name.
pub(crate) fn is_label(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("__")
}
