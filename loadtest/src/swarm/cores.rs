//! Which CPUs a thread may run on, how precisely it wakes, what it may run before, and what it has taken.

use std::io;
use std::mem;
use std::time::Duration;

/// Pins the calling thread, and those that it starts afterwards, to `cores`. Does nothing if there are none.
pub(crate) fn pin(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    // SAFETY: an all-zero set is the empty set, CPU_SET stays inside it for what was checked to be below its size, and
    // the call reads the set only.
    let result = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for &core in cores {
            if core >= libc::CPU_SETSIZE as usize {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            libc::CPU_SET(core, &mut set);
        }
        libc::sched_setaffinity(0, mem::size_of_val(&set), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread's sleeps end at most a microsecond late instead of the 50 that the kernel takes by default.
pub(crate) fn wake_precisely() {
    // SAFETY: sets one number of the calling thread, in nanoseconds, and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong);
    }
}

/// What the calling thread has taken of its CPU so far.
pub(crate) fn spent() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the one structure, which is the caller's.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    if result == 0 { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
}

/// Lets the calling thread run as soon as it wakes, before all ordinary threads, if that is allowed: mostly to root only. It
/// mustn't compute for long. A nice value of -20 would do too, but weighs in the kernel's balancing as much as several busy
/// threads, and drives those of other programs away to the server's CPU.
pub(crate) fn run_first() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: sets the policy of the calling thread, which 0 stands for, and reads the parameter only.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &lowest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_what_it_took() {
        let (before, work) = (spent(), Duration::from_millis(5));
        while spent() < before + work {}
        let others = std::thread::spawn(spent).join().expect("it doesn't panic");
        assert!(others < spent(), "each its own");
    }
}
