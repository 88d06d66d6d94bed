//! Measuring a hot route without looking its labels up for every request.

use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::Labels;

/// One route's metrics.
#[derive(Clone)]
pub struct Route {
    requests: Family<Labels, Histogram>,
    method: &'static str,
    path: &'static str,
    ok: Histogram,
}

impl Route {
    pub(super) fn new(requests: Family<Labels, Histogram>, method: &'static str, path: &'static str) -> Self {
        let ok = requests.get_or_create(&labels(method, path, 200)).clone();
        Self {
            requests,
            method,
            path,
            ok,
        }
    }

    /// A request begins.
    pub fn begin(&self) -> Observation {
        Observation {
            route: self.clone(),
            start: Instant::now(),
            code: 499,
        }
    }
}

/// A request under way. Counted even when the client has gone and this is dropped early: those are the slowest of all.
pub struct Observation {
    route: Route,
    start: Instant,
    code: u16,
}

impl Observation {
    /// It was answered with this status.
    pub fn answered(mut self, code: http::StatusCode) {
        self.code = code.as_u16();
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let seconds = self.start.elapsed().as_secs_f64();
        let route = &self.route;
        if self.code == 200 {
            route.ok.observe(seconds);
        } else {
            let labels = labels(route.method, route.path, self.code);
            route.requests.get_or_create(&labels).observe(seconds);
        }
    }
}

fn labels(method: &str, path: &str, code: u16) -> Labels {
    vec![
        ("method", method.to_owned()),
        ("route", path.to_owned()),
        ("code", code.to_string()),
    ]
}
