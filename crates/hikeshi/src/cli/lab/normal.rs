//! `hikeshi lab normal`: the normal state from a histogram of one's own Prometheus.

use clap::Args;
use hikeshi_host::Prometheus;
use hikeshi_lab::Normal;

use super::How;
use crate::cli::args::Lang;
use crate::cli::output;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub struct NormalArgs {
    /// Base URL, e.g. https://prometheus.example.com
    #[arg(long, value_name = "URL")]
    prometheus: String,
    /// A histogram's name with its labels, e.g. 'http_request_duration_seconds_bucket{route="/update"}'
    #[arg(long, value_name = "SELECTOR")]
    histogram: String,
    /// Over how long, e.g. 1d
    #[arg(long, default_value = "1d")]
    over: String,
    #[command(flatten)]
    how: How,
}

pub fn run(args: &NormalArgs) -> Result<(), Failure> {
    let lang = Lang::or_environment(args.how.lang);
    let selector = args.histogram.trim();
    if !selector.contains("_bucket") {
        return Err(Failure::usage(format!(
            "--histogram {selector}: name the buckets, e.g. http_request_duration_seconds_bucket{{route=\"/update\"}}"
        )));
    }
    if hikeshi_scenario::Dur::parse(&args.over).is_err() {
        return Err(Failure::usage(format!(
            "--over {}: write a duration such as 1h or 7d",
            args.over
        )));
    }
    let base = args.prometheus.trim_end_matches('/').to_owned();
    let prometheus = Prometheus::new(std::sync::Arc::new(move || Some(base.clone())));
    let query = format!("sum by (le) (rate({selector}[{}]))", args.over);
    let samples = crate::cli::runtime()?
        .block_on(prometheus.query(&query))
        .map_err(|error| {
            Failure::component(format!("{}: {error}", args.prometheus)).hint(format!("the query was {query}"))
        })?;
    let buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|sample| {
            let bound = sample.labels.get("le")?.as_str()?;
            let bound = if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().ok()?
            };
            Some((bound, sample.value))
        })
        .collect();
    let normal = Normal::from_buckets(&buckets).map_err(|none| Failure::not_so(lang.of(&none.0)))?;
    if args.how.json {
        output::json(&serde_json::json!({"normal": normal.spelt(), "words": normal.said()}));
    } else {
        output::line(normal.spelt());
    }
    Ok(())
}
