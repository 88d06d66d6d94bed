//! From what the metrics ask for to what is done: stabilization windows, rates of change, bounds.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
};

use super::replicas::Tolerance;
use crate::quantity::thousandths;

/// Nothing may look further back (`stabilizationWindowSeconds` and `periodSeconds` are at most an hour and half of one).
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// What is remembered of one autoscaler between its runs.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// What the metrics asked for, and when.
    recommended: Vec<(Timestamp, i32)>,
    /// Replicas added or taken away (negative), and when.
    changes: Vec<(Timestamp, i32)>,
}

impl History {
    /// A target found at `replicas` was right until now: nothing is scaled down before a window has passed.
    pub(super) fn begin(&mut self, replicas: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push((now, replicas));
        }
    }

    /// Remembers that the target went from one size to another.
    pub(super) fn scaled(&mut self, from: i32, to: i32, now: Timestamp) {
        self.changes.push((now, to - from));
    }

    fn forget(&mut self, now: Timestamp) {
        let recent = |time: Timestamp| now.duration_since(time) <= LONGEST;
        self.recommended.retain(|(time, _)| recent(*time));
        self.changes.retain(|(time, _)| recent(*time));
    }
}

/// Reason and message of a condition.
type Why = (&'static str, &'static str);

/// What is to be done, and the conditions that say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub replicas: i32,
    /// For `AbleToScale`, which is true.
    pub able: Why,
    /// For `ScalingLimited`.
    pub limited: bool,
    pub limit: Why,
}

/// The bounds and rules of one autoscaler, Kubernetes' defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    min: i32,
    max: i32,
    up: HPAScalingRules,
    down: HPAScalingRules,
}

fn policy(type_: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds: 15,
    }
}

impl Rules {
    pub(super) fn of(spec: &HorizontalPodAutoscalerSpec) -> Self {
        let HorizontalPodAutoscalerBehavior { scale_up, scale_down } =
            spec.behavior.clone().unwrap_or_default();
        let mut up = scale_up.unwrap_or_default();
        up.stabilization_window_seconds.get_or_insert(0);
        up.policies
            .get_or_insert_with(|| vec![policy("Pods", 4), policy("Percent", 100)]);
        let mut down = scale_down.unwrap_or_default();
        down.stabilization_window_seconds.get_or_insert(300);
        down.policies.get_or_insert_with(|| vec![policy("Percent", 100)]);
        Self {
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            up,
            down,
        }
    }

    pub(super) fn tolerance(&self) -> Tolerance {
        let of = |rules: &HPAScalingRules| rules.tolerance.as_ref().and_then(thousandths).unwrap_or(100);
        Tolerance {
            up: of(&self.up),
            down: of(&self.down),
        }
    }

    /// Weighs what the metrics ask for now against what they asked for before, and bounds the change.
    pub(super) fn decide(
        &self,
        current: i32,
        wanted: i32,
        history: &mut History,
        now: Timestamp,
    ) -> Decision {
        history.forget(now);
        let stable = self.stabilized(current, wanted, history, now);
        history.recommended.push((now, wanted));
        let able = if stable == wanted {
            ("ReadyForNewScale", "recommended size matches current size")
        } else if wanted >= current {
            (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            )
        } else {
            (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            )
        };
        let (replicas, limit) = self.limited(current, stable, history, now);
        Decision {
            replicas,
            able,
            limited: replicas != stable,
            limit,
        }
    }

    fn stabilized(&self, current: i32, wanted: i32, history: &History, now: Timestamp) -> i32 {
        let recent = |rules: &HPAScalingRules| {
            let window = SignedDuration::from_secs(rules.stabilization_window_seconds.unwrap_or(0).into());
            history
                .recommended
                .iter()
                .filter(move |(time, _)| now.duration_since(*time) < window)
                .map(|(_, replicas)| *replicas)
        };
        let lowest = recent(&self.up).fold(wanted, i32::min);
        let highest = recent(&self.down).fold(wanted, i32::max);
        current.max(lowest).min(highest)
    }

    fn limited(&self, current: i32, wanted: i32, history: &History, now: Timestamp) -> (i32, Why) {
        if wanted > current {
            let rate = self.most(current, history, now).max(current);
            if wanted > self.max.min(rate) {
                return if self.max > rate {
                    let message =
                        "the desired replica count is increasing faster than the maximum scale rate";
                    (rate, ("ScaleUpLimit", message))
                } else {
                    let message = "the desired replica count is more than the maximum replica count";
                    (self.max, ("TooManyReplicas", message))
                };
            }
        } else if wanted < current {
            let rate = self.least(current, history, now).min(current);
            if wanted < self.min.max(rate) {
                return if self.min < rate {
                    let message =
                        "the desired replica count is decreasing faster than the maximum scale rate";
                    (rate, ("ScaleDownLimit", message))
                } else {
                    let message = "the desired replica count is less than the minimum replica count";
                    (self.min, ("TooFewReplicas", message))
                };
            }
        }
        let message = "the desired count is within the acceptable range";
        (wanted, ("DesiredWithinRange", message))
    }

    /// How many the policies for scaling up allow now.
    fn most(&self, current: i32, history: &History, now: Timestamp) -> i32 {
        let allowed = self.up.policies.iter().flatten().map(|policy| {
            let start = i64::from(start_of(policy, current, history, now));
            clamp(match policy.type_.as_str() {
                "Pods" => start + i64::from(policy.value),
                _ => (start * (100 + i64::from(policy.value)) + 99).div_euclid(100),
            })
        });
        match self.up.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => allowed.min().unwrap_or(current),
            _ => allowed.max().unwrap_or(current),
        }
    }

    /// How few the policies for scaling down allow now.
    fn least(&self, current: i32, history: &History, now: Timestamp) -> i32 {
        let allowed = self.down.policies.iter().flatten().map(|policy| {
            let start = i64::from(start_of(policy, current, history, now));
            clamp(match policy.type_.as_str() {
                "Pods" => start - i64::from(policy.value),
                _ => (start * (100 - i64::from(policy.value))).div_euclid(100),
            })
        });
        match self.down.select_policy.as_deref() {
            Some("Disabled") => current,
            Some("Min") => allowed.max().unwrap_or(current),
            _ => allowed.min().unwrap_or(current),
        }
    }
}

fn clamp(replicas: i64) -> i32 {
    i32::try_from(replicas.max(0)).unwrap_or(i32::MAX)
}

/// The target's size at the start of the policy's period.
fn start_of(policy: &HPAScalingPolicy, current: i32, history: &History, now: Timestamp) -> i32 {
    let period = SignedDuration::from_secs(policy.period_seconds.into());
    let changed: i32 = history
        .changes
        .iter()
        .filter(|(time, _)| now.duration_since(*time) < period)
        .map(|(_, change)| *change)
        .sum();
    current - changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn rules(behavior: &Value) -> Rules {
        let spec = json!({"minReplicas": 2, "maxReplicas": 20, "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "behavior": behavior});
        Rules::of(&serde_json::from_value(spec).expect("a spec"))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).expect("a time")
    }

    #[test]
    fn by_default_up_at_once_but_no_more_than_double_or_four() {
        let rules = rules(&json!({}));
        let seen = rules.decide(3, 19, &mut History::default(), at(0));
        assert_eq!(
            (seen.replicas, seen.limited, seen.limit.0),
            (7, true, "ScaleUpLimit")
        );
        let seen = rules.decide(8, 19, &mut History::default(), at(0));
        assert_eq!(seen.replicas, 16);
        let seen = rules.decide(12, 30, &mut History::default(), at(0));
        assert_eq!((seen.replicas, seen.limit.0), (20, "TooManyReplicas"));
        let mut history = History::default();
        history.scaled(3, 7, at(0));
        assert_eq!(
            rules.decide(7, 19, &mut history, at(10)).replicas,
            7,
            "the period's allowance is used up"
        );
        assert_eq!(rules.decide(7, 19, &mut history, at(15)).replicas, 14);
    }

    #[test]
    fn by_default_down_to_the_highest_of_five_minutes() {
        let rules = rules(&json!({}));
        let mut history = History::default();
        history.begin(10, at(0));
        let seen = rules.decide(10, 1, &mut history, at(15));
        assert_eq!((seen.replicas, seen.able.0), (10, "ScaleDownStabilized"));
        assert_eq!(rules.decide(10, 6, &mut history, at(299)).replicas, 10);
        assert_eq!(rules.decide(10, 1, &mut history, at(300)).replicas, 6);
        let seen = rules.decide(6, 1, &mut history, at(900));
        assert_eq!((seen.replicas, seen.limit.0), (2, "TooFewReplicas"));
    }

    #[test]
    fn policies_limit_the_rate_and_the_selection_picks_among_them() {
        let down = |select: &str| {
            json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": [
                {"type": "Pods", "value": 1, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]}})
        };
        let to = |select: &str| rules(&down(select)).decide(10, 2, &mut History::default(), at(0));
        assert_eq!((to("Max").replicas, to("Min").replicas), (5, 9));
        assert_eq!(to("Disabled").replicas, 10);
        assert_eq!(to("Min").limit.0, "ScaleDownLimit");
        let up = json!({"scaleUp": {"stabilizationWindowSeconds": 60}});
        let mut history = History::default();
        history.begin(4, at(0));
        let seen = rules(&up).decide(4, 8, &mut history, at(30));
        assert_eq!((seen.replicas, seen.able.0), (4, "ScaleUpStabilized"));
        assert_eq!(rules(&up).decide(4, 8, &mut history, at(61)).replicas, 8);
    }

    #[test]
    fn the_tolerance_may_be_set() {
        let tolerance = rules(&json!({"scaleUp": {"tolerance": "0.05"}})).tolerance();
        assert_eq!((tolerance.up, tolerance.down), (50, 100));
    }

    proptest! {
        #[test]
        fn a_change_is_never_beyond_what_is_asked_nor_out_of_bounds(
            current in 2_i32..=20, asked in prop::collection::vec((1_i64..400, 0_i32..40), 1..20),
            window in 0_i32..600, value in 1_i32..200,
        ) {
            let rules = rules(&json!({
                "scaleUp": {"stabilizationWindowSeconds": window, "policies": [{"type": "Percent", "value": value, "periodSeconds": 30}]},
                "scaleDown": {"policies": [{"type": "Pods", "value": value, "periodSeconds": 30}]}}));
            let (mut now, mut size, mut history) = (0, current, History::default());
            history.begin(size, at(0));
            for (after, wanted) in asked {
                now += after;
                let seen = rules.decide(size, wanted, &mut history, at(now));
                prop_assert!((2..=20).contains(&seen.replicas));
                let towards = |a: i32| (size.min(wanted).min(2)..=size.max(wanted)).contains(&a);
                prop_assert!(towards(seen.replicas), "{size} {wanted} {seen:?}");
                prop_assert_eq!(seen.limited, seen.limit.0 != "DesiredWithinRange");
                if seen.replicas != size {
                    history.scaled(size, seen.replicas, at(now));
                }
                size = seen.replicas;
            }
        }
    }
}
