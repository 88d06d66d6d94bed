//! Whether a container that does not run is started now, later or never: a function of its story and the time.

use std::time::{Duration, Instant};

use super::status::{Run, State};

/// The reasons of a container that waits, as Kubernetes words them.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";
pub const PULL_FAILED: &str = "ErrImagePull";
pub const PULL_BACKOFF: &str = "ImagePullBackOff";
/// How long a pull's failure shows as itself before it shows as the wait for the next attempt.
const SHOWN: Duration = Duration::from_secs(1);

/// Which ends of a container are followed by another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    /// By the pod's `restartPolicy`. An init container that has done its work is done; a sidecar always runs.
    pub fn of(policy: &str, init: bool, sidecar: bool) -> Self {
        match policy {
            _ if sidecar => Self::Always,
            "Always" if init => Self::OnFailure,
            "Always" => Self::Always,
            "OnFailure" => Self::OnFailure,
            _ => Self::Never,
        }
    }

    fn follows(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// What to do about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It runs, or has ended for good.
    Leave,
    Wait(Duration),
    /// It has just ended once too often, and waits this long.
    BackOff(Duration),
    /// The image was missing, and the next attempt is so far away.
    PullLater(Duration),
    Start,
}

impl Run {
    /// The next turn of a container of pod `pod` (`NAME_NAMESPACE(UID)`). What it changes shows in the status.
    pub fn turn(&mut self, container: &str, pod: &str, restart: Restart, now: Instant) -> Turn {
        match &self.state {
            State::Running { .. } => Turn::Leave,
            State::Waiting {
                until: Some(until), ..
            } if *until > now => Turn::Wait(*until - now),
            State::Waiting { reason, message, .. } if reason == PULL_FAILED => {
                let Some(until) = self.next_pull.filter(|until| *until > now) else {
                    return Turn::Start;
                };
                let why = message.clone().unwrap_or_default();
                self.state = State::Waiting {
                    reason: PULL_BACKOFF.to_owned(),
                    message: Some(format!("{}: {PULL_FAILED}: {why}", self.pull_words())),
                    until: Some(until),
                };
                Turn::PullLater(until - now)
            }
            State::Waiting { .. } => Turn::Start,
            State::Ended(ended) => {
                if !restart.follows(ended.code) {
                    return Turn::Leave;
                }
                let ran = ended.started_at.map_or(Duration::ZERO, |start| {
                    Duration::try_from(ended.finished_at.duration_since(start)).unwrap_or_default()
                });
                let delay = self.backoff.delay(ran);
                self.last = Some(ended.clone());
                let (reason, message, until) = if delay.is_zero() {
                    ("ContainerCreating", None, None)
                } else {
                    let words = in_words(delay);
                    let message =
                        format!("back-off {words} restarting failed container={container} pod={pod}");
                    (CRASH_LOOP, Some(message), Some(now + delay))
                };
                self.state = State::Waiting {
                    reason: reason.to_owned(),
                    message,
                    until,
                };
                if delay.is_zero() {
                    Turn::Start
                } else {
                    Turn::BackOff(delay)
                }
            }
        }
    }

    /// The image is not there: `why`. When to look at the container again.
    pub fn pull_failed(&mut self, image: &str, why: &str, now: Instant) -> Duration {
        // Only what keeps ending is started again at once the first time.
        let delay = match self.pull_backoff.delay(Duration::ZERO) {
            Duration::ZERO => self.pull_backoff.delay(Duration::ZERO),
            delay => delay,
        };
        self.next_pull = Some(now + delay);
        image.clone_into(&mut self.pulled);
        self.state = State::Waiting {
            reason: PULL_FAILED.to_owned(),
            message: Some(why.to_owned()),
            until: Some(now + SHOWN),
        };
        SHOWN
    }

    /// `Back-off pulling image "NAME"`.
    pub fn pull_words(&self) -> String {
        format!("Back-off pulling image \"{}\"", self.pulled)
    }

    /// The number of the run that a start would be: the first is 0.
    pub fn next_number(&self) -> u32 {
        self.last
            .as_ref()
            .map_or(self.restart, |last| last.restart.saturating_add(1))
    }
}

/// As Go prints durations of whole seconds: `40s`, `1m20s`, `5m0s`.
fn in_words(delay: Duration) -> String {
    match (delay.as_secs() / 60, delay.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::status::Ended;
    use super::*;

    /// A container and its clock.
    struct Story {
        run: Run,
        now: Instant,
        restart: Restart,
    }

    impl Story {
        fn new(restart: Restart) -> Self {
            Self {
                run: Run::new("ContainerCreating"),
                now: Instant::now(),
                restart,
            }
        }

        fn turn(&mut self) -> Turn {
            self.run.turn("main", "web_ns(uid)", self.restart, self.now)
        }

        /// It starts, runs for so long and ends.
        fn run_for(&mut self, seconds: u64, code: i32) {
            assert_eq!(self.turn(), Turn::Start);
            let (number, start) = (self.run.next_number(), Timestamp::UNIX_EPOCH);
            self.run.restart = number;
            self.now += Duration::from_secs(seconds);
            self.run.state = State::Ended(Ended {
                code,
                signal: None,
                reason: "Error".into(),
                message: None,
                started_at: Some(start),
                finished_at: start + SignedDuration::from_secs(seconds.cast_signed()),
                restart: number,
            });
        }

        fn waiting(&self) -> (&str, &str) {
            match &self.run.state {
                State::Waiting { reason, message, .. } => (reason, message.as_deref().unwrap_or_default()),
                other => panic!("not waiting: {other:?}"),
            }
        }
    }

    #[test]
    fn a_crash_loop_waits_ten_seconds_doubling_to_five_minutes() {
        let mut story = Story::new(Restart::Always);
        story.run_for(1, 1);
        for (number, (seconds, words)) in [
            (10, "10s"),
            (20, "20s"),
            (40, "40s"),
            (80, "1m20s"),
            (160, "2m40s"),
            (300, "5m0s"),
            (300, "5m0s"),
        ]
        .into_iter()
        .enumerate()
        {
            // The first restart is at once.
            story.run_for(1, 1);
            let restarts = u32::try_from(number).unwrap() + 1;
            assert_eq!(story.turn(), Turn::BackOff(Duration::from_secs(seconds)));
            assert_eq!(story.run.restart, restarts, "counted when it starts");
            let message = format!("back-off {words} restarting failed container=main pod=web_ns(uid)");
            assert_eq!(story.waiting(), (CRASH_LOOP, message.as_str()));
            // Asked too early, it only waits: the back-off is not counted twice.
            story.now += Duration::from_secs(seconds - 1);
            assert_eq!(story.turn(), Turn::Wait(Duration::from_secs(1)));
            story.now += Duration::from_secs(1);
        }
        assert_eq!(story.turn(), Turn::Start);
    }

    #[test]
    fn ten_minutes_of_running_clear_the_record() {
        let mut story = Story::new(Restart::Always);
        for _ in 0..6 {
            story.run_for(1, 1);
            if let Turn::BackOff(delay) = story.turn() {
                story.now += delay;
            }
        }
        story.run_for(599, 1);
        assert_eq!(story.turn(), Turn::BackOff(Duration::from_secs(300)));
        story.now += Duration::from_secs(300);
        story.run_for(600, 1);
        assert_eq!(story.turn(), Turn::Start);
        story.run_for(1, 1);
        assert_eq!(story.turn(), Turn::BackOff(Duration::from_secs(10)));
    }

    #[test]
    fn the_policy_says_what_an_end_is_followed_by() {
        for (policy, init, sidecar, zero, other) in [
            ("Always", false, false, true, true),
            ("OnFailure", false, false, false, true),
            ("Never", false, false, false, false),
            ("Always", true, false, false, true),
            ("Never", true, false, false, false),
            ("Never", true, true, true, true),
        ] {
            for (code, again) in [(0, zero), (3, other)] {
                let mut story = Story::new(Restart::of(policy, init, sidecar));
                story.run_for(1, code);
                let expected = if again { Turn::Start } else { Turn::Leave };
                assert_eq!(
                    story.turn(),
                    expected,
                    "{policy} init={init} sidecar={sidecar} {code}"
                );
            }
        }
    }

    #[test]
    fn a_missing_image_is_looked_for_again_after_ten_seconds_doubling_to_five_minutes() {
        let mut story = Story::new(Restart::Always);
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(story.turn(), Turn::Start);
            let tried = story.now;
            assert_eq!(story.run.pull_failed("db:1", "no such image", story.now), SHOWN);
            assert_eq!(story.waiting(), (PULL_FAILED, "no such image"));
            assert_eq!(story.turn(), Turn::Wait(SHOWN));
            story.now += SHOWN;
            let left = Duration::from_secs(seconds) - SHOWN;
            assert_eq!(story.turn(), Turn::PullLater(left));
            let message = "Back-off pulling image \"db:1\": ErrImagePull: no such image";
            assert_eq!(story.waiting(), (PULL_BACKOFF, message));
            assert_eq!(story.turn(), Turn::Wait(left));
            story.now = tried + Duration::from_secs(seconds);
        }
        // There again, it starts as if nothing had been.
        story.run_for(1, 1);
        assert_eq!((story.run.restart, story.turn()), (0, Turn::Start));
    }

    #[test]
    fn an_image_that_goes_while_a_container_crashes_does_not_count_as_a_restart() {
        let mut story = Story::new(Restart::Always);
        story.run_for(1, 1);
        assert_eq!(story.turn(), Turn::Start);
        story.run.pull_failed("db:1", "no such image", story.now);
        assert_eq!(story.run.restart, 0);
        story.now += Duration::from_secs(10);
        story.run_for(1, 1);
        assert_eq!(story.run.restart, 1);
        assert_eq!(story.turn(), Turn::BackOff(Duration::from_secs(10)));
    }
}
