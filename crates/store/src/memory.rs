//! Memory that nothing holds any more goes back to the system.

#![allow(unsafe_code, reason = "a call of the C library")]

/// Gives back what was freed inside the heap. The allocator gives back its end alone, and whatever
/// was made of an object lies between objects that stay.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
