//! Two ways to an input's bytes: copied into buffers that stay in a core's cache, or mapped, where each page
//! costs an entry in the page tables. Which is sooner depends on the machine (nested paging makes the
//! entries dear, slow copies of kernel memory the other way), so the first jobs try both.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::store::COLD;

/// Jobs of each way that are timed; the quickest counts, as anything may disturb the others.
const TRIALS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Copied,
    Mapped,
}

/// What is known of the two ways.
pub(super) struct CopyOrMap {
    tried: AtomicUsize,
    /// The least nanoseconds a MiB, of what was copied and mapped.
    least: [AtomicU64; 2],
}

impl CopyOrMap {
    pub fn new() -> Self {
        CopyOrMap { tried: AtomicUsize::new(0), least: [u64::MAX; 2].map(AtomicU64::new) }
    }

    /// For the next job of full size; it is to be told how long that took.
    pub fn way(&self) -> Way {
        if self.tried.load(Ordering::Relaxed) < 2 * TRIALS {
            let number = self.tried.fetch_add(1, Ordering::Relaxed); // another thread's is another
            if number < 2 * TRIALS {
                return [Way::Copied, Way::Mapped][number % 2];
            }
        }
        let [copied, mapped] = self.least.each_ref().map(|least| least.load(Ordering::Relaxed));
        // A device decides by itself, and copies are read further ahead.
        match mapped < copied && u128::from(mapped) < COLD.as_nanos() {
            true => Way::Mapped,
            false => Way::Copied,
        }
    }

    pub fn took(&self, way: Way, bytes: u64, time: Duration) {
        let rate = (time.as_nanos() << 20) / u128::from(bytes.max(1));
        self.least[way as usize].fetch_min(rate.min(u64::MAX.into()) as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The way after trials that take so many microseconds a MiB, copied and mapped.
    fn after(copied: &[u64], mapped: &[u64]) -> Way {
        let copy_or_map = CopyOrMap::new();
        for (&copied, &mapped) in copied.iter().zip(mapped) {
            for (way, time) in [(Way::Copied, copied), (Way::Mapped, mapped)] {
                assert_eq!(copy_or_map.way(), way);
                copy_or_map.took(way, 3 << 20, Duration::from_micros(3 * time));
            }
        }
        copy_or_map.way()
    }

    #[test]
    fn threads_that_ask_at_once_try_both() {
        let copy_or_map = CopyOrMap::new();
        let asked = std::thread::scope(|scope| {
            let ask = || (0..TRIALS).map(|_| copy_or_map.way()).collect::<Vec<_>>();
            let threads = [scope.spawn(ask), scope.spawn(ask)];
            threads.map(|thread| thread.join().unwrap()).concat()
        });
        assert_eq!(asked.iter().filter(|&&way| way == Way::Mapped).count(), TRIALS);
    }

    #[test]
    fn the_quicker_way_is_taken_after_both_were_tried() {
        assert_eq!(after(&[900, 100, 100, 100], &[90, 800, 800, 800]), Way::Mapped);
        assert_eq!(after(&[100, 100, 80, 100], &[90, 90, 90, 90]), Way::Copied);
        // From a device: copies read ahead.
        assert_eq!(after(&[9000; 4], &[8000; 4]), Way::Copied);
        assert_eq!(after(&[9000; 3], &[80; 3]), Way::Copied, "a trial");
    }
}
