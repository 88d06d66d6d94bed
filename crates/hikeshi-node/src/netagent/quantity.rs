//! Chaos Mesh's numbers: Go durations, percentages, rates.

use std::time::Duration;

use hikeshi_proxy::faults::percent::WHOLE;

/// A Go duration such as `1h15m`, `1.5s` or `100ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration (such as 100ms or 1m30s)");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

pub(super) fn micros(text: &str) -> Result<u64, String> {
    u64::try_from(duration(text)?.as_micros()).map_err(|_| format!("{text:?} is too long"))
}

/// A percentage as a float string (`"1.5"`, `"25%"`), in parts per million.
pub(super) fn percent(text: &str) -> Result<u32, String> {
    let number = text.trim().trim_end_matches('%').trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => {
            Ok((percent * f64::from(WHOLE) / 100.0).round() as u32)
        }
        _ => Err(format!("{text:?} is no percentage between 0 and 100")),
    }
}

/// A rate such as `1mbps` (bytes) or `1mbit`, in bytes per second. As tc reads them: steps of 1,000.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no rate (such as 500kbps, which is bytes, or 4mbit)");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(duration("1h15m30.5s"), Ok(Duration::from_millis(4_530_500)));
        assert_eq!(micros("90ms"), Ok(90_000));
        assert_eq!(micros("1.5ms"), Ok(1_500));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "10", "ms", "1x", "-1s", "1..5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages() {
        assert_eq!(percent("1.5"), Ok(15_000));
        assert_eq!(percent("0.1"), Ok(1_000));
        assert_eq!(percent("100"), Ok(WHOLE));
        assert_eq!(percent("25%"), Ok(250_000));
        for wrong in ["", "101", "-1", "NaN", "half"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("1mbps"), Ok(1_000_000));
        assert_eq!(rate("8kbit"), Ok(1_000));
        assert_eq!(rate("500bps"), Ok(500));
        assert!(rate("1mb").is_err());
        assert!(rate("fast").is_err());
    }
}
