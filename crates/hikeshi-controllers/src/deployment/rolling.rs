//! The arithmetic of scaling: rolling updates within maxSurge and maxUnavailable, and proportional scaling.

use super::sets::Allowance;

/// A ReplicaSet as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// What its spec asks for.
    pub replicas: i32,
    /// Available pods, at most `replicas`.
    pub available: i32,
}

fn total(sets: &[Size]) -> i32 {
    sets.iter().map(|set| set.replicas).sum()
}

/// How large the new set may be now, `old` being the other sets.
pub(super) fn new_set_target(wanted: i32, new: i32, old: &[Size], allowance: Allowance) -> i32 {
    if new >= wanted {
        return wanted;
    }
    let room = wanted.saturating_add(allowance.max_surge) - new - total(old);
    new + room.clamp(0, wanted - new)
}

/// The sizes that the old sets may shrink to now; same order as `old` (oldest first).
pub(super) fn old_set_targets(wanted: i32, new: Size, old: &[Size], allowance: Allowance) -> Vec<i32> {
    let mut targets: Vec<i32> = old.iter().map(|set| set.replicas).collect();
    let least = wanted - allowance.max_unavailable;
    let mut budget = total(old) + new.replicas - least - (new.replicas - new.available);
    if budget <= 0 {
        return targets;
    }
    // Pods that are not available serve nobody: they go first.
    for (target, set) in targets.iter_mut().zip(old) {
        let unhealthy = (set.replicas - set.available).clamp(0, budget);
        *target -= unhealthy;
        budget -= unhealthy;
    }
    let available: i32 = new.available + old.iter().map(|set| set.available).sum::<i32>();
    let mut spare = (available - least).clamp(0, budget);
    for target in &mut targets {
        let less = (*target).min(spare);
        *target -= less;
        spare -= less;
    }
    targets
}

/// Spreads a change of scale in the middle of a rollout over all sets in proportion to their size, newest first for
/// what is left by rounding. `sizes` is oldest first, the new set last.
pub(super) fn proportional(sizes: &[i32], allowed: i32) -> Vec<i32> {
    let have: i64 = sizes.iter().map(|n| i64::from(*n)).sum();
    if have == 0 {
        return sizes.to_vec();
    }
    let mut scaled: Vec<i32> = sizes
        .iter()
        .map(|n| i32::try_from(i64::from(*n) * i64::from(allowed) / have).unwrap_or(i32::MAX))
        .collect();
    let mut left = allowed - scaled.iter().sum::<i32>();
    for (target, size) in scaled.iter_mut().zip(sizes).rev() {
        if left > 0 && *size > 0 {
            *target += 1;
            left -= 1;
        }
    }
    scaled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn textbook_rollout() {
        let allowance = Allowance {
            max_surge: 1,
            max_unavailable: 1,
        };
        let old = [Size {
            replicas: 4,
            available: 4,
        }];
        assert_eq!(new_set_target(4, 0, &old, allowance), 1);
        let new = Size {
            replicas: 1,
            available: 0,
        };
        assert_eq!(old_set_targets(4, new, &old, allowance), [3]);
        assert_eq!(
            new_set_target(
                4,
                1,
                &[Size {
                    replicas: 3,
                    available: 3
                }],
                allowance
            ),
            2
        );
    }

    #[test]
    fn a_broken_old_set_is_removed_before_a_healthy_one() {
        let allowance = Allowance {
            max_surge: 0,
            max_unavailable: 1,
        };
        let old = [
            Size {
                replicas: 3,
                available: 3,
            },
            Size {
                replicas: 1,
                available: 0,
            },
        ];
        assert_eq!(
            old_set_targets(
                4,
                Size {
                    replicas: 0,
                    available: 0
                },
                &old,
                allowance
            ),
            [3, 0]
        );
    }

    #[test]
    fn scaling_in_mid_rollout_keeps_the_proportion() {
        assert_eq!(proportional(&[5, 10], 30), [10, 20]);
        assert_eq!(
            proportional(&[3, 3, 4], 15),
            [4, 4, 7],
            "what rounding leaves goes to the newest"
        );
        assert_eq!(proportional(&[0, 0], 7), [0, 0]);
    }

    proptest! {
        /// Pods come up and fail in any order; the rollout never breaks its promise and always arrives.
        #[test]
        fn a_rollout_keeps_within_surge_and_unavailable(
            wanted in 1..12_i32, surge in 0..4_i32, unavailable in 0..4_i32,
            olds in proptest::collection::vec(0..6_i32, 1..3),
            dice in proptest::collection::vec(0..100_u8, 0..200),
        ) {
            let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable }.min(wanted);
            let allowance = Allowance { max_surge: surge, max_unavailable: unavailable };
            // Start: old sets that together hold `wanted` available pods.
            let mut left = wanted;
            let mut old: Vec<Size> = olds.iter().map(|n| {
                let n = (*n).min(left);
                left -= n;
                Size { replicas: n, available: n }
            }).collect();
            old[0].replicas += left;
            old[0].available += left;
            let mut new = Size { replicas: 0, available: 0 };
            let mut dice = dice.into_iter();
            for _ in 0..1000 {
                let target = new_set_target(wanted, new.replicas, &old, allowance);
                if target == new.replicas {
                    let targets = old_set_targets(wanted, new, &old, allowance);
                    for (set, target) in old.iter_mut().zip(targets) {
                        // The ReplicaSet controller deletes pods that are not ready first.
                        let keep = set.available.min(target);
                        *set = Size { replicas: target, available: keep };
                    }
                } else {
                    new.replicas = target;
                }
                let available = new.available + old.iter().map(|s| s.available).sum::<i32>();
                prop_assert!(total(&old) + new.replicas <= wanted + surge);
                prop_assert!(available >= wanted - unavailable, "{available} available of {wanted}");
                match dice.next() {
                    Some(roll) if roll < 40 => {}
                    _ => new.available = (new.available + 1).min(new.replicas),
                }
            }
            prop_assert_eq!(new, Size { replicas: wanted, available: wanted });
            prop_assert_eq!(total(&old), 0);
        }

        #[test]
        fn proportional_scaling_adds_up(sizes in proptest::collection::vec(0..20_i32, 1..5), allowed in 0..50_i32) {
            let scaled = proportional(&sizes, allowed);
            if sizes.iter().sum::<i32>() > 0 {
                prop_assert_eq!(scaled.iter().sum::<i32>(), allowed);
            }
            prop_assert!(scaled.iter().zip(&sizes).all(|(a, b)| *a >= 0 && (*b > 0 || *a == 0)));
        }
    }
}
