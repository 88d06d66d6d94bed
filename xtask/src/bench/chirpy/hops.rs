//! What a request costs by hop: who asks whom how often, and what an answer costs the one who gives it.

use std::collections::BTreeMap;

use super::cpu::Usage;

/// Requests so far, by (source, destination).
pub type Calls = BTreeMap<(String, String), f64>;

/// Requests over HTTP, and commands of Redis and PostgreSQL.
const COUNTS: [&str; 2] = [
    "hikeshi_edge_requests_total",
    "hikeshi_edge_command_duration_seconds_count",
];

/// The data plane's own count of requests and commands on each edge, from its metrics' text.
pub fn calls(exposition: &str) -> Calls {
    let mut calls = Calls::new();
    for line in exposition.lines() {
        let counted = COUNTS
            .iter()
            .find_map(|name| line.strip_prefix(name)?.strip_prefix('{'));
        let Some((labels, value)) = counted.and_then(|rest| rest.rsplit_once('}')) else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        if let (Some(source), Some(destination), Ok(count)) =
            (label("source"), label("destination"), value.trim().parse::<f64>())
        {
            *calls.entry((source, destination)).or_default() += count;
        }
    }
    calls
}

/// One hop.
#[derive(Debug, PartialEq)]
pub struct Hop {
    pub source: String,
    pub destination: String,
    /// A second.
    pub calls: f64,
    /// For each request of a user.
    pub each: f64,
    /// CPU microseconds of the destination for each call it answers, from whomever; none when it is no pod.
    pub cost: Option<f64>,
}

/// The hops between two looks, the busiest first; rare ones are left out.
pub fn between(before: &Calls, after: &Calls, used: &Usage, seconds: f64, answered: f64) -> Vec<Hop> {
    let grown: Vec<(&(String, String), f64)> = after
        .iter()
        .map(|(edge, count)| (edge, count - before.get(edge).copied().unwrap_or_default()))
        .collect();
    let of_destination = |name: &str| -> f64 {
        let to = grown.iter().filter(|((_, destination), _)| destination == name);
        to.map(|(_, count)| count).sum()
    };
    // A StatefulSet's pods are counted one by one, and are called by their name or by the set's.
    let cpu = |name: &str| -> Option<f64> {
        let own = used.iter().filter(|(pod, _)| {
            let rest = pod.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest.is_empty()
                    || rest
                        .strip_prefix('-')
                        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
            })
        });
        let own: Vec<f64> = own.map(|(_, seconds)| *seconds).collect();
        (!own.is_empty()).then(|| own.iter().sum())
    };
    let mut hops: Vec<Hop> = grown
        .iter()
        .filter(|(_, count)| *count >= seconds)
        .map(|((source, destination), count)| Hop {
            source: source.clone(),
            destination: destination.clone(),
            calls: count / seconds,
            each: count / answered,
            cost: cpu(destination).map(|cpu| cpu / of_destination(destination) * 1e6),
        })
        .collect();
    hops.sort_by(|a, b| b.calls.total_cmp(&a.calls));
    hops
}

/// Prints them, and what the data plane takes for carrying each.
pub fn print(hops: &[Hop], used: &Usage, seconds: f64) {
    println!("| hop | calls/s | per request | CPU us of the one called, per call |");
    println!("|---|---|---|---|");
    for hop in hops {
        let cost = hop
            .cost
            .map_or_else(|| "-".to_owned(), |cost| format!("{cost:.1}"));
        println!(
            "| {} -> {} | {:.0} | {:.3} | {cost} |",
            hop.source, hop.destination, hop.calls, hop.each
        );
    }
    let calls: f64 = hops.iter().map(|hop| hop.calls).sum();
    if let Some(carrying) = used.get("data plane") {
        println!(
            "data plane: {:.1} us of CPU per call it carries",
            carrying / (calls * seconds) * 1e6
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_its_destination_used_for_all_of_its_calls() {
        let text = |reads: u32, ranges: u32| {
            format!(
                "# TYPE hikeshi_edge_requests counter\n\
                 hikeshi_edge_requests_total{{source=\"load\",destination=\"gateway\",route=\"/a\",code=\"200\"}} {reads}\n\
                 hikeshi_edge_requests_total{{source=\"load\",destination=\"gateway\",route=\"/a\",code=\"503\"}} 50\n\
                 hikeshi_edge_command_duration_seconds_count{{source=\"gateway\",destination=\"redis-cluster\",command=\"GET\"}} {ranges}\n\
                 hikeshi_edge_bytes_total{{source=\"load\",destination=\"gateway\",direction=\"sent\"}} 10\n"
            )
        };
        let (before, after) = (calls(&text(100, 0)), calls(&text(1100, 500)));
        let used = Usage::from([
            ("gateway".to_owned(), 0.01),
            ("redis-cluster-0".to_owned(), 0.002),
            ("redis-cluster-1".to_owned(), 0.003),
            ("redis-cluster-check".to_owned(), 1.0),
        ]);
        let hops = between(&before, &after, &used, 10.0, 1000.0);
        let told: Vec<_> = hops
            .iter()
            .map(|hop| {
                (
                    hop.destination.as_str(),
                    hop.calls,
                    hop.each,
                    hop.cost.map(f64::round),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("gateway", 100.0, 1.0, Some(10.0)),
                ("redis-cluster", 50.0, 0.5, Some(10.0))
            ]
        );
    }
}
