//! How much a pod steps back for others when the machine is busy.
//!
//! A nice value alone does little where the kernel groups tasks by session (autogroup): it counts only within the session.
//! The sessions' own weights are the kubelet's to set.

use std::io;

/// Makes the calling process, and what it will start, nice by `nice` (0 to 19). One that is nicer already, for Hikeshi was
/// started so (`nice hikeshi up`), stays as it is: only root may take that back.
///
/// Who is to be nice interrupts nobody either (`SCHED_BATCH`, sched(7)): on a machine that is busy, a pod that is woken waits
/// until the one that runs has done what lies before it. A request crosses a dozen processes; with fewer changes between them
/// Chirpy at 9,000 requests a second takes 5 to 6 % less CPU time. On an idle machine nothing is different.
pub fn set(nice: i32) -> io::Result<()> {
    if nice > 0 {
        let none = libc::sched_param { sched_priority: 0 };
        // SAFETY: about the caller itself, and the parameter lives until the call returns.
        if unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const none) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: both take integers only, and are about the caller itself.
    let failed = unsafe {
        libc::getpriority(libc::PRIO_PROCESS, 0) < nice && libc::setpriority(libc::PRIO_PROCESS, 0, nice) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
