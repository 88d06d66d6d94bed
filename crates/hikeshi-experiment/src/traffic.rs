//! How much of the traffic an experiment would touch: of what the data plane counts per edge and the load per journey,
//! the part that the selector, the mode, the path and the percentage leave. What is not counted is not guessed: it
//! widens the range, and a note says why.

use std::collections::{BTreeMap, BTreeSet};

use hikeshi_chaos::annotations::{PERCENT, PPM, REQUEST_HEADERS};
use hikeshi_chaos::quantity;
use hikeshi_scenario::Text;
use hikeshi_slo::Cujs;
use serde_json::Value;

use crate::api::{JourneyShare, Range, Traffic};
use crate::effect::names_others;
use crate::manifest::chaos_specs;
use crate::selector::{Cluster, alive, chosen_of, owner_of, selects};

/// Requests per second of one edge, as `hikeshi_edge_requests_total` has them.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeRate {
    /// The workload that calls, or the host listener.
    pub source: String,
    /// The workload that is called.
    pub destination: String,
    /// `POST /api/posts` for what comes in from the host; empty between pods.
    pub route: String,
    /// 0: closed without an answer.
    pub code: u16,
    pub per_second: f64,
}

/// What is measured now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    pub edges: Vec<EdgeRate>,
    /// Bytes per second by source and destination, whatever they speak.
    pub bytes: Vec<(String, String, f64)>,
    /// Requests per second by journey, and the workload that takes it.
    pub journeys: Vec<(String, String, f64)>,
}

/// The workload that scrapes: its requests are for metrics, and nobody's journey.
const SCRAPER: &str = "prometheus";
/// Where it asks when a pod does not say.
const SCRAPED: &str = "/metrics";

/// What of the traffic an experiment that lives in `namespace` would touch.
pub fn traffic(
    object: &Value,
    namespace: &str,
    cluster: &Cluster,
    measured: &Measured,
    cujs: &Cujs,
) -> Traffic {
    let specs = chaos_specs(object);
    let mut parts: Vec<Traffic> = specs
        .iter()
        .map(|(kind, spec)| Part::new(kind, spec, object, namespace, cluster).traffic(measured, cujs))
        .collect();
    // Steps of a workflow come one after another: the one that touches most is what there is to fear.
    parts.sort_by(|a, b| {
        let most = |it: &Traffic| it.hit_per_second.map_or(-1.0, |range| range.most);
        most(a).total_cmp(&most(b))
    });
    let several = parts.len() > 1;
    let mut most = parts.pop().unwrap_or_default();
    if several {
        most.notes.push(text(
            "いちばん影響の大きい手順の値です",
            "figures of the step that touches most",
        ));
    }
    most
}

/// The names under which an experiment's pods are counted.
pub fn workloads(object: &Value, namespace: &str, cluster: &Cluster) -> BTreeSet<String> {
    let specs = chaos_specs(object);
    specs
        .iter()
        .flat_map(|(_, spec)| matched(&spec["selector"], namespace, cluster))
        .map(|pod| owner_of(pod).1)
        .collect()
}

fn matched<'a>(selector: &Value, namespace: &str, cluster: &'a Cluster) -> Vec<&'a Value> {
    cluster
        .pods
        .iter()
        .filter(|pod| alive(pod) && selects(selector, namespace, pod, &cluster.nodes))
        .collect()
}

fn text(ja: impl Into<String>, en: impl Into<String>) -> Text {
    Text {
        ja: ja.into(),
        en: en.into(),
    }
}

/// One spec, and what it says about traffic.
struct Part<'a> {
    kind: &'a str,
    spec: &'a Value,
    annotations: &'a Value,
    /// Share of a workload's pods that is hit at most, by the workload's name.
    pods: BTreeMap<String, f64>,
    /// NetworkChaos: whom the traffic must lead to or come from.
    peers: Option<BTreeSet<String>>,
    /// Names that several workloads have, in different namespaces.
    ambiguous: Vec<String>,
    /// Path where the scraper asks.
    scraped: &'a str,
}

impl<'a> Part<'a> {
    fn new(kind: &'a str, spec: &'a Value, object: &'a Value, namespace: &str, cluster: &'a Cluster) -> Self {
        let hit = matched(&spec["selector"], namespace, cluster);
        let mut all: BTreeMap<(&str, String), (usize, usize)> = BTreeMap::new();
        for pod in cluster.pods.iter().filter(|pod| alive(pod)) {
            let (place, name) = owner_of(pod);
            let count = all.entry((place, name)).or_default();
            count.1 += 1;
            count.0 += usize::from(hit.iter().any(|one| std::ptr::eq(*one, pod)));
        }
        // Requests are spread evenly over a workload's pods.
        let chosen = if hit.is_empty() {
            0.0
        } else {
            ratio(chosen_of(spec, hit.len()), hit.len())
        };
        let mut pods = BTreeMap::new();
        let mut ambiguous = Vec::new();
        for ((_, name), (matched, count)) in &all {
            if *matched == 0 {
                continue;
            }
            pods.insert(name.clone(), ratio(*matched, *count) * chosen);
            if all.keys().filter(|(_, other)| other == name).count() > 1 {
                ambiguous.push(name.clone());
            }
        }
        // Names and addresses are the cluster's to resolve: with them the peers are anybody.
        let peers = (spec["target"].is_object() && !names_others(spec)).then(|| {
            matched(&spec["target"]["selector"], namespace, cluster)
                .into_iter()
                .map(|pod| owner_of(pod).1)
                .collect()
        });
        let scraped = hit
            .first()
            .and_then(|pod| pod["metadata"]["annotations"]["prometheus.io/path"].as_str())
            .unwrap_or(SCRAPED);
        Self {
            kind,
            spec,
            annotations: &object["metadata"]["annotations"],
            pods,
            peers,
            ambiguous,
            scraped,
        }
    }

    fn traffic(&self, measured: &Measured, cujs: &Cujs) -> Traffic {
        let mut told = Traffic::default();
        if self.pods.is_empty() {
            told.notes
                .push(text("当てはまる Pod がありません", "no pod matches"));
            return told;
        }
        if measured.edges.is_empty() && measured.bytes.is_empty() {
            told.notes.push(text(
                "Prometheus に hikeshi_edge_* がまだありません (edges.hikeshi-system を収集しているか確かめてください)",
                "Prometheus has no hikeshi_edge_* yet: does it scrape edges.hikeshi-system?",
            ));
            return told;
        }
        if !self.ambiguous.is_empty() {
            let names = self.ambiguous.join(", ");
            told.notes.push(text(
                format!("{names} という名前のワークロードが別の namespace にもあり、リクエストを分けて数えられません"),
                format!("workloads of the name {names} are in other namespaces, too: their requests are counted together"),
            ));
            return told;
        }
        let touched: Vec<(&EdgeRate, f64)> = measured
            .edges
            .iter()
            .filter_map(|edge| Some((edge, self.of_edge(&edge.source, &edge.destination)?)))
            .collect();
        let total: f64 = touched.iter().map(|(edge, _)| edge.per_second).sum();
        let bytes: f64 = measured
            .bytes
            .iter()
            .filter(|(source, destination, _)| self.of_edge(source, destination).is_some())
            .map(|(.., rate)| rate)
            .sum();
        if total <= 0.0 && bytes > 0.0 {
            let rate = bytes / 1e3;
            told.notes.push(text(
                format!("HTTP ではない通信です。件数は数えられず、毎秒 {rate:.1} kB 流れています"),
                format!("not HTTP: requests cannot be counted; {rate:.1} kB per second pass"),
            ));
            return told;
        }
        let mut hit = Range::default();
        for (edge, share) in &touched {
            let part = self.of_requests(edge, measured, cujs, &mut told.notes);
            hit.least += edge.per_second * share * part.least;
            hit.most += edge.per_second * share * part.most;
        }
        let all: f64 = measured.edges.iter().map(|edge| edge.per_second).sum();
        told.requests_per_second = Some(total);
        told.share = (total > 0.0).then(|| hit.of(total));
        told.share_of_all = (all > 0.0).then(|| hit.of(all));
        told.hit_per_second = Some(hit);
        self.journeys(measured, cujs, &mut told);
        told
    }

    /// What share of an edge's requests passes the pods that are hit; none: the edge is not touched.
    fn of_edge(&self, source: &str, destination: &str) -> Option<f64> {
        if self.kind != "NetworkChaos" {
            return self.pods.get(destination).copied();
        }
        let fits = |own: &str, other: &str| {
            let met = self.peers.as_ref().is_none_or(|peers| peers.contains(other));
            self.pods.get(own).copied().filter(|_| met)
        };
        let direction = self.spec["direction"].as_str().unwrap_or_default();
        let to = fits(source, destination).filter(|_| direction != "from");
        let from = fits(destination, source).filter(|_| matches!(direction, "from" | "both"));
        match (to, from) {
            // Either end is enough.
            (Some(to), Some(from)) => Some(to.max(from)),
            (one, other) => one.or(other),
        }
    }

    /// What share of an edge's requests the spec is about, once they pass a pod that is hit.
    fn of_requests(&self, edge: &EdgeRate, measured: &Measured, cujs: &Cujs, notes: &mut Vec<Text>) -> Range {
        let code = self.spec["code"].as_u64().filter(|code| *code > 0);
        if self.kind == "HTTPChaos" && code.is_some_and(|code| u64::from(edge.code) != code) {
            return Range::default();
        }
        self.narrowed(self.known_requests(edge, measured, cujs), notes)
    }

    /// What the rest of the spec leaves of requests of which `known` have its method and path.
    fn narrowed(&self, known: Range, notes: &mut Vec<Text>) -> Range {
        let mut part = Range {
            least: 1.0,
            most: 1.0,
        };
        if self.spec["mode"] == "random-max-percent" {
            part.least = 0.0;
            note(
                notes,
                "mode random-max-percent は毎回 0 から上限までです",
                "mode random-max-percent takes anything from none to its limit",
            );
        }
        if names_others(self.spec) {
            part.least = 0.0;
            note(
                notes,
                "externalTargets の相手ごとの件数は数えていないため、上限だけが分かります",
                "requests are not counted by external target: only the upper limit is known",
            );
        }
        if self.kind != "HTTPChaos" {
            return part;
        }
        let headers = ["request_headers", "response_headers"]
            .iter()
            .any(|name| self.spec[*name].as_object().is_some_and(|map| !map.is_empty()));
        if headers || self.annotations[REQUEST_HEADERS].is_string() {
            part.least = 0.0;
            note(
                notes,
                "ヘッダーごとの件数は数えていないため、上限だけが分かります",
                "requests are not counted by header: only the upper limit is known",
            );
        }
        part.least *= known.least;
        part.most *= known.most;
        if known.least < known.most {
            note(
                notes,
                "一部のリクエストはパスやステータスを分けずに数えているため、幅があります",
                "some requests are counted without path, method or status: hence a range",
            );
        }
        let share = self.percent();
        part.least *= share;
        part.most *= share;
        part
    }

    /// What share of an edge's requests has the method and path of the spec.
    fn known_requests(&self, edge: &EdgeRate, measured: &Measured, cujs: &Cujs) -> Range {
        if !self.chooses_requests() {
            return Range::exactly(1.0);
        }
        if let Some((method, path)) = edge.route.split_once(' ') {
            return self.fits(method, path, false);
        }
        if edge.source == SCRAPER {
            return self.fits("GET", self.scraped, true);
        }
        // What the load takes of journeys is known by its own count; what is left of its requests is not.
        let taken: Vec<(&str, f64)> = measured
            .journeys
            .iter()
            .filter(|(_, workload, _)| *workload == edge.source)
            .map(|(journey, _, rate)| (journey.as_str(), *rate))
            .collect();
        let sum: f64 = taken.iter().map(|(_, rate)| rate).sum();
        let whole: f64 = measured
            .edges
            .iter()
            .filter(|other| other.source == edge.source && other.route.is_empty())
            .map(|other| other.per_second)
            .sum();
        if sum <= 0.0 || whole <= 0.0 {
            return Range {
                least: 0.0,
                most: 1.0,
            };
        }
        let whole = whole.max(sum);
        let mut part = Range {
            least: 0.0,
            most: (whole - sum) / whole,
        };
        for (journey, rate) in taken {
            let fits = match route_of(cujs, journey) {
                Some((method, path)) => self.fits(method, path, true),
                None => Range {
                    least: 0.0,
                    most: 1.0,
                },
            };
            part.least += fits.least * rate / whole;
            part.most += fits.most * rate / whole;
        }
        // Counted in two places a moment apart: a hair is no range.
        if part.most - part.least < 0.02 {
            part.most = part.least;
        }
        part
    }

    /// Whether the spec is about some requests of a connection only.
    fn chooses_requests(&self) -> bool {
        let word = |field: &str| self.spec[field].as_str().filter(|text| !text.is_empty());
        word("method").is_some() || !matches!(word("path"), None | Some("*" | "/*"))
    }

    /// Whether a request of this method and path is meant: 1, 0, or unknown. One that is not `whole` is a route as it is
    /// counted: the first two parts of a path, with `:id` for what varies.
    fn fits(&self, method: &str, path: &str, whole: bool) -> Range {
        let wanted = |field: &str| self.spec[field].as_str().filter(|text| !text.is_empty());
        if wanted("method").is_some_and(|wanted| !wanted.eq_ignore_ascii_case(method)) {
            return Range::default();
        }
        let Some(pattern) = wanted("path") else {
            return Range::exactly(1.0);
        };
        let begins: String = path.split("/:").next().unwrap_or_default().to_owned();
        let deeper = begins != path || (!whole && path.matches('/').count() >= 2);
        match (wildcard(pattern, path), prefix(pattern, &begins)) {
            (true, _) if pattern.ends_with('*') || !deeper => Range::exactly(1.0),
            (false, false) => Range::default(),
            _ if deeper => Range {
                least: 0.0,
                most: 1.0,
            },
            _ => Range::default(),
        }
    }

    /// 0 to 1.
    fn percent(&self) -> f64 {
        let read = |name: &str, read: fn(&str) -> Result<u32, hikeshi_chaos::Words>| {
            self.annotations[name].as_str().and_then(|text| read(text).ok())
        };
        read(PERCENT, quantity::percent)
            .or_else(|| read(PPM, quantity::ppm))
            .map_or(1.0, |ppm| f64::from(ppm) / f64::from(quantity::WHOLE))
    }

    /// The journeys that enter the system at a pod that is hit.
    fn journeys(&self, measured: &Measured, cujs: &Cujs, told: &mut Traffic) {
        let mut elsewhere = false;
        for cuj in &cujs.cujs {
            let taken = measured.journeys.iter().filter(|(name, ..)| *name == cuj.name);
            let rate: f64 = taken.clone().map(|(.., rate)| rate).sum();
            let entered: Vec<&EdgeRate> = measured
                .edges
                .iter()
                .filter(|edge| {
                    edge.route == cuj.route || taken.clone().any(|(_, source, _)| *source == edge.source)
                })
                .collect();
            let Some((method, path)) = cuj.route.split_once(' ').filter(|_| rate > 0.0) else {
                continue;
            };
            let shares: Vec<f64> = entered
                .iter()
                .filter_map(|edge| self.of_edge(&edge.source, &edge.destination))
                .collect();
            let Some(share) = shares.into_iter().reduce(f64::max) else {
                elsewhere = true;
                continue;
            };
            // Which of a journey's requests are answered with some status is not known before it happens.
            let code = self.spec["code"].as_u64().is_some_and(|code| code > 0);
            let known = if self.kind == "HTTPChaos" && self.chooses_requests() {
                self.fits(method, path, true)
            } else {
                Range::exactly(1.0)
            };
            let known = Range {
                least: if code { 0.0 } else { known.least },
                ..known
            };
            let part = self.narrowed(known, &mut told.notes);
            if part.most > 0.0 {
                told.journeys.push(JourneyShare {
                    journey: cuj.name.clone(),
                    title: cuj.title.clone(),
                    per_second: rate,
                    share: Range {
                        least: part.least * share,
                        most: part.most * share,
                    },
                });
            }
        }
        if elsewhere {
            note(
                &mut told.notes,
                "ジャーニーの入り口ではないため、どのジャーニーの何割に当たるかは分かりません",
                "no journey enters here, so what share of each is hit is not known",
            );
        }
    }
}

fn note(notes: &mut Vec<Text>, ja: &str, en: &str) {
    if notes.iter().all(|known| known.en != en) {
        notes.push(text(ja, en));
    }
}

fn route_of<'a>(cujs: &'a Cujs, journey: &str) -> Option<(&'a str, &'a str)> {
    let cuj = cujs.cujs.iter().find(|cuj| cuj.name == journey)?;
    cuj.route.split_once(' ')
}

#[expect(clippy::cast_precision_loss, reason = "numbers of pods")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// Chaos Mesh's patterns: `*` is any number of characters, `?` exactly one.
fn wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Reached positions of the text, pattern by pattern.
    let mut at = vec![false; text.len() + 1];
    at[0] = true;
    for sign in pattern {
        let mut next = vec![false; text.len() + 1];
        for from in (0..=text.len()).filter(|from| at[*from]) {
            match sign {
                '*' => next[from..].fill(true),
                '?' if from < text.len() => next[from + 1] = true,
                sign if text.get(from) == Some(&sign) => next[from + 1] = true,
                _ => {}
            }
        }
        at = next;
    }
    at[text.len()]
}

/// Whether something that begins with `text` may fit the pattern.
fn prefix(pattern: &str, text: &str) -> bool {
    let ends: Vec<usize> = (0..=pattern.len())
        .filter(|end| pattern.is_char_boundary(*end))
        .collect();
    ends.into_iter().any(|end| wildcard(&pattern[..end], text))
}

#[cfg(test)]
mod tests;
