//! What the target's edges carried before the fault, under it, and after it.

use jiff::{SignedDuration, Timestamp};

use super::{Experiment, Phase};
use crate::api::{EdgeFigures, Flow};
use crate::manifest::takes_duration;

/// Shorter windows hold too few samples to tell a rate.
const SHORTEST: f64 = 3.0;
/// A scrape's counters may be younger than its time by as long as it may take, and a status older than what it tells.
const LATE: SignedDuration = SignedDuration::from_secs(1);
/// Longer ones cost Prometheus more than they tell.
const LONGEST: f64 = 3_600.0;

/// One edge's requests over some window.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeFlow {
    pub source: String,
    pub destination: String,
    pub flow: Flow,
}

/// Which of an experiment's figures a window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    During,
    After,
}

/// A stretch of time over which the edges are asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    pub side: Side,
    pub seconds: f64,
    pub until: Timestamp,
}

impl Experiment {
    /// The stretches of which the edges tell something now. The one under the fault ends before the fault did: what is
    /// seen of its end comes later than the end itself, and the requests of between went unharmed.
    pub fn windows(&self, now: Timestamp) -> Vec<Window> {
        let lifted = self.lifted_at.unwrap_or(now);
        let end = now.min(self.harmed_until());
        let [during, after] = match self.phase {
            Phase::Running => [self.started_at.map(|start| (start, end)), None],
            Phase::Recovering => [
                self.started_at.map(|start| (start, end.min(lifted))),
                Some((lifted, now)),
            ],
            _ => [None, None],
        };
        let sides = [(Side::During, during), (Side::After, after)];
        let window = |(side, span): (Side, Option<(Timestamp, Timestamp)>)| {
            let (since, until) = span?;
            let seconds = until.duration_since(since).as_secs_f64();
            (seconds >= SHORTEST && !self.workloads.is_empty()).then(|| Window {
                side,
                seconds: seconds.min(LONGEST),
                until,
            })
        };
        sides.into_iter().filter_map(window).collect()
    }

    /// Up to when every request surely met the fault, as far as it is known.
    fn harmed_until(&self) -> Timestamp {
        let own = self.limit_s.filter(|_| takes_duration(&self.object));
        let own = own.and_then(|limit| {
            self.created_at
                .checked_add(SignedDuration::try_from_secs_f64(limit).ok()?)
                .ok()
        });
        let recovered = self.records.iter().filter_map(|record| record.recovered_at);
        let first = own.into_iter().chain(recovered).min();
        first
            .and_then(|end| end.checked_sub(LATE).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// Whether a NetworkChaos: then what the pods ask of others counts, too.
    pub fn touches_sources(&self) -> bool {
        self.kind == "NetworkChaos"
    }

    /// What was measured over [`super::BEFORE`]: the edges, and each check's figure from moment to moment.
    pub fn past(&mut self, edges: Vec<EdgeFlow>, points: Vec<Vec<(f64, f64)>>) {
        self.note_edges(edges, |figures| &mut figures.before);
        self.edges.sort_by(|a, b| {
            let rate = |it: &EdgeFigures| it.before.map_or(0.0, |flow| flow.requests_per_second);
            rate(b).total_cmp(&rate(a))
        });
        for (measured, mut points) in self.measured.iter_mut().zip(points) {
            let first = measured.points.first().map_or(f64::INFINITY, |(at, _)| *at);
            points.retain(|(at, value)| *at < first && value.is_finite());
            points.append(&mut measured.points);
            measured.points = points;
        }
    }

    /// Takes what was measured over one of [`Experiment::windows`].
    pub(super) fn take_edges(&mut self, side: Side, edges: Vec<EdgeFlow>) {
        self.note_edges(
            edges,
            match side {
                Side::During => |figures| &mut figures.during,
                Side::After => |figures| &mut figures.after,
            },
        );
    }

    fn note_edges(&mut self, edges: Vec<EdgeFlow>, place: fn(&mut EdgeFigures) -> &mut Option<Flow>) {
        for EdgeFlow {
            source,
            destination,
            flow,
        } in edges
        {
            let known = self
                .edges
                .iter_mut()
                .find(|known| known.source == source && known.destination == destination);
            match known {
                Some(known) => *place(known) = Some(flow),
                None => {
                    let mut new = EdgeFigures {
                        source,
                        destination,
                        before: None,
                        during: None,
                        after: None,
                    };
                    *place(&mut new) = Some(flow);
                    self.edges.push(new);
                }
            }
        }
    }
}
