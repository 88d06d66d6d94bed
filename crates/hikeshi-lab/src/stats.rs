//! Intervals of counts.

/// 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_985;

/// Wilson's 95 % score interval (E. B. Wilson, 1927) of the share that `good` of `all` is of; (0, 1) of none.
pub fn wilson(good: u32, all: u32) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (f64::from(all), f64::from(good) / f64::from(all));
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// How likely it is that somebody who only guesses (one in two) is right at least `good` times of `all`.
pub fn by_guessing(good: u32, all: u32) -> f64 {
    // Terms in logarithms: 2^-all is too small for long series otherwise.
    let mut choose = 0.0_f64;
    let mut sum = 0.0;
    for k in 0..=all {
        if k > 0 {
            choose += (f64::from(all - k + 1) / f64::from(k)).ln();
        }
        if k >= good {
            sum += (choose - f64::from(all) * 2_f64.ln()).exp();
        }
    }
    sum.min(1.0)
}

/// A well-mixed number from a seed and an index (splitmix64's finalizer).
pub fn mixed(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        let (low, high) = wilson(8, 10);
        assert!(
            (low - 0.490_2).abs() < 1e-3 && (high - 0.943_3).abs() < 1e-3,
            "{low} {high}"
        );
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        let (low, high) = wilson(0, 10);
        assert!(low.abs() < 1e-9 && (high - 0.277_5).abs() < 1e-3);
        // 9 or more of 10: 11 of 1,024.
        assert!((by_guessing(9, 10) - 11.0 / 1024.0).abs() < 1e-9);
        assert!((by_guessing(0, 10) - 1.0).abs() < 1e-9);
    }
}
