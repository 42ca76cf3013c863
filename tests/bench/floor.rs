//! The floor of averaging on this machine: as many threads as cores that only read all inputs, part by
//! part, into buffers that stay in the cache, and write one output of the first's size, or several. Nothing is
//! looked at, nothing reserved, nothing fsynced.
//!
//!     cargo run --release --example floor -- [OUTPUTS] INPUT... OUTPUT
//!
//! Several outputs are OUTPUT with a number behind it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is written in one call.
const PART: u64 = 1 << 20;

/// What is read in one call.
const BUFFER: usize = 1 << 17;

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let output = paths.pop().expect("INPUT... OUTPUT");
    let count: usize = paths[0].parse().map_or(1, |count| {
        paths.remove(0);
        count
    });
    let open = |path: &String| File::open(path).expect("it can be opened");
    let inputs: Vec<File> = paths.iter().map(open).collect();
    let size = inputs[0].metadata().expect("it is there").len();
    let create = |number: usize| {
        let path = if count == 1 { output.clone() } else { format!("{output}{number}") };
        let out = File::create(path).expect("it can be created");
        out.set_len(size).expect("it can be long");
        out
    };
    let outputs: Vec<File> = (0..count).map(create).collect();
    let next = AtomicU64::new(0);
    let work = || {
        let (mut buffer, part) = (vec![0; BUFFER], vec![1; PART as usize]);
        loop {
            let start = next.fetch_add(PART, Ordering::Relaxed);
            let end = size.min(start + PART);
            if start >= size {
                break;
            }
            for input in &inputs {
                for at in (start..end).step_by(BUFFER) {
                    let length = BUFFER.min((end - at) as usize);
                    input.read_exact_at(&mut buffer[..length], at).expect("it is read");
                }
            }
            for out in &outputs {
                out.write_all_at(&part[..(end - start) as usize], start).expect("it is written");
            }
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
}
