//! The annotations with which an ordinary Chaos Mesh object says what it is meant to prove, so that `kubectl apply`
//! does as well as `hikeshi experiment run`.

/// A steady state that must hold before, during and after: a PromQL comparison with a number, or `slo: SYSTEM/JOURNEY/SLI`.
/// Several by suffix: `hikeshi.dev/hypothesis.latency`.
pub const HYPOTHESIS: &str = "hikeshi.dev/hypothesis";
/// A comparison that must stay false, or `burn: FACTOR slo: SYSTEM/JOURNEY/SLI`; when it becomes true the experiment
/// ends. Several by suffix: `hikeshi.dev/guard.errors`.
pub const GUARD: &str = "hikeshi.dev/guard";
/// Until when (RFC 3339) a fault without a duration may live unless control renews it. Written by control, never by hand.
pub const LEASE_UNTIL: &str = "hikeshi.dev/lease-until";
/// The id in the history of an experiment that control itself created. Written by control, never by hand.
pub const EXPERIMENT: &str = "hikeshi.dev/experiment";

/// Every annotation of this crate that a chaos object may carry; the first two also with a suffix (`.name`).
pub const ANNOTATIONS: [&str; 4] = [HYPOTHESIS, GUARD, LEASE_UNTIL, EXPERIMENT];

/// What shapes a fault itself: the share of requests, the delay's spread, the seed. Read by whoever injects the fault.
pub const SHAPING: [&str; 7] = [
    "hikeshi.dev/percent",
    "hikeshi.dev/ppm",
    "hikeshi.dev/request-headers",
    "hikeshi.dev/delay-jitter",
    "hikeshi.dev/delay-quantiles",
    "hikeshi.dev/delay-to-total",
    "hikeshi.dev/seed",
];

/// Chaos Mesh's own: `"true"` lifts a fault without deleting its object.
pub const PAUSE: &str = "experiment.chaos-mesh.org/pause";

/// Whether `key` is one of [`ANNOTATIONS`], with or without its suffix.
pub fn is_ours(key: &str) -> bool {
    ANNOTATIONS.contains(&key) || role(key).is_some()
}

/// What a check is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Hypothesis,
    Guard,
}

/// Role and name of a check's annotation: `hikeshi.dev/guard.errors` is a guard named `errors`; without a suffix the
/// name is the role's.
pub fn role(key: &str) -> Option<(Role, &str)> {
    [(HYPOTHESIS, Role::Hypothesis), (GUARD, Role::Guard)]
        .into_iter()
        .find_map(|(base, role)| {
            let rest = key.strip_prefix(base)?;
            match rest.strip_prefix('.') {
                Some(name) if !name.is_empty() => Some((role, name)),
                None if rest.is_empty() => Some((role, base.strip_prefix("hikeshi.dev/")?)),
                _ => None,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_told_by_their_suffix() {
        assert_eq!(role(HYPOTHESIS), Some((Role::Hypothesis, "hypothesis")));
        assert_eq!(role("hikeshi.dev/guard.errors"), Some((Role::Guard, "errors")));
        for other in [
            "hikeshi.dev/guards",
            "hikeshi.dev/guard.",
            "hikeshi.dev/percent",
            "guard",
        ] {
            assert_eq!(role(other), None, "{other}");
        }
        assert!(
            is_ours(LEASE_UNTIL) && is_ours("hikeshi.dev/hypothesis.p99") && !is_ours("hikeshi.dev/percent")
        );
    }
}
