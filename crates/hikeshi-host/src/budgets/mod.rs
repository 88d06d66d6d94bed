//! Error budgets: counts out of Prometheus go into `hikeshi_slo`'s pure functions, and what comes out is told to the command line
//! and the page alike.

mod counts;
pub mod marks;
mod served;

use std::path::{Path, PathBuf};

pub use counts::{Stretch, histories, history};
use hikeshi_slo::backtest::{BurnCourse, Mark, burn_courses};
use hikeshi_slo::{Spec, Status, status};

use crate::prometheus::{Prometheus, PrometheusError};
pub(crate) use served::Budgets;

/// Where the history of objectives is, in the folder of the SLOs.
pub fn history_file(slo: &Path) -> PathBuf {
    slo.join("history.jsonl")
}

/// Where people write down incidents that no drill marked, in the folder of the SLOs. It need not be there.
pub fn incidents_file(slo: &Path) -> PathBuf {
    slo.join("incidents.yaml")
}

/// One objective's budget at `now` (Unix seconds), and how fast its alerts saw it spent. `written` is as the file says; the clock
/// runs `slo_clock` times faster.
///
/// # Errors
/// A query that Prometheus does not answer.
pub async fn budget(
    prometheus: &Prometheus,
    written: &Spec,
    slo_clock: f64,
    now: i64,
    marks: &[Mark],
) -> Result<(Status, Vec<BurnCourse>), PrometheusError> {
    let spec = written.on_clock(slo_clock);
    let (whole, recent) = futures::try_join!(
        history(prometheus, &spec, Stretch::of_period(&spec, now, slo_clock)),
        history(prometheus, &spec, Stretch::of_alerts(&spec, now, slo_clock)),
    )?;
    Ok((
        status(&spec, &whole, &recent, marks),
        burn_courses(written, slo_clock, &recent),
    ))
}
