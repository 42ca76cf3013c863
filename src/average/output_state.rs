//! What a pass gathers of one output, and where its bytes go.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use super::exact::{self, Sum};
use super::plan::Member;
use super::write_queue::{Unwritten, WriteQueue};
use super::{Float, OutputPlan};
use crate::Result;
use crate::checkpoint::checksum::{Checksum, RunningChecksum};
use crate::output::{Destination, Scatter, Sink};
use crate::sync::lock;

/// Where an output's bytes go.
pub(super) struct Place<'p> {
    pub sink: &'p dyn Sink,
    pub files: usize,
    /// For each tensor: a place, or one in each file that has a piece of it, or none if it is not written.
    pub tensors: Vec<Vec<TensorPlace<'p>>>,
    /// Which values of each tensor are written, where not all are.
    pub wanted: Option<Vec<Range<u64>>>,
}

/// Where a tensor goes.
pub(super) struct TensorPlace<'p> {
    /// Number of the file in the sink.
    pub file: usize,
    pub to: Destination<'p>,
    /// What is added up of its bytes on the way.
    pub checksum: Option<Checksum>,
}

/// An output on its way, and what is gathered of it.
pub(super) struct OutputState<'p, 'a> {
    pub plan: &'p OutputPlan<'a>,
    /// The sum of the weights, exactly.
    pub divisor: Sum,
    /// Empty if nothing is written.
    pub tensors: &'p [Vec<TensorPlace<'p>>],
    /// Number of its first file in the queue.
    first_file: usize,
    /// Of each tensor's bytes.
    sums: Mutex<Vec<u128>>,
    scatter: Scatter,
    /// How many values that are not finite a tensor has.
    nonfinite: Mutex<HashMap<usize, u64>>,
}

/// What was gathered of an output.
pub(super) struct Gathered {
    /// The checksum of each tensor's bytes, for those that want one.
    pub sums: Vec<u128>,
    /// Tensors with values that are not finite, and how many.
    pub nonfinite: Vec<(usize, u64)>,
}

impl<'p, 'a> OutputState<'p, 'a> {
    /// `first_file`: number of the output's first file in the queue.
    pub fn new(plan: &'p OutputPlan<'a>, place: Option<&'p Place<'p>>, first_file: usize) -> Self {
        OutputState {
            plan,
            divisor: exact::divisor(plan.coefficients().weights()),
            tensors: place.map_or(&[][..], |place| &place.tensors),
            first_file,
            sums: Mutex::new(vec![0; plan.tensors().len()]),
            scatter: Scatter::default(),
            nonfinite: Mutex::default(),
        }
    }

    pub fn finish(self) -> Gathered {
        let mut nonfinite: Vec<_> = lock(&self.nonfinite).drain().collect();
        nonfinite.sort();
        Gathered { sums: std::mem::take(&mut *lock(&self.sums)), nonfinite }
    }

    /// Notes more values of a tensor that are not finite.
    pub fn count_nonfinite(&self, tensor: usize, values: u64) {
        *lock(&self.nonfinite).entry(tensor).or_default() += values;
    }

    /// Type of the values that a tensor has here.
    pub fn to(&self, member: &Member) -> Float {
        let dtype = self.plan.tensors()[member.tensor()].dtype;
        Float::of(dtype).expect("planned as a float")
    }

    /// What is added up of a tensor's bytes, if anything. Tensors in several places have no checksum of their own.
    fn kind(&self, tensor: usize) -> Option<Checksum> {
        self.tensors.get(tensor)?.first()?.checksum
    }

    /// Adds a part of a tensor, from byte `at` on, to its checksum.
    pub fn sum(&self, tensor: usize, at: u64, bytes: &[u8]) {
        if let Some(kind) = self.kind(tensor) {
            let part = kind.of_part(at, bytes, self.plan.output_size(tensor));
            let sum = &mut lock(&self.sums)[tensor];
            *sum = kind.add(*sum, part);
        }
    }

    /// The checksum of a part of a tensor that begins at byte `at`, a block's boundary. None: none is wanted.
    pub fn checksum(&self, tensor: usize, at: u64) -> Option<RunningChecksum> {
        let kind = self.kind(tensor)?;
        Some(RunningChecksum::new(kind, at, self.plan.output_size(tensor)))
    }

    /// Adds the checksum of a part.
    pub fn add_checksum(&self, tensor: usize, part: u128) {
        if let Some(kind) = self.kind(tensor) {
            let sum = &mut lock(&self.sums)[tensor];
            *sum = kind.add(*sum, part);
        }
    }

    /// Writes the first bytes of a buffer as the part of a tensor from byte `at` on, now or later.
    pub fn write(
        &self,
        queue: &WriteQueue,
        tensor: usize,
        at: u64,
        (buffer, length): (Vec<u8>, usize),
        unwritten: &mut Unwritten,
    ) -> Result<()> {
        if let [TensorPlace { to: Destination::Row(offset), file, .. }] = self.tensors[tensor][..] {
            let file = self.first_file + file;
            return queue.write_later(file, (buffer, length), offset + at, unwritten);
        }
        self.put(queue, tensor, at, &buffer[..length])?;
        unwritten.reuse(buffer);
        Ok(())
    }

    /// Writes the part of a tensor from byte `at` on, wherever it goes, at once.
    pub fn put(&self, queue: &WriteQueue, tensor: usize, at: u64, part: &[u8]) -> Result<()> {
        for place in &self.tensors[tensor] {
            queue.alone(self.first_file + place.file, |sink, file| match place.to {
                Destination::Row(offset) => sink.write_at(file, part, offset + at),
                Destination::Scattered(gather) => {
                    self.scatter.put(sink, file, tensor, gather, at, part)
                }
                Destination::Pieces(gather, number) => {
                    let mut put = |offset, piece: &[u8]| sink.write_at(file, piece, offset);
                    gather.pieces(number, at, part, &mut put)
                }
            })?;
        }
        Ok(())
    }
}
