//! Another time of day for a program: put before the C library by `LD_PRELOAD`, it answers `clock_gettime`, `gettimeofday`
//! and `time` with the offset that the chaos agent writes into a small file.
//!
//! The file (named by `HIKESHI_CLOCK`) holds two numbers in the machine's byte order: the offset in nanoseconds, and until
//! when on CLOCK_MONOTONIC it holds. It is mapped once; an offset comes and goes at the next call, and one that nobody
//! renews ends by itself. Only the time of day moves: a moved monotonic clock would break every timer.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicUsize, Ordering};

use libc::{clockid_t, time_t, timespec, timeval};

const VARIABLE: &CStr = c"HIKESHI_CLOCK";
const SECOND: i64 = 1_000_000_000;
/// How often a reader looks again when the file has changed under it.
const READS: usize = 4;

/// The file as it is mapped.
#[repr(C)]
struct Shared {
    offset: AtomicI64,
    until: AtomicI64,
}

type ClockGettime = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

/// [`UNKNOWN`], [`NONE`], or the address of the mapped file.
static SHARED: AtomicUsize = AtomicUsize::new(UNKNOWN);
const UNKNOWN: usize = 0;
const NONE: usize = 1;

/// The C library's own `clock_gettime`.
static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

fn real(clock: clockid_t, time: *mut timespec) -> c_int {
    let mut known = REAL.load(Ordering::Relaxed);
    if known.is_null() {
        // SAFETY: the name is a C string; the answer is null or the next definition after ours.
        known = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) };
        REAL.store(known, Ordering::Relaxed);
    }
    if known.is_null() {
        // SAFETY: the kernel checks the pointer.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int };
    }
    // SAFETY: the C library's function of that name has this signature; the pointer is our caller's.
    unsafe { std::mem::transmute::<*mut c_void, ClockGettime>(known)(clock, time) }
}

/// Maps the file; 1 when there is none.
fn map() -> usize {
    // SAFETY: the environment is read as any C program reads it; the answer is null or a C string.
    let path = unsafe { libc::getenv(VARIABLE.as_ptr()) };
    if path.is_null() {
        return NONE;
    }
    // SAFETY: `path` is a C string; the descriptor is closed again, which a mapping survives.
    unsafe {
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return NONE;
        }
        let mut stat = std::mem::zeroed::<libc::stat>();
        let whole = libc::fstat(file, &raw mut stat) == 0 && stat.st_size >= size_of::<Shared>() as i64;
        let mapped = if whole {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ,
                libc::MAP_SHARED,
                file,
                0,
            )
        } else {
            libc::MAP_FAILED
        };
        libc::close(file);
        if mapped == libc::MAP_FAILED {
            NONE
        } else {
            mapped as usize
        }
    }
}

/// Nanoseconds to add to the time of day.
fn offset() -> i64 {
    let mut shared = SHARED.load(Ordering::Acquire);
    if shared == UNKNOWN {
        // Two threads may both map it: one mapping too many is harmless.
        shared = map();
        SHARED.store(shared, Ordering::Release);
    }
    if shared == NONE {
        return 0;
    }
    // SAFETY: the address of a mapping that is never unmapped, as large as `Shared` and aligned to a page.
    let shared = unsafe { &*(shared as *const Shared) };
    // The writer takes the lease away while it changes the offset: both are whole when the lease is the same before and
    // after. A reader that is overtaken again and again is content with the last that it saw.
    let (mut offset, mut until) = (0, shared.until.load(Ordering::Acquire));
    for _ in 0..READS {
        offset = shared.offset.load(Ordering::Acquire);
        let again = shared.until.load(Ordering::Acquire);
        if again == until {
            break;
        }
        until = again;
    }
    if offset == 0 {
        return 0;
    }
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    real(libc::CLOCK_MONOTONIC, &raw mut now);
    let leased = now.tv_sec * SECOND + now.tv_nsec <= until;
    if leased { offset } else { 0 }
}

/// # Safety
/// As `clock_gettime(2)`: `time` is null or points to a timespec.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let result = real(clock, time);
    if result != 0 || time.is_null() || !matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
        return result;
    }
    let offset = offset();
    if offset != 0 {
        // SAFETY: not null, and the C library has just written there.
        let time = unsafe { &mut *time };
        let nanos = time.tv_nsec + offset % SECOND;
        time.tv_sec += offset / SECOND + nanos.div_euclid(SECOND);
        time.tv_nsec = nanos.rem_euclid(SECOND);
    }
    result
}

/// # Safety
/// As `gettimeofday(2)`: `time` is null or points to a timeval. The time zone, obsolete for decades, is not told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a timespec of ours.
    let result = unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if result == 0 && !time.is_null() {
        // SAFETY: not null, and our caller says that it is a timeval.
        unsafe {
            (*time).tv_sec = now.tv_sec;
            (*time).tv_usec = now.tv_nsec / 1_000;
        }
    }
    result
}

/// # Safety
/// As `time(2)`: `time` is null or points to a time_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let mut now = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a timespec of ours.
    unsafe { clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    if !time.is_null() {
        // SAFETY: not null, and our caller says that it is a time_t.
        unsafe { *time = now.tv_sec };
    }
    now.tv_sec
}
