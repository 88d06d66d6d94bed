//! The annotations with which an ordinary Chaos Mesh object says what it is meant to prove, so that `kubectl apply`
//! does as well as `hikeshi experiment run`.

pub use hikeshi_chaos::annotations::{EXPERIMENT, GUARD, HYPOTHESIS, LEASE_UNTIL, PAUSE};

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
    }
}
