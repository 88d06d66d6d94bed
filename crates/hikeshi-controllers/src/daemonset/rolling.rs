//! The arithmetic of a DaemonSet's rolling update: which nodes may lose their old pod, and which get a second one.

/// One pod of a node, as far as an update is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Daemon<P> {
    pub pod: P,
    pub available: bool,
}

/// A node that should have a pod, with its running pod of the present and of an older template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat<N, P> {
    pub node: N,
    pub new: Option<Daemon<P>>,
    pub old: Option<Daemon<P>>,
}

/// How many nodes may be without an available pod, and how many may have two. Only one of them is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub max_unavailable: usize,
    pub max_surge: usize,
}

/// What an update does now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<N, P> {
    /// Old pods that go.
    pub delete: Vec<P>,
    /// Nodes that get a new pod beside their old one.
    pub surge: Vec<N>,
}

/// The next step of an update. An old pod that serves nobody is replaced at once, whatever the allowance.
pub(super) fn step<N: Copy, P: Copy>(seats: &[Seat<N, P>], allowance: Allowance) -> Step<N, P> {
    let is_up = |daemon: Option<Daemon<P>>| daemon.is_some_and(|daemon| daemon.available);
    let (mut delete, mut surge) = (Vec::new(), Vec::new());
    if allowance.max_surge == 0 {
        let down = seats
            .iter()
            .filter(|seat| !is_up(seat.new) && !is_up(seat.old))
            .count();
        let mut room = allowance.max_unavailable.saturating_sub(down);
        // A node with both is one whose surplus pod goes anyway.
        for old in seats
            .iter()
            .filter(|seat| seat.new.is_none())
            .filter_map(|seat| seat.old)
        {
            if !old.available || room > 0 {
                room -= usize::from(old.available);
                delete.push(old.pod);
            }
        }
        return Step { delete, surge };
    }
    let coming = seats
        .iter()
        .filter(|seat| seat.old.is_some() && seat.new.is_some() && !is_up(seat.new))
        .count();
    let mut room = allowance.max_surge.saturating_sub(coming);
    for seat in seats {
        let Some(old) = seat.old else { continue };
        match seat.new {
            // The new one serves, or at least the old one does not.
            Some(new) if new.available || !old.available => delete.push(old.pod),
            Some(_) => {}
            None if !old.available || room > 0 => {
                room -= usize::from(old.available);
                surge.push(seat.node);
            }
            None => {}
        }
    }
    Step { delete, surge }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UP: Option<bool> = Some(true);
    const COMING: Option<bool> = Some(false);

    /// Seats numbered from 0 as (new, old), each with whether it is available; an old pod is named by its node.
    fn seats(of: &[(Option<bool>, Option<bool>)]) -> Vec<Seat<usize, usize>> {
        let daemon =
            |node, available: Option<bool>| available.map(|available| Daemon { pod: node, available });
        of.iter()
            .enumerate()
            .map(|(node, (new, old))| Seat {
                node,
                new: daemon(node, *new),
                old: daemon(node, *old),
            })
            .collect()
    }

    fn surging(max_surge: usize) -> Allowance {
        Allowance {
            max_unavailable: 0,
            max_surge,
        }
    }

    #[test]
    fn without_surge_a_node_loses_its_pod_first() {
        let one = Allowance {
            max_unavailable: 1,
            max_surge: 0,
        };
        let all_old = seats(&[(None, UP), (None, UP), (None, UP)]);
        let first = step(&all_old, one);
        assert_eq!((first.delete, first.surge), (vec![0], vec![]));
        let one_is_down = seats(&[(COMING, None), (None, UP), (None, UP)]);
        assert!(step(&one_is_down, one).delete.is_empty());
        let one_has_none = seats(&[(None, None), (None, UP)]);
        assert!(step(&one_has_none, one).delete.is_empty());
        let old_is_broken = seats(&[(COMING, None), (None, COMING), (None, UP)]);
        assert_eq!(step(&old_is_broken, one).delete, [1]);
    }

    #[test]
    fn with_surge_the_old_pod_goes_when_the_new_one_is_available() {
        let all_old = seats(&[(None, UP), (None, UP), (None, UP)]);
        let first = step(&all_old, surging(2));
        assert_eq!((first.delete, first.surge), (vec![], vec![0, 1]));
        let waiting = seats(&[(COMING, UP), (UP, UP), (None, UP)]);
        let next = step(&waiting, surging(2));
        assert_eq!((next.delete, next.surge), (vec![1], vec![2]));
        let full = seats(&[(COMING, UP), (COMING, UP), (None, UP)]);
        let full = step(&full, surging(2));
        assert_eq!((full.delete, full.surge), (vec![], vec![]));
    }

    #[test]
    fn an_old_pod_that_is_down_needs_no_room() {
        let broken = seats(&[(None, COMING), (COMING, COMING), (COMING, UP), (None, UP)]);
        let step = step(&broken, surging(1));
        assert_eq!((step.delete, step.surge), (vec![1], vec![0]));
    }

    proptest! {
        /// New pods come up in any order; the update keeps its promise and always arrives.
        #[test]
        fn an_update_keeps_its_promise(
            nodes in 1..10_usize, most in 1..4_usize, surge in any::<bool>(), dice in proptest::collection::vec(0..10_usize, 0..200),
        ) {
            let allowance = if surge { surging(most) } else { Allowance { max_unavailable: most, max_surge: 0 } };
            let mut at = seats(&vec![(None, UP); nodes]);
            let mut dice = dice.into_iter();
            for round in 0..500 {
                let step = step(&at, allowance);
                for node in step.delete {
                    at[node].old = None;
                }
                for node in step.surge {
                    at[node].new = Some(Daemon { pod: node, available: false });
                }
                let down = at.iter().filter(|seat| seat.old.is_none() && !seat.new.is_some_and(|new| new.available)).count();
                let doubled = at.iter().filter(|seat| seat.old.is_some() && seat.new.is_some()).count();
                prop_assert!(down <= allowance.max_unavailable, "{down} nodes are down");
                prop_assert!(doubled <= allowance.max_surge, "{doubled} nodes have two");
                // An empty node gets its new pod; then one of those that are not available becomes so.
                for seat in at.iter_mut().filter(|seat| seat.old.is_none() && seat.new.is_none()) {
                    seat.new = Some(Daemon { pod: seat.node, available: false });
                }
                let node = dice.next().unwrap_or(round) % nodes;
                if let Some(new) = &mut at[node].new {
                    new.available = true;
                }
            }
            prop_assert_eq!(at, seats(&vec![(UP, None); nodes]));
        }
    }
}
