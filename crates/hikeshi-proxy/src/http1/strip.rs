//! Taking lines out of a head in place.

use std::ops::Range;

/// Moves what stays of `head` to its end, so that the body after it need not move. Returns the new head's first byte.
/// `lines` are in their order and apart from each other.
pub fn strip(head: &mut [u8], lines: &[Range<usize>]) -> usize {
    let (mut end, mut to) = (head.len(), head.len());
    for line in lines.iter().rev() {
        let kept = end - line.end;
        head.copy_within(line.end..end, to - kept);
        to -= kept;
        end = line.start;
    }
    if to != end {
        head.copy_within(..end, to - end);
    }
    to - end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_stays_stays_in_its_order(pieces in prop::collection::vec(("[a-z]{0,5}", any::<bool>()), 0..8)) {
            let (mut head, mut lines, mut kept) = (String::new(), Vec::new(), String::new());
            for (text, keep) in &pieces {
                let start = head.len();
                head.push_str(text);
                if *keep {
                    kept.push_str(text);
                } else {
                    lines.push(start..head.len());
                }
            }
            let mut bytes = head.into_bytes();
            let start = strip(&mut bytes, &lines);
            prop_assert_eq!(&bytes[start..], kept.as_bytes());
        }
    }
}
