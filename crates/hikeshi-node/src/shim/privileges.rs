//! What a pod's program may not do, even as its user 0: the pod's namespaces are its own, but its init keeps the host's
//! folder open, and the read-only mounts are the host's files.

/// The highest capability of the ABI that we know; the kernel answers EINVAL beyond its own.
const LAST: libc::c_ulong = 63;

/// The capabilities that container runtimes leave by default (OCI runtimes' common default set; numbers from
/// linux/capability.h). `MKNOD` and `AUDIT_WRITE` of that set mean nothing in a user namespace, and `SYS_CHROOT` would
/// lead past a mount.
const KEPT: u64 = 1 // CHOWN
    | 1 << 1 // DAC_OVERRIDE
    | 1 << 3 // FOWNER
    | 1 << 4 // FSETID
    | 1 << 5 // KILL
    | 1 << 6 // SETGID
    | 1 << 7 // SETUID
    | 1 << 8 // SETPCAP
    | 1 << 10 // NET_BIND_SERVICE
    | 1 << 13 // NET_RAW
    | 1 << 31; // SETFCAP

/// The names of [`KEPT`], as manifests write them.
const NAMES: [(&str, u32); 11] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("NET_BIND_SERVICE", 10),
    ("NET_RAW", 13),
    ("SETFCAP", 31),
];

/// The bits of the capabilities that a manifest names; `ALL` is each that a container has. Others are bits of none.
pub fn capabilities<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    let bit = |name: &str| {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        let known = NAMES.iter().find(|(known, _)| *known == name);
        match (name, known) {
            ("ALL", _) => KEPT,
            (_, Some((_, number))) => 1 << number,
            (_, None) => 0,
        }
    };
    names.into_iter().map(bit).fold(0, |all, bit| all | bit)
}

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up everything but [`KEPT`], and of that what is `dropped`, for this process and whatever it executes. 0, or an errno.
/// Async-signal-safe: called between fork and exec, last: nothing after it may need more.
pub fn drop_all_but_kept(dropped: u64) -> i32 {
    let kept = KEPT & !dropped;
    // SAFETY: prctl and capset read their arguments only; the structs have the layout of version 3.
    unsafe {
        for capability in 0..=LAST {
            if kept & (1 << capability) == 0
                && libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0
                && *libc::__errno_location() != libc::EINVAL
            {
                return *libc::__errno_location();
            }
        }
        let mut header = Header {
            version: VERSION_3,
            pid: 0,
        };
        let half = |mask: u32| Half {
            effective: mask,
            permitted: mask,
            inheritable: 0,
        };
        let halves = [half(kept as u32), half((kept >> 32) as u32)];
        if libc::syscall(libc::SYS_capset, &raw mut header, &raw const halves) != 0 {
            return *libc::__errno_location();
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bits_of_what_is_kept() {
        let all = NAMES.map(|(name, _)| name);
        assert_eq!(capabilities(all), KEPT);
        assert_eq!(capabilities(["ALL"]), KEPT);
        assert_eq!(
            capabilities(["CAP_KILL", "NET_RAW", "SYS_ADMIN"]),
            1 << 5 | 1 << 13
        );
    }
}
