//! The rate of arrivals as a function of time: straight pieces, one after the other.
//!
//! A process of unit rate (an arrival at 1, 2, 3, ..., or with exponential gaps) becomes one of this rate when each of its
//! times is put through the inverse of the cumulative rate (time rescaling: Daley and Vere-Jones, *An Introduction to the
//! Theory of Point Processes*, section 7.4).

use std::time::Duration;

/// A stretch in which the rate goes in a straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// Seconds, more than zero.
    pub seconds: f64,
    /// Arrivals per second at its beginning and at its end; neither below zero.
    pub from: f64,
    pub to: f64,
}

impl Piece {
    fn area(&self) -> f64 {
        self.seconds * (self.from + self.to) / 2.0
    }

    /// The time in this piece at which `area` arrivals have been: the root of `from t + slope t^2 / 2 = area`, written so
    /// that nothing cancels out when the slope is small.
    fn when(&self, area: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        let below = self.from + root;
        if below <= 0.0 {
            return 0.0;
        }
        (2.0 * area / below).clamp(0.0, self.seconds)
    }
}

/// Pieces with their beginnings.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    pieces: Vec<Placed>,
    /// Goes on with the last piece's end rate for ever.
    endless: bool,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    piece: Piece,
    /// Seconds, and arrivals expected, before it.
    began: f64,
    before: f64,
}

impl Shape {
    /// One after the other; pieces without length are left out.
    pub fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let (mut began, mut before) = (0.0, 0.0);
        let pieces = pieces
            .into_iter()
            .filter(|piece| piece.seconds > 0.0)
            .map(|piece| {
                let placed = Placed { piece, began, before };
                began += piece.seconds;
                before += piece.area();
                placed
            })
            .collect();
        Self {
            pieces,
            endless: false,
        }
    }

    /// The same rate for ever.
    pub fn constant(rate: f64) -> Self {
        let one = Piece {
            seconds: 1.0,
            from: rate,
            to: rate,
        };
        Self {
            endless: true,
            ..Self::new([one])
        }
    }

    /// How long it is; `None`: endless.
    pub fn length(&self) -> Option<Duration> {
        (!self.endless).then(|| Duration::from_secs_f64(self.end()))
    }

    fn end(&self) -> f64 {
        self.pieces
            .last()
            .map_or(0.0, |last| last.began + last.piece.seconds)
    }

    /// How many arrivals are expected in all; infinite when it is endless.
    pub fn total(&self) -> f64 {
        if self.endless {
            return f64::INFINITY;
        }
        self.pieces
            .last()
            .map_or(0.0, |last| last.before + last.piece.area())
    }

    /// Arrivals per second at `at`; zero after the end.
    pub fn rate(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        match self.pieces.iter().rev().find(|placed| placed.began <= at) {
            Some(placed) if at < placed.began + placed.piece.seconds => {
                let piece = placed.piece;
                piece.from + (piece.to - piece.from) * (at - placed.began) / piece.seconds
            }
            Some(placed) if self.endless => placed.piece.to,
            _ => 0.0,
        }
    }

    /// When `count` arrivals (of the rate's integral) have been, and in which piece that is; `None` after the end.
    pub fn when(&self, count: f64) -> Option<(Duration, usize)> {
        let place = self
            .pieces
            .partition_point(|placed| placed.before <= count)
            .checked_sub(1)?;
        let placed = self.pieces.get(place)?;
        let inside = count - placed.before;
        let last = place + 1 == self.pieces.len();
        let seconds = if last && inside >= placed.piece.area() {
            if !self.endless || placed.piece.to <= 0.0 {
                return None;
            }
            placed.piece.seconds + (inside - placed.piece.area()) / placed.piece.to
        } else {
            placed.piece.when(inside)
        };
        let at = Duration::try_from_secs_f64(placed.began + seconds).ok()?;
        Some((at, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece() -> impl Strategy<Value = Piece> {
        (0.1..20.0, 0.0..500.0, 0.0..500.0).prop_map(|(seconds, from, to)| Piece { seconds, from, to })
    }

    proptest! {
        #[test]
        fn the_inverse_is_the_integral_turned_round(pieces in proptest::collection::vec(piece(), 1..6), share in 0.0..0.999) {
            let shape = Shape::new(pieces.clone());
            let count = shape.total() * share;
            let (at, _) = shape.when(count).expect("before the end");
            // The integral up to there, piece by piece.
            let mut left = at.as_secs_f64();
            let mut area = 0.0;
            for piece in pieces {
                let inside = left.clamp(0.0, piece.seconds);
                let rate = piece.from + (piece.to - piece.from) * inside / piece.seconds;
                area += inside * (piece.from + rate) / 2.0;
                left -= inside;
            }
            prop_assert!((area - count).abs() <= 1e-4 * count.max(1.0), "{area} {count}");
        }

        #[test]
        fn a_constant_rate_is_a_straight_line(rate in 0.1..50_000.0, n in 0_u32..1_000_000) {
            let (at, piece) = Shape::constant(rate).when(f64::from(n)).expect("endless");
            prop_assert_eq!(piece, 0);
            prop_assert!((at.as_secs_f64() - f64::from(n) / rate).abs() <= 1e-8 * (1.0 + f64::from(n) / rate));
        }
    }

    #[test]
    fn a_ramp_has_its_rate_in_the_middle_and_none_after_its_end() {
        let shape = Shape::new([Piece {
            seconds: 10.0,
            from: 0.0,
            to: 100.0,
        }]);
        assert_eq!(shape.total(), 500.0);
        assert_eq!(shape.rate(Duration::from_secs(5)), 50.0);
        assert_eq!(shape.rate(Duration::from_secs(10)), 0.0);
        assert_eq!(shape.when(125.0).map(|(at, _)| at), Some(Duration::from_secs(5)));
        assert_eq!(shape.when(500.0), None);
        assert_eq!(Shape::new([]).when(0.0), None);
    }
}
