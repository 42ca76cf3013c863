//! The floor of averaging on this machine: as many threads as cores that only read all inputs, part by
//! part, and write one output of the first's size. No arithmetic but an exclusive or, no fsync.
//!
//!     cargo run --release --example floor -- INPUT... OUTPUT

use std::fs::{File, remove_file};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use swa_tools::checkpoint::Source;

const PART: u64 = 1 << 20;

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    let output = paths.pop().expect("INPUT... OUTPUT");
    let inputs: Vec<Source> =
        paths.iter().map(|path| Source::open(Path::new(path)).expect("it opens")).collect();
    let size = inputs[0].size();
    let _ = remove_file(&output);
    let out = File::create(&output).expect("it can be created");
    rustix::fs::fallocate(&out, rustix::fs::FallocateFlags::empty(), 0, size).expect("space");
    let (next, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    rayon::broadcast(|_| {
        let (mut buffer, mut scratch) = (vec![0u8; PART as usize], vec![]);
        let mut sum = 0;
        loop {
            let start = next.fetch_add(PART, Ordering::Relaxed);
            if start >= size {
                break;
            }
            let range = start..size.min(start + PART);
            for input in &inputs {
                input.populate(range.clone());
                let bytes = input.read(range.clone(), &mut scratch).expect("it is mapped");
                let words = bytes.as_chunks::<8>().0.iter();
                sum = words.fold(sum, |sum, word| sum ^ u64::from_le_bytes(*word));
            }
            buffer[0] = sum as u8;
            out.write_all_at(&buffer[..(range.end - start) as usize], start)
                .expect("it is written");
        }
        seen.fetch_xor(sum, Ordering::Relaxed);
    });
    println!("{:x}", seen.into_inner());
}
