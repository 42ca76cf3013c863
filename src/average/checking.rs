//! The inputs' checksums, compared in the pass that averages them.

use std::ops::Range;

use super::Float;
use super::block::Worker;
use super::plan::Rule;
use super::stream::{Job, Stream, lock};
use crate::Result;
use crate::tensors::checksum::Checksum;

/// What is known of a tensor in flight.
pub(super) struct Checking {
    /// Jobs of the tensor that are not done.
    left: usize,
    /// By input.
    sums: Vec<u128>,
}

impl Stream<'_, '_> {
    /// Whether CRCs are added up while the averaging reads the inputs; F64 and what is copied is read for
    /// them apart.
    pub fn sums_as_it_reads(&self, rule: Rule, sources: &[(usize, usize)]) -> bool {
        let (Rule::Mean(from) | Rule::Convert(from)) = rule else { return false };
        let has_crc = |&(input, number): &(usize, usize)| {
            self.plan.inputs[input].checksum(number) == Some(Checksum::Crc)
        };
        from != Float::F64 && sources.iter().any(has_crc)
    }

    /// Adds a part of the inputs to their checksums; with the last part these are compared with what the
    /// inputs say.
    pub fn check(
        &self,
        job: &Job,
        sources: &[(usize, usize)],
        bytes: Range<u64>,
        worker: &mut Worker,
    ) -> Result<()> {
        let checked: Vec<_> = (sources.iter().enumerate())
            .filter_map(|(i, &(input, number))| {
                Some((i, input, number, self.plan.inputs[input].checksum(number)?))
            })
            .collect();
        let total = self.plan.info(job.tensor).size();
        let mut sums = Vec::with_capacity(checked.len());
        for &(i, input, number, kind) in &checked {
            sums.push(match (kind, worker.crcs.get(i)) {
                (Checksum::Crc, Some(crc)) => {
                    Checksum::of_crc(crc.clone().finalize(), total - bytes.end)
                }
                _ => {
                    let scratch = &mut worker.scratch;
                    let part = self.plan.inputs[input].load(number, bytes.clone(), scratch)?;
                    kind.of_part(bytes.start, part, total)
                }
            });
        }
        if sums.is_empty() {
            return Ok(());
        }
        let mut checking = lock(&self.checking);
        let entry = checking
            .entry(job.tensor)
            .or_insert_with(|| Checking { left: job.count, sums: vec![0; sums.len()] });
        for ((sum, part), (.., kind)) in entry.sums.iter_mut().zip(sums).zip(&checked) {
            *sum = kind.add(*sum, part);
        }
        entry.left -= 1;
        if entry.left > 0 {
            return Ok(());
        }
        let done = checking.remove(&job.tensor).expect("it was there");
        drop(checking);
        for ((_, input, number, _), sum) in checked.into_iter().zip(done.sums) {
            self.plan.inputs[input].compare(number, sum)?;
        }
        Ok(())
    }
}
