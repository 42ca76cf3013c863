//! Time and memory of what is done with some bytes.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// CPU time to open 64 KB. Larger inputs have more in proportion.
const MILLISECONDS: u64 = 50;

/// Memory to open 64 KB, at its peak.
const MEMORY: usize = 64 << 20;

/// Memory that does not come from the size of a file, and how many times its size may be taken.
const BASE: usize = 8 << 20;
const TIMES: usize = 48;

/// Counts what is allocated; the fuzzer's own limits see only whole pages.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TIMED: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// From here on time counts, too.
pub fn time() {
    TIMED.store(true, Relaxed);
}

fn cpu_milliseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// What comes of something, and the most memory that it takes.
fn measured<T>(act: impl Fn() -> T) -> (T, usize) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = act();
    (done, PEAK.load(Relaxed) - before)
}

/// Holds opening a file of so many bytes to its limits.
pub fn bounded<T>(size: usize, open: impl Fn() -> T) -> T {
    let parts = size.div_ceil(65_536).max(1);
    let mut opened = None;
    for attempt in 0.. {
        drop(opened.take());
        let start = cpu_milliseconds();
        let (done, peak) = measured(&open);
        opened = Some(done);
        let spent = cpu_milliseconds() - start;
        assert!(peak <= MEMORY * parts, "{peak} bytes of memory for {size}");
        if spent <= MILLISECONDS * parts as u64 || !TIMED.load(Relaxed) {
            break;
        }
        // It may be another process's fault: a busy machine charges us for its page faults.
        assert!(attempt < 8, "{spent} ms for {size} bytes");
        std::thread::sleep(std::time::Duration::from_millis(100 << attempt));
    }
    opened.unwrap()
}

/// Holds the memory for a file of any size to a multiple of it.
pub fn in_proportion<T>(size: usize, what: &str, act: impl Fn() -> T) -> T {
    let (done, peak) = measured(act);
    assert!(peak <= BASE + TIMES * size, "{what}: {peak} bytes of memory for {size}");
    done
}
