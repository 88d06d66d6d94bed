//! Holding a container to its CPU limit by stopping and continuing it: a token bucket of CPU time.

use std::time::Duration;

/// How long a full bucket lasts, as the kernel's CFS period.
const PERIOD: Duration = Duration::from_millis(100);
/// Most debt, in periods: a burst between two looks must not freeze a container for long.
const MAX_DEBT_PERIODS: i64 = 2;
const QUIET_LOOK: Duration = Duration::from_millis(50);
const BUSY_LOOK: Duration = Duration::from_millis(8);
const IDLE_LOOK: Duration = Duration::from_millis(100);

/// What to do with the container's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Stop,
    Continue,
}

/// A container's bucket. All times in nanoseconds.
#[derive(Debug)]
pub struct Throttle {
    millis: i64,
    tokens: i64,
    seen_at: u64,
    seen_cpu: u64,
    stopped: bool,
}

impl Throttle {
    /// `millis` thousandths of a CPU (at least 1).
    pub fn new(millis: u64, now: u64, cpu: u64) -> Self {
        let millis = i64::try_from(millis.max(1)).unwrap_or(i64::MAX / 1_000_000_000);
        let mut throttle = Self {
            millis,
            tokens: 0,
            seen_at: now,
            seen_cpu: cpu,
            stopped: false,
        };
        throttle.tokens = throttle.bucket();
        throttle
    }

    /// CPU nanoseconds per period.
    fn bucket(&self) -> i64 {
        self.millis * (PERIOD.as_nanos() as i64 / 1000)
    }

    /// Takes the clock and the CPU time used so far; says what to do and when to look again.
    pub fn step(&mut self, now: u64, cpu: u64) -> (Action, Duration) {
        let elapsed = i64::try_from(now.saturating_sub(self.seen_at)).unwrap_or(i64::MAX / 4096);
        let used = i64::try_from(cpu.saturating_sub(self.seen_cpu)).unwrap_or(i64::MAX / 4096);
        (self.seen_at, self.seen_cpu) = (now, cpu.max(self.seen_cpu));
        let bucket = self.bucket();
        let earned = elapsed.saturating_mul(self.millis) / 1000;
        self.tokens = self
            .tokens
            .saturating_add(earned)
            .saturating_sub(used)
            .clamp(-bucket * MAX_DEBT_PERIODS, bucket);
        if self.tokens < 0 {
            let refill =
                Duration::from_nanos((-self.tokens).cast_unsigned() * 1000 / self.millis.cast_unsigned());
            let action = if self.stopped {
                Action::Nothing
            } else {
                Action::Stop
            };
            self.stopped = true;
            return (action, refill.max(Duration::from_millis(1)));
        }
        let action = if self.stopped {
            Action::Continue
        } else {
            Action::Nothing
        };
        self.stopped = false;
        let look = if used == 0 && action == Action::Nothing {
            IDLE_LOOK
        } else if self.tokens < bucket / 2 || action == Action::Continue {
            BUSY_LOOK
        } else {
            QUIET_LOOK
        };
        (action, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program that wants `demand` CPUs for `seconds`; returns its CPU seconds and longest stop in ms.
    fn simulate(millis: u64, demand: f64, seconds: u64) -> (f64, u64) {
        let (mut now, mut cpu) = (0u64, 0u64);
        let mut throttle = Throttle::new(millis, 0, 0);
        let (mut longest, mut stopped_for) = (0, 0);
        while now < seconds * 1_000_000_000 {
            let (_, look) = throttle.step(now, cpu);
            let wait = look.as_nanos() as u64;
            if throttle.stopped {
                stopped_for += wait;
                longest = longest.max(stopped_for);
            } else {
                stopped_for = 0;
                cpu += (wait as f64 * demand) as u64;
            }
            now += wait;
        }
        (cpu as f64 / 1e9, longest / 1_000_000)
    }

    #[test]
    fn a_greedy_container_gets_its_limit() {
        for (millis, demand) in [(100, 1.0), (500, 1.0), (500, 2.0), (1500, 2.0)] {
            let (cpu, longest) = simulate(millis, demand, 20);
            let target = millis as f64 / 1000.0 * 20.0;
            assert!(
                (cpu - target).abs() / target < 0.08,
                "{millis}m: {cpu} s, want {target}"
            );
            assert!(longest <= 250, "{millis}m: stopped for {longest} ms");
        }
    }

    #[test]
    fn a_modest_container_is_never_stopped() {
        let (cpu, longest) = simulate(500, 0.3, 20);
        assert_eq!(longest, 0);
        assert!((cpu - 6.0).abs() < 0.2);
    }
}
