//! A run of values, from the inputs' bytes to the output's: the fast path where it proves its results,
//! the exact one for the rest.

use std::ops::Range;
use std::time::Instant;

use super::access::Way;
use super::exact::{self, Sum};
use super::kernel::{self, BLOCK, MOST_INPUTS, PIECE, Span};
use super::writer::Pending;
use super::{Coefficients, Float};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::store::COLD;

/// Bytes of each input that pass through the fast path together: worth a call, and few enough that those
/// of [`TOGETHER`] inputs stay in a core's own caches.
const CHUNK: usize = 1 << 16;

/// Inputs that are added up together.
const TOGETHER: usize = MOST_INPUTS;

/// What a thread reuses.
pub(super) struct Worker {
    pub divisor: Sum,
    pub scratch: Vec<u8>,
    pub pending: Pending,
    /// Of the parts of a job, by source; empty if none is wanted.
    pub crcs: Vec<crc32fast::Hasher>,
    buffers: Vec<Vec<u8>>,
    sums: Vec<f64>,
    doubtful: Vec<usize>,
    left: Vec<usize>,
}

impl Worker {
    pub fn new(coefficients: &Coefficients, divisor: Sum) -> Self {
        let n = coefficients.weights().len();
        debug_assert!(n > 0);
        let (scratch, sums, doubtful, left, crcs) = (vec![], vec![], vec![], vec![], vec![]);
        let (pending, buffers) = (Pending::default(), vec![vec![]; n.min(TOGETHER)]);
        Worker { divisor, scratch, pending, crcs, buffers, sums, doubtful, left }
    }
}

/// What is averaged: tensor `number` of each `input`, and how.
pub(super) struct Terms<'t> {
    pub inputs: &'t [Checkpoint],
    /// (input, number), as many as there are weights.
    pub sources: &'t [(usize, usize)],
    /// How their bytes are read.
    pub way: Way,
    pub coefficients: &'t Coefficients,
    /// Their sum, exactly.
    pub divisor: &'t Sum,
    pub from: Float,
    pub to: Float,
}

/// What was met on the way.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Input values that are not finite.
    pub nonfinite_inputs: bool,
    /// Results that are not, for that reason.
    pub nonfinite: u64,
    /// Results of finite values that are too large for the type.
    pub overflows: u64,
}

impl Terms<'_> {
    /// Writes the means of a range of values to `out`.
    pub fn average(
        &self,
        values: Range<usize>,
        out: &mut [u8],
        worker: &mut Worker,
    ) -> Result<Found> {
        let mut found = Found::default();
        let size = self.to.size();
        let chunk = CHUNK / self.from.size().max(2);
        for start in values.clone().step_by(chunk) {
            let chunk = start..values.end.min(start + chunk);
            let out = &mut out[(start - values.start) * size..][..chunk.len() * size];
            if self.from == Float::F64 {
                for (i, out) in out.chunks_mut(BLOCK * size).enumerate() {
                    let at = start + i * BLOCK;
                    let all: Vec<usize> = (0..out.len() / size).collect();
                    self.exactly(at..at + all.len(), &all, out, &mut found)?;
                }
            } else if self.sources.len() <= TOGETHER {
                self.few(chunk, out, worker, &mut found)?;
            } else {
                self.many(chunk, out, worker, &mut found)?;
            }
        }
        Ok(found)
    }

    /// All inputs at once.
    fn few(
        &self,
        values: Range<usize>,
        out: &mut [u8],
        worker: &mut Worker,
        found: &mut Found,
    ) -> Result<()> {
        let Worker { buffers, sums, doubtful, left, crcs, .. } = worker;
        let inputs = self.load(self.sources, &values, buffers, crcs)?;
        let (width, size) = (self.from.size(), self.to.size());
        left.clear();
        let length = if width == 2 && self.coefficients.is_plain() {
            kernel::narrow(&inputs, self.from, self.to, out, left);
            PIECE
        } else {
            left.extend(0..values.len().div_ceil(BLOCK));
            BLOCK
        };
        for start in left.iter().map(|number| number * length) {
            let end = values.len().min(start + length);
            let mut parts = [&[][..]; TOGETHER];
            for (part, bytes) in parts.iter_mut().zip(&inputs) {
                *part = &bytes[start * width..end * width];
            }
            let parts = &parts[..inputs.len()];
            let out = &mut out[start * size..end * size];
            let sums = sums_of(sums, end - start);
            let weights = self.coefficients.weights();
            let span = kernel::accumulate(sums, true, parts, self.from, weights);
            self.finish(sums, span, out, doubtful);
            if !doubtful.is_empty() {
                let at = values.start + start;
                self.exactly(at..at + sums.len(), doubtful, out, found)?;
            }
        }
        Ok(())
    }

    /// Some inputs after the others.
    fn many(
        &self,
        values: Range<usize>,
        out: &mut [u8],
        worker: &mut Worker,
        found: &mut Found,
    ) -> Result<()> {
        let Worker { buffers, sums, doubtful, crcs, .. } = worker;
        let block = BLOCK * self.from.size();
        let sums = sums_of(sums, values.len());
        let mut spans = [Span::EMPTY; CHUNK / 2 / BLOCK];
        let groups =
            self.sources.chunks(TOGETHER).zip(self.coefficients.weights().chunks(TOGETHER));
        for (group, (sources, weights)) in groups.enumerate() {
            let crcs = crcs.get_mut(group * TOGETHER..).unwrap_or_default();
            let inputs = self.load(sources, &values, buffers, crcs)?;
            for (i, (sums, span)) in sums.chunks_mut(BLOCK).zip(&mut spans).enumerate() {
                let mut parts = [&[][..]; TOGETHER];
                for (part, bytes) in parts.iter_mut().zip(&inputs) {
                    *part = &bytes[i * block..][..sums.len() * self.from.size()];
                }
                let parts = &parts[..inputs.len()];
                let added = kernel::accumulate(sums, group == 0, parts, self.from, weights);
                *span = span.with(added);
            }
        }
        let blocks = sums.chunks(BLOCK).zip(out.chunks_mut(BLOCK * self.to.size())).zip(spans);
        for (i, ((sums, out), span)) in blocks.enumerate() {
            self.finish(sums, span, out, doubtful);
            if !doubtful.is_empty() {
                let at = values.start + i * BLOCK;
                self.exactly(at..at + sums.len(), doubtful, out, found)?;
            }
        }
        Ok(())
    }

    /// The bytes of a chunk in some sources, added to their CRCs if these are wanted. What comes from a
    /// device is read ahead.
    fn load<'b>(
        &'b self,
        sources: &[(usize, usize)],
        values: &Range<usize>,
        buffers: &'b mut [Vec<u8>],
        crcs: &mut [crc32fast::Hasher],
    ) -> Result<Vec<&'b [u8]>> {
        let width = self.from.size() as u64;
        let bytes = values.start as u64 * width..values.end as u64 * width;
        let mut parts = Vec::with_capacity(sources.len());
        for (i, (&(input, number), buffer)) in sources.iter().zip(buffers).enumerate() {
            let started = Instant::now();
            let part = match self.way {
                Way::Copied => self.inputs[input].load(number, bytes.clone(), buffer)?,
                Way::Mapped => self.inputs[input].read(number, bytes.clone(), buffer)?,
            };
            if started.elapsed() > COLD
                && let Some((file, range)) = self.inputs[input].locate(number, bytes.clone())
            {
                file.read_ahead(range.end);
            }
            if let Some(crc) = crcs.get_mut(i) {
                crc.update(part);
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// Writes the means of a block as far as they are certain; of the others, the places.
    fn finish(&self, sums: &[f64], span: Span, out: &mut [u8], doubtful: &mut Vec<usize>) {
        let (coefficients, n) = (self.coefficients, self.sources.len());
        doubtful.clear();
        if !span.is_finite() {
            return doubtful.extend(0..sums.len());
        }
        let divisor = coefficients.divisor();
        // Close to the type's largest value the exact path decides.
        if span.largest_mean(coefficients) > self.to.safe() {
            return doubtful.extend(0..sums.len());
        }
        if coefficients.divisor_is_exact() && span.proves_exact(self.from, coefficients) {
            kernel::finish_exact(sums, divisor, self.to, out);
        } else {
            let error = span.error(n, coefficients);
            kernel::finish_bounded(sums, divisor, error, self.to, out, doubtful);
        }
        if !coefficients.is_positive() {
            // The sign of a zero depends on those of the inputs alone.
            doubtful.extend((0..sums.len()).filter(|&i| sums[i] == 0.0));
        }
    }

    /// Writes the exactly rounded means of some values of a range.
    fn exactly(
        &self,
        values: Range<usize>,
        places: &[usize],
        out: &mut [u8],
        found: &mut Found,
    ) -> Result<()> {
        let (width, size) = (self.from.size(), self.to.size());
        let bytes = (values.start * width) as u64..(values.end * width) as u64;
        let mut scratches = vec![vec![]; self.sources.len()];
        let mut inputs: Vec<&[u8]> = Vec::with_capacity(self.sources.len());
        for (&(input, number), scratch) in self.sources.iter().zip(&mut scratches) {
            inputs.push(self.inputs[input].read(number, bytes.clone(), scratch)?);
        }
        let mut terms = vec![(0.0, 0.0); inputs.len()];
        for &i in places {
            let mut finite = true;
            for ((term, bytes), &weight) in
                terms.iter_mut().zip(&inputs).zip(self.coefficients.weights())
            {
                *term = (weight, self.from.decode(&bytes[i * width..][..width]));
                finite &= term.1.is_finite();
            }
            let code = exact::mean(terms.iter().copied(), self.divisor, self.to).to_le_bytes();
            out[i * size..][..size].copy_from_slice(&code[..size]);
            found.nonfinite_inputs |= !finite;
            if !self.to.decode(&code[..size]).is_finite() {
                *if finite { &mut found.overflows } else { &mut found.nonfinite } += 1;
            }
        }
        Ok(())
    }
}

/// Room for so many sums, which hold anything.
fn sums_of(sums: &mut Vec<f64>, n: usize) -> &mut [f64] {
    if sums.len() < n {
        sums.resize(n, 0.0);
    }
    &mut sums[..n]
}
