//! CPUs: which one a thread runs on, and how much of their time was spent.

use std::io;
use std::time::Duration;

/// Lets the calling thread run on one CPU only.
///
/// # Errors
/// If there is no such CPU, or it isn't this process's to use.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero set is the empty one, and CPU_SET stays inside it for what is below its size.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// User and system time of the calling thread so far.
#[must_use]
pub fn of_thread() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// User and system time of all threads of this process so far, the kernel's workers for its rings among them.
#[must_use]
pub fn of_process() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to the timespec only.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "Linux has both clocks");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
