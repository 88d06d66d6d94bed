//! Multi-window multi-burn-rate: the windows of a 30-day objective, and how a compressed clock shortens them.

/// A window by its name on the uncompressed clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub seconds: u64,
    pub name: &'static str,
}

/// One alert: burning `factor` times too fast over both windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurnAlert {
    /// `page` or `ticket`.
    pub severity: &'static str,
    pub factor: f64,
    pub long: Window,
    pub short: Window,
}

const M5: Window = Window {
    seconds: 300,
    name: "5m",
};
const M30: Window = Window {
    seconds: 1_800,
    name: "30m",
};
const H1: Window = Window {
    seconds: 3_600,
    name: "1h",
};
const H2: Window = Window {
    seconds: 7_200,
    name: "2h",
};
const H6: Window = Window {
    seconds: 21_600,
    name: "6h",
};
const D1: Window = Window {
    seconds: 86_400,
    name: "1d",
};
const D3: Window = Window {
    seconds: 3 * 86_400,
    name: "3d",
};

/// From the fastest to the slowest.
pub const ALERTS: [BurnAlert; 4] = [
    BurnAlert {
        severity: "page",
        factor: 14.4,
        long: H1,
        short: M5,
    },
    BurnAlert {
        severity: "page",
        factor: 6.0,
        long: H6,
        short: M30,
    },
    BurnAlert {
        severity: "ticket",
        factor: 3.0,
        long: D1,
        short: H2,
    },
    BurnAlert {
        severity: "ticket",
        factor: 1.0,
        long: D3,
        short: H6,
    },
];

/// Shortest range that holds enough samples at one scrape a second for a rate.
const SHORTEST_SECONDS: f64 = 5.0;

/// The window on the drill's clock, in whole seconds. A clock that is no positive number counts as 1.
pub fn compressed(window: Window, slo_clock: f64) -> u64 {
    compressed_seconds(window.seconds, slo_clock)
}

/// [`compressed`] of a window that has no name of its own.
pub(crate) fn compressed_seconds(seconds: u64, slo_clock: f64) -> u64 {
    // Nothing is compressed on a production Prometheus, however short.
    #[expect(clippy::float_cmp, reason = "1 is exact")]
    if slo_clock == 1.0 {
        return seconds;
    }
    let clock = if slo_clock.is_finite() && slo_clock > 0.0 {
        slo_clock
    } else {
        1.0
    };
    #[expect(clippy::cast_precision_loss, reason = "at most 30 days of seconds")]
    let seconds = (seconds as f64 / clock).max(SHORTEST_SECONDS).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; a tiny clock saturates"
    )]
    let seconds = seconds as u64;
    seconds
}
