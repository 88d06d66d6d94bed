//! Whether looks at a system add up to "healthy for long enough", and when it is certain that they no longer can.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Held, Verdict};

/// Looks, until they are an outcome.
pub struct Streak {
    hold: Duration,
    end: Instant,
    green_since: Option<(Instant, Timestamp)>,
    last_red: Vec<String>,
}

impl Streak {
    /// Wants every look for `hold` to be green before `end`.
    pub fn new(hold: Duration, end: Instant) -> Self {
        Self {
            hold,
            end,
            green_since: None,
            last_red: vec!["nothing was looked at".to_owned()],
        }
    }

    /// Takes the verdict of a look that began at `looked` and is in hand at `now`; says the outcome once it is certain.
    ///
    /// A red look with less than `hold` left before the end is one: no later look could make up for it.
    pub fn saw(&mut self, verdict: Verdict, looked: Instant, now: Instant, at: Timestamp) -> Option<Held> {
        if verdict.green {
            let (since, since_at) = *self.green_since.get_or_insert((looked, at));
            if now.duration_since(since) >= self.hold {
                return Some(Held {
                    verdict,
                    since: Some(since_at),
                    until: at,
                });
            }
        } else {
            self.green_since = None;
            self.last_red = verdict.reasons;
        }
        let too_late = self.green_since.is_none() && now + self.hold > self.end;
        if !too_late && now < self.end {
            return None;
        }
        let mut reasons = std::mem::take(&mut self.last_red);
        if let Some((since, _)) = self.green_since {
            reasons.push(format!(
                "green for only {} s of {} s",
                now.duration_since(since).as_secs(),
                self.hold.as_secs()
            ));
        }
        Some(Held {
            verdict: Verdict {
                green: false,
                reasons,
            },
            since: self.green_since.map(|(_, at)| at),
            until: at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every 3 s, each taking 1 s; green where `green` says so of the look's second. Gives the outcome and its second.
    fn outcome(hold: u64, limit: u64, green: impl Fn(u64) -> bool) -> (bool, u64, Vec<String>) {
        let start = Instant::now();
        let second = |second: u64| start + Duration::from_secs(second);
        let mut streak = Streak::new(Duration::from_secs(hold), second(limit));
        for looked in (0..).step_by(3) {
            let verdict = Verdict {
                green: green(looked),
                reasons: (!green(looked))
                    .then(|| format!("red at {looked}"))
                    .into_iter()
                    .collect(),
            };
            if let Some(held) = streak.saw(verdict, second(looked), second(looked + 1), Timestamp::UNIX_EPOCH)
            {
                return (held.verdict.green, looked, held.verdict.reasons);
            }
        }
        unreachable!("looking ends")
    }

    #[test]
    fn green_for_the_whole_time_is_green_at_once() {
        assert_eq!(outcome(60, 80, |_| true), (true, 60, vec![]));
    }

    #[test]
    fn relief_that_ends_starts_the_count_again() {
        assert_eq!(outcome(60, 200, |second| second >= 90), (true, 150, vec![]));
    }

    #[test]
    fn red_when_too_little_time_is_left_is_red_without_waiting_for_the_end() {
        let (green, second, reasons) = outcome(60, 80, |_| false);
        assert!(!green);
        assert_eq!(second, 21);
        assert_eq!(reasons, ["red at 21"]);
    }

    #[test]
    fn a_late_relief_is_watched_until_it_ends() {
        // Green from 18 s: it could still hold for 60 s of 80 s, so only its end settles the matter.
        let (green, second, reasons) = outcome(60, 80, |second| (18..75).contains(&second));
        assert!(!green);
        assert_eq!(second, 75);
        assert_eq!(reasons, ["red at 75"]);
    }

    #[test]
    fn a_relief_too_short_at_the_end_says_how_long_it_was() {
        let (green, second, reasons) = outcome(60, 79, |second| second >= 21);
        assert!(!green);
        assert_eq!(second, 78);
        assert_eq!(reasons, ["red at 18", "green for only 58 s of 60 s"]);
    }
}
