//! What the target's edges carried before the fault, under it, and after it.

use jiff::Timestamp;

use super::{Experiment, Phase};
use crate::api::{EdgeFigures, Flow};

/// Shorter windows hold too few samples to tell a rate.
const SHORTEST: f64 = 3.0;
/// Longer ones cost Prometheus more than they tell.
const LONGEST: f64 = 3_600.0;

/// One edge's requests over some window.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeFlow {
    pub source: String,
    pub destination: String,
    pub flow: Flow,
}

impl Experiment {
    /// Over how many seconds up to now the edges tell of the phase that is on; none: of no phase that is compared.
    pub fn window(&self, now: Timestamp) -> Option<f64> {
        let since = match self.phase {
            Phase::Running => self.started_at?,
            Phase::Recovering => self.lifted_at?,
            _ => return None,
        };
        let seconds = now.duration_since(since).as_secs_f64();
        (seconds >= SHORTEST && !self.workloads.is_empty()).then(|| seconds.min(LONGEST))
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

    /// Takes the edges of the phase that is on.
    pub(super) fn take_edges(&mut self, edges: Vec<EdgeFlow>) {
        match self.phase {
            Phase::Running => self.note_edges(edges, |figures| &mut figures.during),
            Phase::Recovering => self.note_edges(edges, |figures| &mut figures.after),
            _ => {}
        }
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
