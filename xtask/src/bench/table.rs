//! Medians of rounds, as a table with ratios to a peer.

/// One round of one candidate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Round {
    pub requests_per_second: f64,
    pub p50_micros: f64,
    pub p99_micros: f64,
    /// CPU seconds of the proxy per 100,000 requests.
    pub cpu: f64,
    /// Resident megabytes of the proxy, under load.
    pub resident: f64,
    /// Median round trip of one client in microseconds.
    pub alone: f64,
}

/// One candidate.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub name: String,
    pub rounds: Vec<Round>,
    /// Kilobytes of an idle connection.
    pub idle: Option<f64>,
}

impl Row {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Default::default()
        }
    }
}

/// The median of each figure.
pub fn median(rounds: &[Round]) -> Round {
    let of = |figure: fn(&Round) -> f64| middle(rounds.iter().map(figure).collect());
    Round {
        requests_per_second: of(|round| round.requests_per_second),
        p50_micros: of(|round| round.p50_micros),
        p99_micros: of(|round| round.p99_micros),
        cpu: of(|round| round.cpu),
        resident: of(|round| round.resident),
        alone: of(|round| round.alone),
    }
}

/// The median of each figure of rounds that have the same figures in the same order.
pub fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    let figures = rounds.first().map_or(0, Vec::len);
    let nth = |at: usize| rounds.iter().filter_map(|round| round.get(at).copied()).collect();
    (0..figures).map(|at| middle(nth(at))).collect()
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Rows of medians; `direct` is the first, `peer` the one that ratios are to.
pub fn print(rows: &[Row], peer: &str) {
    let medians: Vec<_> = rows.iter().map(|row| (&row.name, median(&row.rounds))).collect();
    let direct = medians.first().map_or(0.0, |(_, row)| row.alone);
    let base = medians
        .iter()
        .find(|(name, _)| name.as_str() == peer)
        .map(|(_, row)| *row);
    println!(
        "| c=32 | req/s | p50 us | p99 us | CPU s/100k | RSS MB | added p50 us, c=1, one core | KB idle |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (place, (name, row)) in medians.iter().enumerate() {
        let proxy = |text: String| if place == 0 { "-".to_string() } else { text };
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} |",
            row.requests_per_second,
            row.p50_micros,
            row.p99_micros,
            proxy(format!("{:.2}", row.cpu)),
            proxy(format!("{:.1}", row.resident)),
            proxy(format!("{:.1}", row.alone - direct)),
            proxy(
                rows[place]
                    .idle
                    .map_or_else(String::new, |idle| format!("{idle:.1}"))
            ),
        );
    }
    let (Some(base), Some((name, ours))) = (base, medians.last()) else {
        return;
    };
    println!(
        "{name} / {peer}: req/s x {:.2}, p99 x {:.2}, CPU x {:.2}, added p50 x {:.2}",
        ours.requests_per_second / base.requests_per_second,
        ours.p99_micros / base.p99_micros,
        ours.cpu / base.cpu,
        (ours.alone - direct) / (base.alone - direct),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_own_median() {
        let round = |cpu, resident| Round {
            cpu,
            resident,
            ..Default::default()
        };
        let middle = median(&[round(1.0, 9.0), round(3.0, 7.0), round(2.0, 8.0)]);
        assert_eq!((middle.cpu, middle.resident), (2.0, 8.0));
    }
}
