//! What the processor does not do by itself: its own prefetching ends with each page, and mapped inputs are
//! read a few hundred bytes to some KiB at a time in turn.

#![allow(unsafe_code)]

/// Bytes from a value to what is asked for with it.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 2048;

/// Asks for the cache line some way behind these values.
#[inline(always)]
pub fn prefetch<T>(values: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(values).cast::<i8>().wrapping_add(AHEAD);
        // SAFETY: nothing is read, and an address that is not mapped is ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
