//! Time and chance: what the engine is given as parameters.

use std::time::{SystemTime, UNIX_EPOCH};

use fantail_engine::position::Epoch;

/// Milliseconds since 1970; 0 on a clock before.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Bytes that nobody can guess.
///
/// # Panics
/// If the kernel has none: it always does once it has booted.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the kernel writes at most N bytes to an array of N.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    assert_eq!(count, N as isize, "the kernel has random bytes");
    bytes
}

/// Milliseconds after which a follower that lost its connection comes back, jittered so that not all come at once.
pub(crate) fn retry_ms() -> u32 {
    2000 + jitter(1000)
}

/// A number below `bound`, for jitter.
pub(crate) fn jitter(bound: u32) -> u32 {
    u32::from_ne_bytes(random()) % bound
}

/// An epoch that hasn't been before.
pub(crate) fn fresh_epoch() -> Epoch {
    Epoch::from_bits(u32::from_ne_bytes(random()))
}
