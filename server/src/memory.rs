//! The allocator, and giving back to the system what a burst of connections needed.
//!
//! mimalloc returns freed pages after a delay, but only while its thread goes on allocating; a core that has seated a million
//! followers and is quiet afterwards would keep what their handshakes took.

/// Small blocks, from many threads, that live for very different times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what this thread freed a while ago. Cheap if there is nothing: some microseconds.
pub(crate) fn give_back() {
    // SAFETY: a plain call into the allocator; it touches nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(false) };
}
