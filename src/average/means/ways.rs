//! Which sums are made together: for each mean the cheapest way that proves it.

use std::ops::Range;

use super::super::Float;
use super::super::kernel::{self, MOST_COLUMNS, Span};
use super::{Mean, TOGETHER};

/// How each mean is computed: a mean is in one of these.
pub(super) struct Ways {
    /// In f32, each for itself.
    pub narrow: Vec<usize>,
    /// Plain means of the first so many sources, the fewest first: each goes on with the sum of the one before.
    pub chain: Vec<usize>,
    /// Others, some at a time.
    pub columns: Vec<Columns>,
}

impl Ways {
    pub fn of(means: &[Mean], from: Float, sources: usize) -> Self {
        let is_plain = |m: &usize| means[*m].coefficients.is_plain();
        let (narrow, wide): (Vec<usize>, _) =
            (0..means.len()).partition(|m| from.size() == 2 && sources <= TOGETHER && is_plain(m));
        let is_first =
            |m: &usize| means[*m].of.last().is_some_and(|last| last + 1 == means[*m].of.len());
        let (mut chain, mut others): (Vec<usize>, Vec<usize>) =
            wide.into_iter().partition(|m| is_plain(m) && is_first(m));
        // A single one costs less among others.
        if chain.len() == 1 && !others.is_empty() {
            others.append(&mut chain);
            others.sort_unstable();
        }
        chain.sort_by_key(|&m| means[m].of.len());
        let columns = others.chunks(MOST_COLUMNS).map(|some| Columns::of(means, some, sources));
        Ways { narrow, chain, columns: columns.collect() }
    }

    /// How many sums of a value are kept at a time.
    pub fn sums(&self) -> usize {
        let of_columns = self.columns.iter().map(|columns| columns.means.len()).sum::<usize>();
        of_columns + usize::from(!self.chain.is_empty())
    }

    pub fn parts<'b>(&self, inputs: &[&'b [u8]], bytes: Range<usize>, from: Float) -> Parts<'b> {
        match self.sums() {
            1 => Parts::without_spans(inputs, bytes, from),
            _ => Parts::of(inputs, bytes, from),
        }
    }
}

/// A few means whose sums are made together.
pub(super) struct Columns {
    pub means: Vec<usize>,
    runs: Vec<Run>,
}

/// Consecutive sources that all count in the same means.
struct Run {
    sources: Range<usize>,
    /// Which of the means these are, and the number of the first of the weights in each.
    of: Vec<(usize, usize)>,
}

impl Columns {
    fn of(means: &[Mean], some: &[usize], sources: usize) -> Self {
        let mut runs: Vec<Run> = vec![];
        for source in 0..sources {
            let place = |(slot, &m): (usize, &usize)| {
                Some((slot, means[m].of.binary_search(&source).ok()?))
            };
            let of: Vec<(usize, usize)> = some.iter().enumerate().filter_map(place).collect();
            let slots =
                |of: &[(usize, usize)]| of.iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
            match runs.last_mut() {
                // Runs end where inputs that are loaded together do.
                Some(run) if source % TOGETHER != 0 && slots(&run.of) == slots(&of) => {
                    run.sources.end += 1
                }
                _ => runs.push(Run { sources: source..source + 1, of }),
            }
        }
        runs.retain(|run| !run.of.is_empty());
        Columns { means: some.to_vec(), runs }
    }

    /// Adds the block of these sources to the sums, and their spans to the spans.
    pub fn add(
        &self,
        means: &[Mean],
        parts: &Parts,
        sources: &Range<usize>,
        sums: &mut [&mut [f64]; MOST_COLUMNS],
        spans: &mut [Span; MOST_COLUMNS],
    ) {
        for run in self.runs.iter().filter(|run| sources.contains(&run.sources.start)) {
            let own = run.sources.start - sources.start..run.sources.end - sources.start;
            let weights = |slot: usize, first: usize| {
                &means[self.means[slot]].coefficients.weights()[first..first + own.len()]
            };
            if let [(slot, first)] = run.of[..] {
                let span = parts.add(own.clone(), sums[slot], first == 0, weights(slot, first));
                spans[slot] = spans[slot].with(span);
                continue;
            }
            let is_new = run.of.iter().all(|(_, first)| *first == 0);
            let mut weights_of = [&[][..]; MOST_COLUMNS];
            let mut sums_of: [&mut [f64]; MOST_COLUMNS] = Default::default();
            let mut rest = sums.iter_mut().enumerate();
            let span = parts.span(own.clone());
            for (i, &(slot, first)) in run.of.iter().enumerate() {
                let (_, sum) = rest.find(|(other, _)| *other == slot).expect("slots ascend");
                if first == 0 && !is_new {
                    sum.fill(-0.0); // the neutral element
                }
                (sums_of[i], weights_of[i]) = (sum, weights(slot, first));
                spans[slot] = spans[slot].with(span);
            }
            let count = run.of.len();
            let inputs = &parts.parts[own];
            kernel::add_columns(
                &mut sums_of[..count],
                is_new,
                inputs,
                parts.from,
                &weights_of[..count],
            );
        }
    }
}

/// A range of each of some sums, which lie `stride` apart.
pub(super) fn slots(
    sums: &mut [f64],
    stride: usize,
    range: Range<usize>,
) -> [&mut [f64]; MOST_COLUMNS] {
    let mut slots: [&mut [f64]; MOST_COLUMNS] = Default::default();
    for (slot, sums) in slots.iter_mut().zip(sums.chunks_mut(stride)) {
        *slot = &mut sums[range.clone()];
    }
    slots
}

/// The same block of some inputs.
pub(super) struct Parts<'b> {
    parts: [&'b [u8]; TOGETHER],
    /// Of each, if they are shared by several means.
    spans: Option<[Span; TOGETHER]>,
    from: Float,
}

impl<'b> Parts<'b> {
    pub fn without_spans(inputs: &[&'b [u8]], bytes: Range<usize>, from: Float) -> Self {
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

    /// The span of some of them, which are known.
    fn span(&self, of: Range<usize>) -> Span {
        let spans = self.spans.as_ref().expect("several means share the spans");
        spans[of].iter().fold(Span::EMPTY, |all, span| all.with(*span))
    }

    /// Adds some of them to the sums; returns their span.
    pub fn add(&self, of: Range<usize>, sums: &mut [f64], is_new: bool, weights: &[f64]) -> Span {
        let own = &self.parts[of.clone()];
        if self.spans.is_none() {
            return kernel::accumulate(sums, is_new, own, self.from, weights);
        }
        kernel::add(sums, is_new, own, self.from, weights);
        self.span(of)
    }
}
