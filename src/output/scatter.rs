//! Tensors whose values do not lie in a row in the output: gathered whole, then put where they belong.

use std::collections::HashMap;
use std::sync::Mutex;

use super::layout::Sink;
use crate::Result;
use crate::sync::lock;
use crate::tensors::gather::Gather;

/// Tensors in flight, by number.
#[derive(Default)]
pub(crate) struct Scatter(Mutex<HashMap<usize, Whole>>);

struct Whole {
    bytes: Vec<u8>,
    /// How many of them are missing.
    missing: usize,
}

impl Scatter {
    /// Takes a part of a tensor's bytes, which begins at `start`; with the last part all are written.
    pub fn put(
        &self,
        sink: &dyn Sink,
        file: usize,
        tensor: usize,
        gather: &Gather,
        start: u64,
        part: &[u8],
    ) -> Result<()> {
        let whole = {
            let mut all = lock(&self.0);
            let size = gather.shape.iter().product::<u64>() as usize * gather.width;
            let whole =
                all.entry(tensor).or_insert_with(|| Whole { bytes: vec![0; size], missing: size });
            whole.bytes[start as usize..][..part.len()].copy_from_slice(part);
            whole.missing -= part.len();
            if whole.missing > 0 {
                return Ok(());
            }
            all.remove(&tensor).expect("it was there").bytes
        };
        let span = gather.span();
        let mut image = vec![0; (span.end - span.start) as usize];
        // What lies between belongs to others.
        sink.read_at(file, &mut image, span.start)?;
        gather.scatter(&whole, &mut image);
        sink.write_at(file, &image, span.start)
    }
}
