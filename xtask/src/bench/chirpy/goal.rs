//! What the story asks for, and whether a run shows it.

/// Timeline reads a second, with a tenth as many posts.
pub const READS: f64 = 10_000.0;
/// Seconds of measuring.
pub const SECONDS: u32 = 300;
/// Of reads and of posts, milliseconds from the moment a request was due.
const P99: f64 = 100.0;

/// What a run had to show.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub reads: f64,
    pub seconds: f64,
    /// The worse journey's, milliseconds.
    pub p99: f64,
    /// Nothing failed, was lost, or fell short of what was asked for.
    pub whole: bool,
}

/// The sentence that ends a run.
pub fn verdict(shown: &Shown) -> String {
    let mut short = vec![];
    if shown.reads < READS {
        short.push(format!("it was asked for {:.0} reads a second", shown.reads));
    }
    if shown.seconds < f64::from(SECONDS) {
        short.push(format!("it lasted {:.0} s", shown.seconds));
    }
    if !shown.whole {
        short.push("something failed, was lost or fell short".to_owned());
    }
    if shown.p99 > P99 {
        short.push(format!("p99 is {:.0} ms", shown.p99));
    }
    let goal = format!(
        "{:.0} posts and {READS:.0} timeline reads a second for {SECONDS} s, nothing failed or lost, p99 at most {P99:.0} ms",
        READS / 10.0
    );
    if short.is_empty() {
        format!("reached: {goal}")
    } else {
        format!("not reached: {goal}; {}", short.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reaches_the_goal_or_says_what_is_short() {
        let good = Shown {
            reads: 10_000.0,
            seconds: 300.0,
            p99: 99.0,
            whole: true,
        };
        assert_eq!(
            verdict(&good),
            "reached: 1000 posts and 10000 timeline reads a second for 300 s, nothing failed or lost, p99 at most 100 ms"
        );
        let bad = Shown {
            reads: 8_000.0,
            seconds: 40.0,
            p99: 101.0,
            whole: false,
        };
        assert!(verdict(&bad).ends_with(
            "; it was asked for 8000 reads a second, it lasted 40 s, something failed, was lost or fell short, p99 is 101 ms"
        ));
    }
}
