//! Kubernetes quantities (`100m`, `1.5`, `64Mi`, `1G`) as what a limit can be: whole and not below 0.

use hikeshi_chaos::resource::thousandths;

/// Thousandths, rounded up: for CPU, millicores. `None` if it is not a quantity; what is below 0 is 0.
pub fn millis(text: &str) -> Option<u64> {
    thousandths(text).map(at_least_none)
}

/// Whole units, rounded up: for memory, bytes. `None` if it is not a quantity; what is below 0 is 0.
pub fn units(text: &str) -> Option<u64> {
    let value = thousandths(text)?;
    Some(at_least_none(
        value.div_euclid(1_000) + i128::from(value.rem_euclid(1_000) != 0),
    ))
}

fn at_least_none(value: i128) -> u64 {
    u64::try_from(value.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_and_never_below_nothing() {
        assert_eq!(millis("250m"), Some(250));
        assert_eq!(millis("1.5"), Some(1500));
        assert_eq!(millis("1u"), Some(1));
        assert_eq!(units("64Mi"), Some(64 << 20));
        assert_eq!(units("1m"), Some(1));
        assert_eq!(units("128974848000m"), Some(128_974_848));
        assert_eq!(units("1G"), Some(1_000_000_000));
        // Beyond 2^53 a floating-point number would be another one.
        assert_eq!(units("9007199254740993"), Some(9_007_199_254_740_993));
        assert_eq!((millis("-1"), units("-64Mi")), (Some(0), Some(0)));
        assert_eq!((units("16Ei"), millis("16Ei")), (Some(u64::MAX), Some(u64::MAX)));
        assert_eq!(millis("lots"), None);
    }
}
