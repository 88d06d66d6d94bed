//! What people may see before the debrief: everything but the answer.

use crate::event::{Event, EventKind};

/// Whether someone in `seat` may see this event. Until the drill has ended, faults and the oracle's reasons are nobody's,
/// the facilitator's included: the host plays too.
pub fn visible_to(_seat: &str, event: &Event, ended: bool) -> bool {
    ended
        || !matches!(
            event.kind,
            EventKind::FaultInjected { .. } | EventKind::FaultEnded { .. } | EventKind::OracleChecked { .. }
        )
}
