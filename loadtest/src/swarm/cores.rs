//! Which CPUs a thread may run on, and how precisely it wakes.

use std::io;
use std::mem;

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
