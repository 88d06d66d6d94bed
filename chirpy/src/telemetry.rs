//! One JSON object per log line: `{"ts","level","service","msg",...fields}`.

mod forward;

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

struct Json {
    service: &'static str,
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), Value::from(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or(Value::from(""));
        // The keys a reader looks for come first, in this order, so that lines align in a terminal.
        write!(
            out,
            r#"{{"ts":"{:.3}","level":"{}","service":"{}","msg":{message}"#,
            jiff::Timestamp::now(),
            event.metadata().level(),
            self.service,
        )?;
        for (name, value) in &fields.0 {
            write!(out, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(out, "}}")
    }
}

/// Starts logging to stdout. `LOG_LEVEL` takes `tracing-subscriber`'s filter syntax; access logs are at `debug`,
/// so that the last ten lines of a pod at the default `info` are the ones that matter. With `LOG_SHIPPER_URL`, log-shipper
/// gets them too.
pub fn init(service: &'static str) {
    let filter = EnvFilter::try_from_env("LOG_LEVEL").unwrap_or_else(|_| EnvFilter::new("info,tantivy=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(Json { service })
        .with_writer(forward::from_env())
        .init();
}
