//! Charts as SVG text: lines over time, with axes that people read at a glance.

use std::fmt::Write as _;

/// Room of a chart, in its own units; the page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Lines across, at least; there are at most twice as many.
const TICKS: f64 = 4.0;

/// One line of a chart.
pub struct Series {
    /// CSS class: colour and dashes are the page's.
    pub class: &'static str,
    /// A value for each stretch; `None` leaves a gap.
    pub values: Vec<Option<f64>>,
    /// Filled down to zero.
    pub filled: bool,
}

/// The distance between two lines across: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    let raw = most / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .rfind(|step| *step <= raw * 1.000_001)
        .unwrap_or(power)
}

/// `1500` as `1.5k`; nothing behind the point that is not needed.
fn label(value: f64) -> String {
    let (value, unit) = match value {
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A chart of series that have a value every `stretch` seconds, over `seconds`. `name` is what a screen reader says.
pub fn chart(name: &str, series: &[Series], stretch: f64, seconds: f64) -> String {
    let most = series
        .iter()
        .flat_map(|series| series.values.iter().flatten())
        .fold(0.0_f64, |most, value| most.max(*value));
    // Something to draw on even where nothing happened.
    let most = if most > 0.0 { most } else { 1.0 };
    let step_y = step(most);
    let top = (most / step_y).ceil() * step_y;
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * (at / seconds.max(stretch)).min(1.0);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">"#);
    // Writing to a string cannot fail.
    let mut tick = 0.0;
    while tick <= top * 1.000_001 {
        let at = y(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at:.1}" y2="{at:.1}"/><text class="tick end" x="{:.1}" y="{:.1}">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            label(tick)
        );
        tick += step_y;
    }
    let step_x = step(seconds.max(stretch) * 0.6).max(1.0);
    let (mut tick, mut odd) = (0.0, false);
    while tick <= seconds {
        // Small screens have room for every other one.
        let every = if odd { " odd" } else { "" };
        odd = !odd;
        // The last one would stand out of the picture.
        let anchor = if x(tick) > WIDTH - RIGHT - 10.0 {
            "end"
        } else {
            "middle"
        };
        let _ = write!(
            svg,
            r#"<text class="tick {anchor}{every}" x="{:.1}" y="{:.1}">{}</text>"#,
            x(tick),
            HEIGHT - 8.0,
            clock(tick)
        );
        tick += step_x;
    }
    for one in series {
        for run in runs(&one.values) {
            // A value stands for its stretch: in the middle of it.
            let point = |place: usize, value: f64| (x((place as f64 + 0.5) * stretch), y(value));
            let points: Vec<(f64, f64)> = run.iter().map(|(place, value)| point(*place, *value)).collect();
            let path: String = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
            let path = path.trim_end();
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                continue;
            };
            if one.filled {
                let zero = y(0.0);
                let _ = write!(
                    svg,
                    r#"<polygon class="area {}" points="{:.1},{zero:.1} {path} {:.1},{zero:.1}"/>"#,
                    one.class, first.0, last.0
                );
            }
            if points.len() == 1 {
                let _ = write!(
                    svg,
                    r#"<circle class="dot {}" cx="{:.1}" cy="{:.1}" r="2.5"/>"#,
                    one.class, first.0, first.1
                );
            } else {
                let _ = write!(svg, r#"<polyline class="line {}" points="{path}"/>"#, one.class);
            }
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Stretches of values without gaps, with their places.
fn runs(values: &[Option<f64>]) -> Vec<Vec<(usize, f64)>> {
    let mut runs = vec![vec![]];
    for (place, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some(run)) => run.push((place, *value)),
            (None, Some(run)) if !run.is_empty() => runs.push(vec![]),
            _ => {}
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Seconds as `0:40`, from an hour on as `1:00:00`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a run"
)]
fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_values_there_are_a_few_lines_across(most in 1e-3..1e7_f64) {
            let lines = (most / step(most)).ceil();
            prop_assert!((4.0..=11.0).contains(&lines), "{lines}");
        }
    }

    #[test]
    fn labels_are_short() {
        let all = [0.0, 0.25, 20.0, 1500.0, 20_000.0, 2e6].map(label);
        assert_eq!(all, ["0", "0.25", "20", "1.5k", "20k", "2M"]);
        assert_eq!((clock(40.0), clock(3600.0)), ("0:40".into(), "1:00:00".into()));
    }

    #[test]
    fn a_gap_is_a_gap_and_a_lonely_value_a_dot() {
        let series = Series {
            class: "a",
            values: vec![Some(1.0), Some(2.0), None, Some(3.0)],
            filled: false,
        };
        let svg = chart("x", &[series], 1.0, 4.0);
        assert_eq!(
            (svg.matches("<polyline").count(), svg.matches("<circle").count()),
            (1, 1)
        );
    }
}
