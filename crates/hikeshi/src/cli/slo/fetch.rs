//! Which Prometheus is asked, and what it is that went wrong there.

use std::sync::Arc;
use std::time::Duration;

use hikeshi_host::{Prometheus, PrometheusError};

use super::args::Asked;
use crate::control::record::Record;
use crate::daemon::session::SLO_CLOCK;
use crate::failure::Failure;
use crate::paths::Paths;

/// A month of somebody's production takes a while.
const LIMIT: Duration = Duration::from_secs(120);

/// A Prometheus, and how fast its windows run.
pub struct Source {
    pub prometheus: Prometheus,
    base: String,
    pub slo_clock: f64,
}

impl Source {
    /// The one that was named, else that of the system that is up.
    pub fn find(asked: &Asked) -> Result<Self, Failure> {
        let (base, clock) = match &asked.prometheus {
            Some(url) => {
                let plain = url.trim_end_matches('/').to_owned();
                if !(plain.starts_with("http://") || plain.starts_with("https://")) {
                    return Err(Failure::usage(format!(
                        "--prometheus {url}: write a URL, such as http://localhost:9090"
                    )));
                }
                (plain, 1.0)
            }
            None => {
                let record = Record::running(&Paths::from_environment()?);
                let address = record.and_then(|record| record.hosts.get("prometheus").copied());
                let address = address.ok_or_else(|| {
                    Failure::usage("no system is up whose Prometheus could be asked")
                        .hint("hikeshi up, or --prometheus URL")
                })?;
                (format!("http://{address}/prometheus"), SLO_CLOCK)
            }
        };
        let slo_clock = asked.slo_clock.unwrap_or(clock);
        if !(slo_clock.is_finite() && slo_clock > 0.0) {
            return Err(Failure::usage(format!("--slo-clock {slo_clock} is not above 0")));
        }
        let known = base.clone();
        Ok(Self {
            prometheus: Prometheus::patient(Arc::new(move || Some(known.clone())), LIMIT),
            base,
            slo_clock,
        })
    }

    /// Why there was no answer, for a person.
    pub fn failed(&self, error: &PrometheusError) -> Failure {
        let base = &self.base;
        let hint = "is that its address, with the prefix it is served under?";
        match error {
            PrometheusError::Http(error) if error.is_decode() => {
                Failure::component(format!("{base} does not answer as Prometheus does")).hint(hint)
            }
            PrometheusError::Http(error) => {
                Failure::component(format!("Prometheus at {base} did not answer: {error}")).hint(hint)
            }
            PrometheusError::Query(_) | PrometheusError::NotUp => Failure::component(error.to_string()),
        }
    }
}
