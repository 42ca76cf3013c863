//! A run of values, from the inputs' bytes to the outputs': the fast path where it proves its results, the
//! exact one for the rest.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Instant;

use super::copy_or_map::Way;
use super::exact::{self, Sum};
use super::kernel::{self, BLOCK, MOST_INPUTS, PIECE, Span};
use super::write_queue::Unwritten;
use super::{Coefficients, Float};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::store::COLD;

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
    /// Gets the results.
    pub out: &'t mut [u8],
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
    /// Computes all means of a range of values; the terms are read once for all of them.
    pub fn average(
        &self,
        values: Range<usize>,
        means: &mut [Mean],
        worker: &mut Worker,
    ) -> Result<()> {
        let chunk = CHUNK / self.from.size().max(2);
        for start in values.clone().step_by(chunk) {
            let chunk = start..values.end.min(start + chunk);
            let at = start - values.start;
            if self.from == Float::F64 {
                for at in (at..at + chunk.len()).step_by(BLOCK) {
                    let block = values.start + at..chunk.end.min(values.start + at + BLOCK);
                    let all: Vec<usize> = (0..block.len()).collect();
                    for mean in &mut *means {
                        self.exactly(block.clone(), &all, mean, at)?;
                    }
                }
            } else if self.sources.len() <= TOGETHER {
                self.few(chunk, at, means, worker)?;
            } else {
                self.many(chunk, at, means, worker)?;
            }
        }
        Ok(())
    }

    /// All inputs at once. The results go to place `at` of each mean.
    fn few(
        &self,
        values: Range<usize>,
        at: usize,
        means: &mut [Mean],
        worker: &mut Worker,
    ) -> Result<()> {
        let Worker { buffers, sums, doubtful, left, crcs, .. } = worker;
        let inputs = self.load(self.sources, &values, buffers, crcs)?;
        let (width, n) = (self.from.size(), values.len());
        let (several, mut wide) = (means.len() > 1, false);
        for mean in &mut *means {
            let is_narrow = width == 2 && mean.coefficients.is_plain();
            if several && !is_narrow {
                wide = true;
                continue;
            }
            let mut own = [&[][..]; TOGETHER];
            own.iter_mut().zip(mean.of).for_each(|(own, &source)| *own = inputs[source]);
            let inputs = &own[..mean.of.len()];
            left.clear();
            let length = if is_narrow {
                let out = &mut mean.out[at * mean.to.size()..][..n * mean.to.size()];
                kernel::narrow(inputs, self.from, mean.to, out, left);
                PIECE
            } else {
                left.extend(0..n.div_ceil(BLOCK));
                BLOCK
            };
            for start in left.iter().map(|number| number * length) {
                let end = n.min(start + length);
                let mut parts = [&[][..]; TOGETHER];
                for (part, bytes) in parts.iter_mut().zip(inputs) {
                    *part = &bytes[start * width..end * width];
                }
                let parts = &parts[..inputs.len()];
                let sums = sums_of(sums, end - start);
                let weights = mean.coefficients.weights();
                let span = kernel::accumulate(sums, true, parts, self.from, weights);
                let block = values.start + start..values.start + end;
                self.finish(mean, sums, span, block, at + start, doubtful)?;
            }
        }
        if !wide {
            return Ok(());
        }
        // Several means of the same inputs, block by block: each input's span is found once.
        for start in (0..n).step_by(BLOCK) {
            let end = n.min(start + BLOCK);
            let parts = Parts::of(&inputs, start * width..end * width, self.from);
            let sums = sums_of(sums, end - start);
            for mean in &mut *means {
                if width == 2 && mean.coefficients.is_plain() {
                    continue;
                }
                let weights = mean.coefficients.weights();
                let span = parts.add(mean.of.iter().copied(), sums, true, weights);
                let block = values.start + start..values.start + end;
                self.finish(mean, sums, span, block, at + start, doubtful)?;
            }
        }
        Ok(())
    }

    /// Some inputs after the others. The results go to place `at` of each mean.
    fn many(
        &self,
        values: Range<usize>,
        at: usize,
        means: &mut [Mean],
        worker: &mut Worker,
    ) -> Result<()> {
        let Worker { buffers, sums, doubtful, crcs, .. } = worker;
        let (width, n) = (self.from.size(), values.len());
        // Of each mean: its sums, the spans of their blocks, and how many inputs are in them.
        let sums = sums_of(sums, means.len() * n);
        let blocks = n.div_ceil(BLOCK);
        let mut spans = vec![Span::EMPTY; means.len() * blocks];
        let mut added = vec![0; means.len()];
        for (group, sources) in self.sources.chunks(TOGETHER).enumerate() {
            let crcs = crcs.get_mut(group * TOGETHER..).unwrap_or_default();
            let inputs = self.load(sources, &values, buffers, crcs)?;
            let sources = group * TOGETHER..group * TOGETHER + sources.len();
            // Which inputs of each mean are among these.
            let more = means.iter().zip(&added).map(|(mean, &first)| {
                first..mean.of.partition_point(|&source| source < sources.end)
            });
            let more: Vec<Range<usize>> = more.collect();
            for i in 0..blocks {
                let block = i * BLOCK..n.min((i + 1) * BLOCK);
                let bytes = block.start * width..block.end * width;
                let parts = match means.len() {
                    1 => Parts::without_spans(&inputs, bytes, self.from),
                    _ => Parts::of(&inputs, bytes, self.from),
                };
                for (m, mean) in means.iter().enumerate().filter(|(m, _)| !more[*m].is_empty()) {
                    let weights = &mean.coefficients.weights()[more[m].clone()];
                    let of = mean.of[more[m].clone()].iter().map(|source| source - sources.start);
                    let sums = &mut sums[m * n..][block.clone()];
                    let span = parts.add(of, sums, added[m] == 0, weights);
                    let so_far = &mut spans[m * blocks + i];
                    *so_far = so_far.with(span);
                }
            }
            added.iter_mut().zip(more).for_each(|(added, more)| *added = more.end);
        }
        for (m, mean) in means.iter_mut().enumerate() {
            let sums = sums[m * n..][..n].chunks(BLOCK);
            for (i, (sums, &span)) in sums.zip(&spans[m * blocks..]).enumerate() {
                let start = i * BLOCK;
                let block = values.start + start..values.start + start + sums.len();
                self.finish(mean, sums, span, block, at + start, doubtful)?;
            }
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

/// The same block of some inputs.
struct Parts<'b> {
    parts: [&'b [u8]; TOGETHER],
    /// Of each, if they are shared by several means.
    spans: Option<[Span; TOGETHER]>,
    from: Float,
}

impl<'b> Parts<'b> {
    fn without_spans(inputs: &[&'b [u8]], bytes: Range<usize>, from: Float) -> Self {
        let mut parts = [&[][..]; TOGETHER];
        parts.iter_mut().zip(inputs).for_each(|(part, input)| *part = &input[bytes.clone()]);
        Parts { parts, spans: None, from }
    }

    fn of(inputs: &[&'b [u8]], bytes: Range<usize>, from: Float) -> Self {
        let parts = Self::without_spans(inputs, bytes, from);
        let mut spans = [Span::EMPTY; TOGETHER];
        for (span, part) in spans.iter_mut().zip(&parts.parts[..inputs.len()]) {
            *span = kernel::span(part, from);
        }
        Parts { spans: Some(spans), ..parts }
    }

    /// Adds some of them to the sums; returns their span.
    fn add(
        &self,
        of: impl Iterator<Item = usize>,
        sums: &mut [f64],
        is_new: bool,
        weights: &[f64],
    ) -> Span {
        let (mut own, mut span) = ([&[][..]; TOGETHER], Span::EMPTY);
        for (own, source) in own.iter_mut().zip(of) {
            *own = self.parts[source];
            if let Some(spans) = &self.spans {
                span = span.with(spans[source]);
            }
        }
        let own = &own[..weights.len()];
        if self.spans.is_none() {
            return kernel::accumulate(sums, is_new, own, self.from, weights);
        }
        kernel::add(sums, is_new, own, self.from, weights);
        span
    }
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
