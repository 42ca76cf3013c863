//! What a pass gathers of one output, and where its bytes go.

use std::collections::HashMap;
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
    /// For each tensor.
    pub tensors: Vec<TensorPlace<'p>>,
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
    pub tensors: &'p [TensorPlace<'p>],
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

    /// Number of a tensor's file in the queue.
    pub fn file(&self, tensor: usize) -> usize {
        self.first_file + self.tensors[tensor].file
    }

    /// Adds a part of a tensor, from byte `at` on, to its checksum.
    pub fn sum(&self, tensor: usize, at: u64, bytes: &[u8]) {
        if let Some(kind) = self.tensors[tensor].checksum {
            let part = kind.of_part(at, bytes, self.plan.output_size(tensor));
            let sum = &mut lock(&self.sums)[tensor];
            *sum = kind.add(*sum, part);
        }
    }

    /// The checksum of a part of a tensor that begins at byte `at`, a block's boundary. None: none is wanted.
    pub fn checksum(&self, tensor: usize, at: u64) -> Option<RunningChecksum> {
        // Nothing is written.
        let kind = self.tensors.get(tensor)?.checksum?;
        Some(RunningChecksum::new(kind, at, self.plan.output_size(tensor)))
    }

    /// Adds the checksum of a part.
    pub fn add_checksum(&self, tensor: usize, part: u128) {
        if let Some(kind) = self.tensors[tensor].checksum {
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
        if let Destination::Row(offset) = self.tensors[tensor].to {
            let file = self.file(tensor);
            return queue.write_later(file, (buffer, length), offset + at, unwritten);
        }
        self.put(queue, tensor, at, &buffer[..length])?;
        unwritten.reuse(buffer);
        Ok(())
    }

    /// Takes a part of a tensor whose values do not lie in a row.
    pub fn put(&self, queue: &WriteQueue, tensor: usize, at: u64, part: &[u8]) -> Result<()> {
        let Destination::Scattered(gather) = self.tensors[tensor].to else {
            unreachable!("its values lie in a row")
        };
        queue.alone(self.file(tensor), |sink, file| {
            self.scatter.put(sink, file, tensor, gather, at, part)
        })
    }
}
