//! Chaos Mesh's numbers: Go durations, percentages, rates, sizes.

use std::time::Duration;

use crate::words::Words;

/// One whole, in parts per million.
pub const WHOLE: u32 = 1_000_000;

/// The longest duration of Go, an int64 of nanoseconds: 292 years.
const LONGEST: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// A Go duration such as `1h15m`, `1.5s` or `100ms`; negative ones are refused, and those that Go cannot hold.
pub fn duration(text: &str) -> Result<Duration, Words> {
    let wrong = || {
        Words::new(
            format!("{text:?} は 300ms、40s、1h30m のような時間ではありません"),
            format!("{text:?} is no duration such as 300ms, 40s or 1h30m"),
        )
    };
    let seconds = seconds(text.trim()).ok_or_else(wrong)?;
    let read = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if read > LONGEST {
        return Err(Words::new(
            format!("{text:?} は長すぎます (292 年まで)"),
            format!("{text:?} is too long (at most 292 years)"),
        ));
    }
    Ok(read)
}

/// As [`duration`], in microseconds.
pub fn micros(text: &str) -> Result<u64, Words> {
    u64::try_from(duration(text)?.as_micros())
        .map_err(|_| Words::new(format!("{text:?} は長すぎます"), format!("{text:?} is too long")))
}

/// A Go duration that may be negative (`-10m`), in nanoseconds.
pub fn signed_nanos(text: &str) -> Result<i64, Words> {
    let nanos = seconds(text.trim()).map(|seconds| seconds * 1e9);
    // 2^63 ns are 292 years; beyond them a cast would say something else than was asked.
    match nanos {
        Some(nanos) if nanos.abs() < 9.2e18 => Ok(nanos.round() as i64),
        _ => Err(Words::new(
            format!("{text:?} は -10m、1h30m のような時間ではありません (292 年まで)"),
            format!("{text:?} is no duration such as -10m or 1h30m (at most 292 years)"),
        )),
    }
}

/// Seconds of a Go duration, exactly as Go reads one (no blanks around it); `None` if the text is none. Negative only
/// with a leading `-` (a clock may be set back).
pub fn seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        sum += number
            * match &rest[..letters] {
                "ns" => 1e-9,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    Some(sign * sum)
}

/// A percentage as a float string (`"1.5"`, `"25%"`), in parts per million.
pub fn percent(text: &str) -> Result<u32, Words> {
    let number = text.trim().trim_end_matches('%').trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => {
            Ok((percent * f64::from(WHOLE) / 100.0).round() as u32)
        }
        _ => Err(Words::new(
            format!("{text:?} は 0〜100 のパーセントではありません"),
            format!("{text:?} is no percentage between 0 and 100"),
        )),
    }
}

/// A share in parts per million, such as `15000`.
pub fn ppm(text: &str) -> Result<u32, Words> {
    match text.trim().parse::<u32>() {
        Ok(ppm) if ppm <= WHOLE => Ok(ppm),
        _ => Err(Words::new(
            format!("{text:?} は 0〜{WHOLE} の整数ではありません"),
            format!("{text:?} is no whole number between 0 and {WHOLE}"),
        )),
    }
}

/// A rate such as `1mbps` (bytes) or `1mbit`, in bytes per second. As tc reads them: steps of 1,000.
pub fn rate(text: &str) -> Result<u64, Words> {
    let wrong = || {
        Words::new(
            format!("{text:?} は 500kbps (バイト毎秒) や 4mbit のような速度ではありません"),
            format!("{text:?} is no rate such as 500kbps (which is bytes) or 4mbit"),
        )
    };
    let text = text.trim().to_ascii_lowercase();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim();
    let (scale, per_byte) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps")) {
        (Some(scale), _) => (scale, 8.0),
        (_, Some(scale)) => (scale, 1.0),
        _ => return Err(wrong()),
    };
    let scale = match scale {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        _ => return Err(wrong()),
    };
    Ok((number * scale / per_byte) as u64)
}

/// How much memory: so many bytes, or a share of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Bytes(u64),
    /// Parts per million of the container's memory limit, or of the machine's memory when it has none.
    Share(u32),
}

/// A size such as `256MB`, `64MiB`, `1000000` or `50%`.
pub fn size(text: &str) -> Result<Size, Words> {
    let wrong = || {
        Words::new(
            format!("{text:?} は 256MB、64MiB、50% のような大きさではありません"),
            format!("{text:?} is no size such as 256MB, 64MiB or 50%"),
        )
    };
    let text = text.trim();
    if text.ends_with('%') {
        return percent(text).map(Size::Share);
    }
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim().to_ascii_lowercase();
    let scale: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1_048_576.0,
        "gi" | "gib" => 1_073_741_824.0,
        "ti" | "tib" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    Ok(Size::Bytes((number * scale) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(duration("1h15m30.5s"), Ok(Duration::from_millis(4_530_500)));
        assert_eq!(micros("90ms"), Ok(90_000));
        assert_eq!(micros("1.5ms"), Ok(1_500));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("+40s"), Ok(Duration::from_secs(40)));
        for wrong in ["", "10", "ms", "1x", "-1s", "1..5s", "1 s", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(signed_nanos("-10m100ns"), Ok(-600_000_000_100));
        assert_eq!(
            (duration(" 40s "), seconds(" 40s ")),
            (Ok(Duration::from_secs(40)), None)
        );
        assert!(signed_nanos("9000000h").is_err());
        assert!(duration("2562047h").is_ok() && duration("2562048h").is_err());
    }

    proptest::proptest! {
        #[test]
        fn a_duration_that_is_taken_fits_into_gos(number in "[0-9]{1,25}(\\.[0-9]{1,5})?", unit in "ns|us|ms|s|m|h") {
            if let Ok(read) = duration(&format!("{number}{unit}")) {
                proptest::prop_assert!(read <= LONGEST);
                proptest::prop_assert!(jiff::SignedDuration::try_from(read).is_ok());
            }
        }
    }

    #[test]
    fn percentages() {
        assert_eq!(percent("1.5"), Ok(15_000));
        assert_eq!(percent("0.1"), Ok(1_000));
        assert_eq!(percent("100"), Ok(WHOLE));
        assert_eq!(percent("25%"), Ok(250_000));
        for wrong in ["", "-1", "101", "x", "NaN"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
        assert_eq!((ppm("15"), ppm("1000001").is_err()), (Ok(15), true));
    }

    #[test]
    fn rates_of_bits_and_bytes() {
        assert_eq!(rate("1mbps"), Ok(1_000_000));
        assert_eq!(rate("8mbit"), Ok(1_000_000));
        assert_eq!(rate("500 kbps"), Ok(500_000));
        for wrong in ["", "1", "1mb", "1xbit"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("256MB"), Ok(Size::Bytes(256_000_000)));
        assert_eq!(size("64MiB"), Ok(Size::Bytes(64 << 20)));
        assert_eq!(size("50%"), Ok(Size::Share(500_000)));
        assert_eq!(size("4096"), Ok(Size::Bytes(4096)));
        for wrong in ["", "MB", "1XB", "120%"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
