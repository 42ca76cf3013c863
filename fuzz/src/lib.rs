//! What the targets share: bytes become files, these are opened and read to the end, and time and memory
//! are held to what the house promises for hostile files.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use swa_tools::Error;
use swa_tools::checkpoint::{Checkpoint, Take};
use swa_tools::programs::Program;
use swa_tools::report::ProgramReport;

/// CPU time to open 64 KB. Larger inputs have more in proportion.
const MILLISECONDS: u64 = 50;

/// Memory to open 64 KB, at its peak.
const MEMORY: usize = 64 << 20;

/// Of tensors larger than this the ends alone are read: a view can claim terabytes.
const LARGE: u64 = 4 << 20;

/// Most bytes that are read of one checkpoint.
const ENOUGH: u64 = 32 << 20;

/// Counts what is allocated; the fuzzer's own limits see only whole pages.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

/// A folder in memory for this process's files.
pub fn folder() -> PathBuf {
    // All work in this thread: waking others takes longer than most inputs.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
    let within = std::env::var_os("SWA_FUZZ_DIR").unwrap_or_else(|| "/dev/shm".into());
    let path = Path::new(&within).join(format!("swa-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Writes a file whose name is in no other input's way.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn cpu_milliseconds() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Opens a checkpoint of so many bytes in all its files and reads it to the end.
pub fn check(path: &Path, size: usize) {
    let take = Take { ema: size % 3 == 1, key: None };
    match bounded(size, || Checkpoint::open_with(path, &take)) {
        Ok(checkpoint) => read(&checkpoint),
        Err(error) => refused(&error),
    }
}

/// Opens an exported program of so many bytes, and looks at what the tools look at.
pub fn check_program(path: &Path, size: usize) {
    match bounded(size, || Program::open(path)) {
        Ok(program) => {
            assert!(program.tensors().iter().all(|tensor| tensor.slot.is_none_or(|slot| slot < program.graph().slots)));
            let report = ProgramReport::of(&program);
            report.text();
        }
        Err(error) => refused(&error),
    }
}

/// What is wrong with a file, a limit, or nothing in it that is asked for; never an I/O error.
fn refused(error: &Error) {
    assert!(matches!(error.kind().exit_code(), 2 | 3 | 6), "{error}");
    let text = error.to_string();
    assert!(text.len() < 1 << 16, "{} bytes of message", text.len());
    assert!(!text.contains("internal"), "{text}");
}

/// Holds opening a file of so many bytes to its limits.
fn bounded<T>(size: usize, open: impl Fn() -> T) -> T {
    let parts = size.div_ceil(65_536).max(1);
    let mut opened = None;
    for attempt in 0.. {
        drop(opened.take());
        let (before, start) = (LIVE.load(Relaxed), cpu_milliseconds());
        PEAK.store(before, Relaxed);
        opened = Some(open());
        let spent = cpu_milliseconds() - start;
        let peak = PEAK.load(Relaxed) - before;
        assert!(peak <= MEMORY * parts, "{peak} bytes of memory for {size}");
        if spent <= MILLISECONDS * parts as u64 {
            break;
        }
        // It may be another process's fault: a busy machine charges us for its page faults.
        assert!(attempt < 8, "{spent} ms for {size} bytes");
        std::thread::sleep(std::time::Duration::from_millis(100 << attempt));
    }
    opened.unwrap()
}

fn read(checkpoint: &Checkpoint) {
    let mut total = 0;
    let mut scratch = vec![];
    for (i, tensor) in checkpoint.tensors().iter().enumerate() {
        let width = (tensor.dtype.bitsize() as u64 / 8).max(1);
        let size = tensor.size();
        if size > LARGE {
            checkpoint.read(i, 0..width, &mut scratch).unwrap();
            checkpoint.read(i, size - width..size, &mut scratch).unwrap();
        } else if total < ENOUGH {
            assert_eq!(checkpoint.bytes(i).unwrap().len() as u64, size);
            total += size;
        }
        checkpoint.file_of(i);
        checkpoint.written_name(i);
        assert!(checkpoint.get(&tensor.name).is_some());
    }
    checkpoint.stripped();
    checkpoint.batchnorm_layers();
    checkpoint.provenance();
    checkpoint.has_checksums();
    let all =
        checkpoint.tensors().iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.size()));
    if all <= ENOUGH {
        let _ = checkpoint.verify(&|_| {});
    }
}

/// A zip file as torch.save writes it, without CRCs: names and bytes.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, bytes) in entries {
        let at = file.len() as u32;
        let sizes = |to: &mut Vec<u8>| {
            to.extend([0; 4]); // CRC: not computed
            to.extend((bytes.len() as u32).to_le_bytes());
            to.extend((bytes.len() as u32).to_le_bytes());
            to.extend((name.len() as u16).to_le_bytes());
            to.extend([0; 2]);
        };
        file.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0");
        sizes(&mut file);
        file.extend(name.as_bytes());
        file.extend(*bytes);
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0");
        sizes(&mut directory);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, count) = (file.len() as u32, entries.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A torch zip around a pickle, with a few storages of 512 bytes.
pub fn around(pickle: &[u8]) -> Vec<u8> {
    const VALUES: [u8; 512] = [1; 512];
    let keys = ["0", "1", "2", "3", "4", "5", "6", "7"].map(|key| format!("x/data/{key}"));
    let storages = keys.iter().map(|name| (name.as_str(), &VALUES[..]));
    let pickle = [("x/data.pkl", pickle), ("x/byteorder", b"little")];
    zip(&pickle.into_iter().chain(storages).collect::<Vec<_>>())
}

/// Between the files of a folder in one input.
pub const NEXT: &[u8] = b"\xfe\xffNEXT\xff\xfe";

/// The files in one input.
pub fn files(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut files = vec![];
    while let Some(at) = bytes.windows(NEXT.len()).position(|window| window == NEXT) {
        files.push(&bytes[..at]);
        bytes = &bytes[at + NEXT.len()..];
    }
    files.push(bytes);
    files
}
