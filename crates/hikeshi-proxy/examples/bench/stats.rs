//! Percentiles of what was measured.

use std::time::Duration;

/// The `share` quantile (0 to 1) of `sorted`; zero of nothing.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let place = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}

/// Milliseconds with two places, negative when `took` is less than `asked`.
pub fn excess(took: Duration, asked: Duration) -> f64 {
    (took.as_secs_f64() - asked.as_secs_f64()) * 1e3
}
