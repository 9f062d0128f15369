//! What the allocator does with memory that is not needed any more.

/// Blocks of this size and more go back to the system as soon as they are freed, in bytes.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 1 << 20;

/// Has large blocks go back to the system when they are freed.
///
/// The GNU C library begins so, and then raises the limit with each large block that is freed, up to 32 MiB: lists that grow step by step
/// leave holes behind that nobody uses. With other C libraries this does nothing.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes a number of the allocator's; any thread may do so at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
