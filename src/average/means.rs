//! A run of values, from the inputs' bytes to the outputs': the fast path where it proves its results, the
//! exact one for the rest.

mod ways;

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use super::copy_or_map::Way;
use super::exact::{self, Sum};
use super::kernel::{self, BLOCK, MOST_COLUMNS, MOST_INPUTS, PIECE, Span};
use super::write_queue::Unwritten;
use super::{Coefficients, Float, OutputPlan};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::store::COLD;
use ways::{Parts, Ways, slots};

/// Bytes of each input that pass through the fast path together: worth a call, and few enough that those
/// of [`TOGETHER`] inputs stay in a core's own caches.
const CHUNK: usize = 1 << 16;

/// Inputs that are added up together.
const TOGETHER: usize = MOST_INPUTS;

/// A run of values of one group.
pub(super) struct Job {
    pub group: usize,
    /// Its values.
    pub values: Range<usize>,
    /// How many jobs the group has.
    pub count: usize,
}

/// What a thread reuses.
#[derive(Default)]
pub(super) struct Worker {
    pub scratch: Vec<u8>,
    pub unwritten: Unwritten,
    /// Of the job's part of each source; empty if none is wanted.
    pub crcs: Vec<crc32fast::Hasher>,
    buffers: Vec<Vec<u8>>,
    sums: Vec<f64>,
    doubtful: Vec<usize>,
    left: Vec<usize>,
}

/// What is averaged: the values of tensor `number` of each `input`.
pub(super) struct Terms<'t> {
    pub inputs: &'t [Checkpoint],
    /// (input, number).
    pub sources: &'t [(usize, usize)],
    /// How their bytes are read.
    pub way: Way,
    pub from: Float,
}

/// A mean of some of the terms.
pub(super) struct Mean<'t> {
    /// Which of the sources count, ascending.
    pub of: &'t [usize],
    /// Their weights.
    pub coefficients: Cow<'t, Coefficients>,
    /// The sum of these, exactly.
    pub divisor: Cow<'t, Sum>,
    pub to: Float,
    /// The results of the chunk at hand.
    pub out: Vec<u8>,
    pub found: Found,
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
    /// Computes all means of a range of values, chunk by chunk; the terms are read once for all of them. `put` takes
    /// the results of each chunk and mean as soon as they are there, while they are in a core's cache: from the
    /// front of its `out`, in their order.
    pub fn average(
        &self,
        values: Range<usize>,
        means: &mut [Mean],
        worker: &mut Worker,
        put: &mut Put,
    ) -> Result<()> {
        let chunk = chunk(self.from);
        let ways = match self.from {
            Float::F64 => None,
            _ => Some(Ways::of(means, self.from, self.sources.len())),
        };
        for start in values.clone().step_by(chunk) {
            let chunk = start..values.end.min(start + chunk);
            for mean in &mut *means {
                mean.out = worker.unwritten.buffer(chunk.len() * mean.to.size());
            }
            match &ways {
                None => {
                    for at in (0..chunk.len()).step_by(BLOCK) {
                        let block = start + at..chunk.end.min(start + at + BLOCK);
                        let all: Vec<usize> = (0..block.len()).collect();
                        for mean in &mut *means {
                            self.exactly(block.clone(), &all, mean, at)?;
                        }
                    }
                }
                Some(ways) if self.sources.len() <= TOGETHER => {
                    self.few(chunk.clone(), ways, means, worker)?;
                }
                Some(ways) => self.many(chunk.clone(), ways, means, worker)?,
            }
            for (number, mean) in means.iter_mut().enumerate() {
                put(number, mean, &chunk, &mut worker.unwritten)?;
            }
        }
        Ok(())
    }

    /// All inputs at once.
    fn few(
        &self,
        values: Range<usize>,
        ways: &Ways,
        means: &mut [Mean],
        worker: &mut Worker,
    ) -> Result<()> {
        let Worker { buffers, sums, doubtful, left, crcs, .. } = worker;
        let inputs = self.load(self.sources, &values, buffers, crcs)?;
        let (width, n) = (self.from.size(), values.len());
        for &m in &ways.narrow {
            let mean = &mut means[m];
            let mut own = [&[][..]; TOGETHER];
            own.iter_mut().zip(mean.of).for_each(|(own, &source)| *own = inputs[source]);
            let inputs = &own[..mean.of.len()];
            left.clear();
            let out = &mut mean.out[..n * mean.to.size()];
            kernel::narrow(inputs, self.from, mean.to, out, left);
            for start in left.iter().map(|number| number * PIECE) {
                let end = n.min(start + PIECE);
                let parts = Parts::without_spans(inputs, start * width..end * width, self.from);
                let sums = sums_of(sums, end - start);
                let weights = mean.coefficients.weights();
                let span = parts.add(0..inputs.len(), sums, true, weights);
                let block = values.start + start..values.start + end;
                self.finish(mean, sums, span, block, start, doubtful)?;
            }
        }
        if ways.sums() == 0 {
            return Ok(());
        }
        // Block by block, whose sums stay in the innermost cache.
        let sums = sums_of(sums, ways.sums() * BLOCK);
        for start in (0..n).step_by(BLOCK) {
            let end = n.min(start + BLOCK);
            let parts = ways.parts(&inputs, start * width..end * width, self.from);
            let (first, others) = sums.split_at_mut(if ways.chain.is_empty() { 0 } else { BLOCK });
            let block = values.start + start..values.start + end;
            let sources = 0..inputs.len();
            let (mut span, first) =
                (Span::EMPTY, &mut first[..if ways.chain.is_empty() { 0 } else { end - start }]);
            self.chain(
                ways,
                means,
                &parts,
                &sources,
                first,
                &mut span,
                (block.clone(), start),
                doubtful,
            )?;
            for (columns, sums) in ways.columns.iter().zip(others.chunks_mut(BLOCK * MOST_COLUMNS))
            {
                let mut spans = [Span::EMPTY; MOST_COLUMNS];
                let mut own = slots(sums, BLOCK, 0..end - start);
                columns.add(means, &parts, &sources, &mut own, &mut spans);
                for ((&m, sums), span) in columns.means.iter().zip(own).zip(spans) {
                    self.finish(&mut means[m], sums, span, block.clone(), start, doubtful)?;
                }
            }
        }
        Ok(())
    }

    /// Some inputs after the others.
    fn many(
        &self,
        values: Range<usize>,
        ways: &Ways,
        means: &mut [Mean],
        worker: &mut Worker,
    ) -> Result<()> {
        let Worker { buffers, sums, doubtful, crcs, .. } = worker;
        let (width, n) = (self.from.size(), values.len());
        let blocks = n.div_ceil(BLOCK);
        let sums = sums_of(sums, ways.sums() * n);
        let (first, others) = sums.split_at_mut(if ways.chain.is_empty() { 0 } else { n });
        let mut chain_spans = vec![Span::EMPTY; blocks];
        let mut spans = vec![[Span::EMPTY; MOST_COLUMNS]; ways.columns.len() * blocks];
        for (group, sources) in self.sources.chunks(TOGETHER).enumerate() {
            let crcs = crcs.get_mut(group * TOGETHER..).unwrap_or_default();
            let inputs = self.load(sources, &values, buffers, crcs)?;
            let sources = group * TOGETHER..group * TOGETHER + sources.len();
            for i in 0..blocks {
                let block = i * BLOCK..n.min((i + 1) * BLOCK);
                let parts = ways.parts(&inputs, block.start * width..block.end * width, self.from);
                let of = (values.start + block.start..values.start + block.end, block.start);
                let first = if first.is_empty() { &mut [] } else { &mut first[block.clone()] };
                self.chain(
                    ways,
                    means,
                    &parts,
                    &sources,
                    first,
                    &mut chain_spans[i],
                    of,
                    doubtful,
                )?;
                let groups = ways.columns.iter().zip(others.chunks_mut(n * MOST_COLUMNS));
                for (c, (columns, sums)) in groups.enumerate() {
                    let mut own = slots(sums, n, block.clone());
                    columns.add(means, &parts, &sources, &mut own, &mut spans[c * blocks + i]);
                }
            }
        }
        for (c, (columns, sums)) in
            ways.columns.iter().zip(others.chunks(n * MOST_COLUMNS)).enumerate()
        {
            for (slot, (&m, sums)) in columns.means.iter().zip(sums.chunks(n)).enumerate() {
                for (i, sums) in sums.chunks(BLOCK).enumerate() {
                    let (at, span) = (i * BLOCK, spans[c * blocks + i][slot]);
                    let block = values.start + at..values.start + at + sums.len();
                    self.finish(&mut means[m], sums, span, block, at, doubtful)?;
                }
            }
        }
        Ok(())
    }

    /// Goes on with the sum that the means of the chain share, over the block of these sources; those that end here
    /// are finished.
    #[allow(clippy::too_many_arguments)]
    fn chain(
        &self,
        ways: &Ways,
        means: &mut [Mean],
        parts: &Parts,
        sources: &Range<usize>,
        sums: &mut [f64],
        span: &mut Span,
        (block, at): (Range<usize>, usize),
        doubtful: &mut Vec<usize>,
    ) -> Result<()> {
        const ONES: [f64; TOGETHER] = [1.0; TOGETHER];
        let mut next = sources.start;
        let mut go_on = |until: usize, sums: &mut [f64]| {
            if until > next {
                let of = next - sources.start..until - sources.start;
                let more = parts.add(of, sums, next == 0, &ONES[..until - next]);
                *span = span.with(more);
                next = until;
            }
            *span
        };
        for &m in &ways.chain {
            let length = means[m].of.len();
            if length <= sources.start {
                continue;
            }
            let span = go_on(length.min(sources.end), sums);
            if length > sources.end {
                break;
            }
            self.finish(&mut means[m], sums, span, block.clone(), at, doubtful)?;
        }
        Ok(())
    }

    /// Writes the means of a block to place `at`, those that are not certain by the exact path.
    fn finish(
        &self,
        mean: &mut Mean,
        sums: &[f64],
        span: Span,
        block: Range<usize>,
        at: usize,
        doubtful: &mut Vec<usize>,
    ) -> Result<()> {
        mean.finish(sums, span, self.from, at, doubtful);
        if doubtful.is_empty() { Ok(()) } else { self.exactly(block, doubtful, mean, at) }
    }

    /// The bytes of a chunk in some sources, added to their CRCs if these are wanted. What comes from a
    /// device is read ahead.
    fn load<'b>(
        &'b self,
        sources: &[(usize, usize)],
        values: &Range<usize>,
        buffers: &'b mut Vec<Vec<u8>>,
        crcs: &mut [crc32fast::Hasher],
    ) -> Result<Vec<&'b [u8]>> {
        if buffers.len() < sources.len() {
            buffers.resize(sources.len(), vec![]);
        }
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

    /// Writes the exactly rounded means of some values of a block, of which the first goes to place `at`.
    fn exactly(
        &self,
        block: Range<usize>,
        places: &[usize],
        mean: &mut Mean,
        at: usize,
    ) -> Result<()> {
        let (width, size) = (self.from.size(), mean.to.size());
        let bytes = (block.start * width) as u64..(block.end * width) as u64;
        let mut scratches = vec![vec![]; mean.of.len()];
        let mut inputs: Vec<&[u8]> = Vec::with_capacity(mean.of.len());
        for (&source, scratch) in mean.of.iter().zip(&mut scratches) {
            let (input, number) = self.sources[source];
            inputs.push(self.inputs[input].read(number, bytes.clone(), scratch)?);
        }
        let mut terms = vec![(0.0, 0.0); inputs.len()];
        let weights = mean.coefficients.weights();
        for &i in places {
            let mut finite = true;
            for ((term, bytes), &weight) in terms.iter_mut().zip(&inputs).zip(weights) {
                *term = (weight, self.from.decode(&bytes[i * width..][..width]));
                finite &= term.1.is_finite();
            }
            let code = exact::mean(terms.iter().copied(), &mean.divisor, mean.to).to_le_bytes();
            mean.out[(at + i) * size..][..size].copy_from_slice(&code[..size]);
            let found = &mut mean.found;
            found.nonfinite_inputs |= !finite;
            if !mean.to.decode(&code[..size]).is_finite() {
                *if finite { &mut found.overflows } else { &mut found.nonfinite } += 1;
            }
        }
        Ok(())
    }
}

/// Takes the results of a chunk: the number of the mean, the mean, and which values they are.
pub(super) type Put<'p> =
    dyn FnMut(usize, &mut Mean, &Range<usize>, &mut Unwritten) -> Result<()> + 'p;

/// Values of a type that pass through together.
pub(super) fn chunk(from: Float) -> usize {
    CHUNK / from.size().max(2)
}

/// Bytes of sums that a value of an output takes, made of so many inputs: those of many inputs are kept while a chunk
/// of the next is read. Means of the first inputs share theirs.
pub(super) fn sums_a_value(output: &OutputPlan, inputs: usize) -> u64 {
    let rows = output.rows();
    let is_first = rows.last().is_some_and(|last| last + 1 == rows.len());
    let shares = output.coefficients().is_plain() && is_first;
    if inputs > TOGETHER && !shares { size_of::<f64>() as u64 } else { 0 }
}

impl Mean<'_> {
    /// Writes the means of a block, as far as they are certain, from place `at` on; the places of the others
    /// become `doubtful`.
    fn finish(
        &mut self,
        sums: &[f64],
        span: Span,
        from: Float,
        at: usize,
        doubtful: &mut Vec<usize>,
    ) {
        let (coefficients, to) = (&*self.coefficients, self.to);
        let out = &mut self.out[at * to.size()..][..sums.len() * to.size()];
        doubtful.clear();
        if !span.is_finite() {
            return doubtful.extend(0..sums.len());
        }
        let divisor = coefficients.divisor();
        // Close to the type's largest value the exact path decides.
        if span.largest_mean(coefficients) > to.safe() {
            return doubtful.extend(0..sums.len());
        }
        if coefficients.divisor_is_exact() && span.proves_exact(from, coefficients) {
            kernel::finish_exact(sums, divisor, to, out);
        } else {
            let error = span.error(self.of.len(), coefficients);
            kernel::finish_bounded(sums, divisor, error, to, out, doubtful);
        }
        if !coefficients.is_positive() {
            // The sign of a zero depends on those of the inputs alone.
            doubtful.extend((0..sums.len()).filter(|&i| sums[i] == 0.0));
        }
    }
}

/// Room for so many sums, which hold anything.
fn sums_of(sums: &mut Vec<f64>, n: usize) -> &mut [f64] {
    if sums.len() < n {
        sums.resize(n, 0.0);
    }
    &mut sums[..n]
}
