//! Where in a manifest's text a field stands.

use hikeshi_chaos::Part;

use hikeshi_scenario::node::{Is, Node, Place};

/// The place of a field named as [`hikeshi_chaos::Problem::field`] names it; of what is missing, the place of what it is
/// missing from.
pub(crate) fn of(node: &Node, field: &str, part: Part) -> Place {
    let (mut node, mut key, mut rest) = (node, None, field);
    while !rest.is_empty() {
        let Some((at, below, after)) = below(node, rest) else {
            return node.at;
        };
        (key, node, rest) = (at, below, after);
    }
    match part {
        Part::Key => key.unwrap_or(node.at),
        Part::Value => node.at,
    }
}

/// The first step of a path: place of its key (none in a list), what stands there, and the path from there.
fn below<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(Option<Place>, &'a Node, &'p str)> {
    let bracketed = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match (&node.is, bracketed) {
        (Is::List(items), Some((index, after))) => {
            let item = items.get(index.parse::<usize>().ok()?)?;
            Some((None, item, after))
        }
        (Is::Map(entries), Some((name, after))) => {
            let (_, at, node) = entries.iter().find(|(key, _, _)| key == name)?;
            Some((Some(*at), node, after))
        }
        (Is::Map(entries), None) => {
            let path = path.strip_prefix('.').unwrap_or(path);
            let end = path.find(['.', '[']).unwrap_or(path.len());
            // A misspelt key may hold a dot of its own: the longest that fits is meant.
            let fits = |key: &str| {
                let after = path.strip_prefix(key)?;
                (after.is_empty() || after.starts_with(['.', '['])).then_some(after)
            };
            let longest = entries
                .iter()
                .filter(|(key, _, _)| key.len() >= end)
                .filter_map(|(key, at, node)| Some((key.len(), *at, node, fits(key)?)))
                .max_by_key(|(length, ..)| *length)?;
            let (_, at, node, after) = longest;
            Some((Some(at), node, after))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hikeshi_scenario::node::read;

    #[test]
    fn every_way_of_naming_a_field_leads_to_it() {
        let node = read("a:\n  b: [x, {c: 1}]\n  d.e: 2\nf: {g/h.i: 3}\n").unwrap();
        for (field, part, place) in [
            ("a.b[1].c", Part::Value, (2, 14)),
            ("a.b[1].c", Part::Key, (2, 11)),
            ("a.d.e", Part::Key, (3, 3)),
            ("f[g/h.i]", Part::Value, (4, 12)),
            // Missing ones: where they should be.
            ("a.b[1].z", Part::Value, (2, 10)),
            ("a.b[7]", Part::Value, (2, 6)),
            ("z", Part::Value, (1, 1)),
        ] {
            assert_eq!(of(&node, field, part), place, "{field}");
        }
    }
}
