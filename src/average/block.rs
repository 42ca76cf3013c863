//! A run of values, from the inputs' bytes to the output's: the fast path where it proves its results,
//! the exact one for the rest.

use std::ops::Range;

use super::exact::{self, Sum};
use super::kernel::{self, BLOCK, Span};
use super::{Coefficients, Float};
use crate::Result;
use crate::checkpoint::Checkpoint;

/// Values that pass through the fast path together: their sums stay in a core's inner caches while the
/// inputs pass by.
const CHUNK: usize = 8 * BLOCK;

/// What a thread reuses.
pub(super) struct Worker {
    pub divisor: Sum,
    pub scratch: Vec<u8>,
    pub out: Vec<u8>,
    sums: Vec<f64>,
    doubtful: Vec<usize>,
}

impl Worker {
    pub fn new(coefficients: &Coefficients, divisor: Sum) -> Self {
        debug_assert!(!coefficients.weights().is_empty());
        let (scratch, out, doubtful) = (vec![], vec![], vec![]);
        Worker { divisor, scratch, out, sums: vec![0.0; CHUNK], doubtful }
    }
}

/// What is averaged: tensor `number` of each `input`, and how.
pub(super) struct Terms<'t> {
    pub inputs: &'t [Checkpoint],
    /// (input, number), as many as there are weights.
    pub sources: &'t [(usize, usize)],
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
        for start in values.clone().step_by(CHUNK) {
            let chunk = start..values.end.min(start + CHUNK);
            let out = &mut out[(start - values.start) * size..][..chunk.len() * size];
            if self.from == Float::F64 {
                for (i, out) in out.chunks_mut(BLOCK * size).enumerate() {
                    let at = start + i * BLOCK;
                    let all: Vec<usize> = (0..out.len() / size).collect();
                    self.exactly(at..at + all.len(), &all, out, &mut found)?;
                }
            } else {
                self.fast(chunk, out, worker, &mut found)?;
            }
        }
        Ok(found)
    }

    fn fast(
        &self,
        values: Range<usize>,
        out: &mut [u8],
        worker: &mut Worker,
        found: &mut Found,
    ) -> Result<()> {
        let Worker { scratch, sums, doubtful, .. } = worker;
        let sums = &mut sums[..values.len()];
        sums.fill(-0.0); // the neutral element: 0 would turn a mean of −0 into +0
        let mut spans = [Span::EMPTY; CHUNK / BLOCK];
        let width = self.from.size();
        let bytes = (values.start * width) as u64..(values.end * width) as u64;
        let terms = self.sources.iter().zip(self.coefficients.weights()).enumerate();
        for (source, (&(input, number), &weight)) in terms {
            let bytes = self.inputs[input].read(number, bytes.clone(), scratch)?;
            let next_input = self.peek(source + 1, values.start, width);
            let mut blocks = bytes.chunks(BLOCK * width).peekable();
            for (sums, span) in sums.chunks_mut(BLOCK).zip(&mut spans) {
                let block = blocks.next().unwrap_or_default();
                kernel::prefetch(blocks.peek().copied().unwrap_or(next_input));
                *span = span.with(kernel::accumulate(sums, block, self.from, weight));
            }
        }
        let size = self.to.size();
        let blocks = sums.chunks(BLOCK).zip(out.chunks_mut(BLOCK * size)).zip(&spans).enumerate();
        for (i, ((sums, out), span)) in blocks {
            let (coefficients, n) = (self.coefficients, self.sources.len());
            doubtful.clear();
            if !span.is_finite() {
                doubtful.extend(0..sums.len());
            } else {
                let divisor = coefficients.divisor();
                if coefficients.divisor_is_exact() && span.proves_exact(self.from, coefficients) {
                    kernel::finish_exact(sums, divisor, self.to, out);
                } else {
                    let error = span.error(n, coefficients);
                    kernel::finish_bounded(sums, divisor, error, self.to, out, doubtful);
                }
                // Close to the type's largest value the exact path decides.
                if span.largest_mean(coefficients) > self.to.safe() {
                    doubtful.clear();
                    doubtful.extend(0..sums.len());
                }
            }
            if !coefficients.is_positive() {
                // The sign of a zero depends on those of the inputs alone.
                doubtful.extend((0..sums.len()).filter(|&i| sums[i] == 0.0));
            }
            if !doubtful.is_empty() {
                let at = values.start + i * BLOCK;
                self.exactly(at..at + sums.len(), doubtful, out, found)?;
            }
        }
        Ok(())
    }

    /// The first block of a chunk in the source after, as far as it is there and mapped.
    fn peek(&self, source: usize, start: usize, width: usize) -> &[u8] {
        let Some(&(input, number)) = self.sources.get(source) else { return &[] };
        let bytes = (start * width) as u64..((start + BLOCK) * width) as u64;
        let Some((file, range)) = self.inputs[input].locate(number, bytes) else { return &[] };
        let mapped = file.mapped();
        &mapped[mapped.len().min(range.start as usize)..mapped.len().min(range.end as usize)]
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
