//! A table with so many reads and writes a second, as managed ones are sold (DynamoDB's provisioned mode): what is asked of it
//! beyond that is refused, however idle its servers are. On demand, nothing is refused.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::service::{ApiError, Labels, Service, parse_env, text_env};

/// What was not used is kept for so many seconds, for a burst.
const BURST_SECONDS: f64 = 5.0;

/// What an operation uses up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Read,
    Write,
}

/// The capacity of one table, in this process.
pub struct Table {
    name: &'static str,
    /// None: on demand.
    provisioned: Option<[Mutex<Bucket>; 2]>,
    throttled: Family<Labels, Counter>,
}

struct Bucket {
    /// Units a second.
    rate: f64,
    units: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate);
        Self {
            rate,
            units: rate * BURST_SECONDS,
            at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.units = (self.units + passed * self.rate).min(self.rate * BURST_SECONDS);
        self.at = now;
        let enough = self.units >= 1.0;
        if enough {
            self.units -= 1.0;
        }
        enough
    }
}

impl Table {
    /// From `NAME_CAPACITY` (`on-demand` or `provisioned`), `NAME_READ_CAPACITY` and `NAME_WRITE_CAPACITY` (units a second,
    /// 1 when they are not set). Counts what is refused as `<service>_table_throttled_total`.
    ///
    /// # Errors
    /// When a variable does not parse.
    pub fn from_env(service: &mut Service, name: &'static str) -> anyhow::Result<Self> {
        let variable = |of: &str| format!("{}_{of}", name.to_uppercase());
        let rate = |of| parse_env(&variable(of), 1_u32);
        let provisioned = match text_env(&variable("CAPACITY"), "on-demand").as_str() {
            "on-demand" => None,
            "provisioned" => Some([rate("READ_CAPACITY")?, rate("WRITE_CAPACITY")?]),
            other => anyhow::bail!(
                "{}={other:?}: it is on-demand or provisioned",
                variable("CAPACITY")
            ),
        };
        let throttled = service.counter(
            "table_throttled",
            "Requests refused because a table's provisioned capacity was used up",
        );
        Ok(Self::new(name, provisioned, throttled, Instant::now()))
    }

    fn new(
        name: &'static str,
        provisioned: Option<[u32; 2]>,
        throttled: Family<Labels, Counter>,
        now: Instant,
    ) -> Self {
        Self {
            name,
            provisioned: provisioned.map(|rates| rates.map(|rate| Mutex::new(Bucket::new(rate, now)))),
            throttled,
        }
    }

    /// Takes one unit.
    ///
    /// # Errors
    /// 503 when there is none left just now.
    pub fn take(&self, unit: Unit) -> Result<(), ApiError> {
        self.take_at(unit, Instant::now())
    }

    fn take_at(&self, unit: Unit, now: Instant) -> Result<(), ApiError> {
        let Some([reads, writes]) = &self.provisioned else {
            return Ok(());
        };
        let (bucket, operation) = match unit {
            Unit::Read => (reads, "read"),
            Unit::Write => (writes, "write"),
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(now) {
            return Ok(());
        }
        let labels = vec![
            ("table", self.name.to_owned()),
            ("operation", operation.to_owned()),
        ];
        self.throttled.get_or_create(&labels).inc();
        tracing::error!(
            table = self.name,
            operation,
            capacity = bucket.rate,
            "ProvisionedThroughputExceededException: the level of configured provisioned throughput for the table was exceeded"
        );
        Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the table {} takes no more {operation}s just now", self.name),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(table: &Table, unit: Unit, at: Instant) -> usize {
        (0..100).filter(|_| table.take_at(unit, at).is_ok()).count()
    }

    #[test]
    fn one_unit_a_second_is_one_request_a_second() {
        let (start, throttled) = (Instant::now(), Family::default());
        let table = Table::new("sessions", Some([2, 1]), throttled.clone(), start);
        assert_eq!(taken(&table, Unit::Write, start), 5, "what was saved up");
        assert_eq!(taken(&table, Unit::Read, start), 10, "reads have their own");
        for second in 1..4 {
            assert_eq!(taken(&table, Unit::Write, start + Duration::from_secs(second)), 1);
        }
        let refused = throttled.get_or_create(&vec![
            ("table", "sessions".to_owned()),
            ("operation", "write".to_owned()),
        ]);
        assert_eq!(refused.get(), 95 + 3 * 99);
    }

    #[test]
    fn on_demand_takes_everything() {
        let start = Instant::now();
        let table = Table::new("sessions", None, Family::default(), start);
        assert_eq!(taken(&table, Unit::Write, start), 100);
    }
}
