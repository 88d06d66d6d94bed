//! Another threshold of a latency SLO, written where the old one stands.

use hikeshi_scenario::Dur;

use crate::cujs::{Cujs, Sli};
use crate::history::{SetError, located};
use crate::read::places;

/// The file with another `within` of a latency SLO; everything else, comments too, as it was.
///
/// # Errors
/// See [`SetError`]; `NotFound` also of an SLO with queries of its own, which name their bucket by hand.
pub fn set_within(
    cujs: &Cujs,
    text: &str,
    journey: &str,
    slo: &str,
    within: Dur,
) -> Result<String, SetError> {
    let (c, s) = located(cujs, journey, slo)?;
    let slos = &cujs.cujs[c].slos;
    let Sli::Latency(old) = slos[s].sli else {
        return Err(SetError::NotFound);
    };
    if slos[s].queries.is_some() {
        return Err(SetError::NotFound);
    }
    let tree = places(text).ok_or(SetError::NotFound)?;
    let path = [
        "cujs".into(),
        c.into(),
        "slos".into(),
        s.into(),
        "sli".into(),
        "latency".into(),
        "within".into(),
    ];
    let (line, column) = tree.place(&path);
    let from_one = |n: u64| usize::try_from(n).ok().and_then(|n| n.checked_sub(1));
    let (Some(line), Some(skip)) = (from_one(line), from_one(column)) else {
        return Err(SetError::NotFound);
    };
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let found = lines.get(line).ok_or(SetError::NotFound)?;
    let before: String = found.chars().take(skip).collect();
    let rest = &found[before.len()..];
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    if Dur::parse(&rest[..end]) != Ok(old.within) {
        return Err(SetError::NotFound);
    }
    lines[line] = format!("{before}{within}{}", &rest[end..]);
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::parse;

    const SHIPPED: &str = include_str!("../../../systems/chirpy/cujs.yaml");

    #[test]
    fn a_threshold_is_set_where_it_stands() {
        let cujs = parse("f", SHIPPED).unwrap();
        let text = set_within(&cujs, SHIPPED, "read-timeline", "latency", Dur::secs(1)).unwrap();
        let changed: Vec<&str> = text
            .lines()
            .zip(SHIPPED.lines())
            .filter(|(a, b)| a != b)
            .map(|(a, _)| a)
            .collect();
        assert_eq!(changed, ["      - {sli: {latency: {within: 1s}}, objective: 98}"]);
        let block = "apiVersion: hikeshi.dev/v1\nkind: CUJs\nsystem: s\ncujs:\n  - name: a\n    title: {ja: a, en: a}\n    owner: o\n    route: GET /\n    slos:\n      - sli:\n          latency:\n            within: 300ms # fast\n        objective: 99\n";
        let text = set_within(&parse("f", block).unwrap(), block, "a", "latency", Dur::secs(1)).unwrap();
        assert!(text.contains("            within: 1s # fast\n"), "{text}");
        let no = |journey, slo| set_within(&cujs, SHIPPED, journey, slo, Dur::secs(1)).unwrap_err();
        assert!(matches!(no("read", "latency"), SetError::NoJourney { .. }));
        assert!(matches!(no("post-message", "freshness"), SetError::NoSlo { .. }));
        assert!(matches!(no("post-message", "availability"), SetError::NotFound));
    }
}
