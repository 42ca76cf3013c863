//! The inputs' checksums, compared in the pass that averages them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use super::means::{Job, Worker};
use super::{Float, Rule};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::checksum::Checksum;
use crate::sync::lock;

/// Sums of the tensors in flight.
#[derive(Default)]
pub(super) struct InputChecksums(Mutex<HashMap<usize, Sums>>);

/// What is known of a group's sources.
struct Sums {
    /// Jobs of the group that are not done.
    left: usize,
    /// For each source that has a checksum.
    sums: Vec<u128>,
}

impl InputChecksums {
    /// Whether CRCs are added up while the averaging reads the inputs. F64 and what is only copied are read
    /// for their checksums apart.
    pub fn sums_as_it_reads(
        rules: &[Rule],
        inputs: &[Checkpoint],
        sources: &[(usize, usize)],
    ) -> bool {
        let reads = |rule: &Rule| rule.float().is_some_and(|from| from != Float::F64);
        let has_crc = |&(input, number): &(usize, usize)| {
            inputs[input].checksum(number) == Some(Checksum::Crc)
        };
        rules.iter().any(reads) && sources.iter().any(has_crc)
    }

    /// Adds a part of the inputs, of tensors of `size` bytes, to their checksums. With a tensor's last part
    /// the sums are compared with what the inputs say.
    pub fn add(
        &self,
        job: &Job,
        inputs: &[Checkpoint],
        sources: &[(usize, usize)],
        (bytes, size): (Range<u64>, u64),
        worker: &mut Worker,
    ) -> Result<()> {
        let checked: Vec<_> = (sources.iter().enumerate())
            .filter_map(|(i, &(input, number))| {
                Some((i, input, number, inputs[input].checksum(number)?))
            })
            .collect();
        let mut sums = Vec::with_capacity(checked.len());
        for &(i, input, number, kind) in &checked {
            sums.push(match (kind, worker.crcs.get(i)) {
                (Checksum::Crc, Some(crc)) => {
                    Checksum::of_crc(crc.clone().finalize(), size - bytes.end)
                }
                _ => {
                    let part = inputs[input].load(number, bytes.clone(), &mut worker.scratch)?;
                    kind.of_part(bytes.start, part, size)
                }
            });
        }
        if sums.is_empty() {
            return Ok(());
        }
        let mut all = lock(&self.0);
        let entry = all
            .entry(job.group)
            .or_insert_with(|| Sums { left: job.count, sums: vec![0; sums.len()] });
        for ((sum, part), (.., kind)) in entry.sums.iter_mut().zip(sums).zip(&checked) {
            *sum = kind.add(*sum, part);
        }
        entry.left -= 1;
        if entry.left > 0 {
            return Ok(());
        }
        let done = all.remove(&job.group).expect("it was there");
        drop(all);
        for ((_, input, number, _), sum) in checked.into_iter().zip(done.sums) {
            inputs[input].compare(number, sum)?;
        }
        Ok(())
    }
}
