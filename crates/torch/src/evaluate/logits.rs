//! A file of all logits, written batch by batch; only the labels wait for the end.

use std::collections::BTreeMap;
use std::path::Path;

use swa_base::Result;
use swa_tools::checkpoint::checksum::Checksum;
use swa_tools::checkpoint::digest::BLOCK;
use swa_tools::checkpoint::{Dtype, TensorInfo};
use swa_tools::output::{AtomicFile, SafetensorsLayout};

/// A safetensors file of `labels` `[images]`, I64, and `logits` `[models, images, classes]`, F32; the images in
/// the order of the pass.
pub struct LogitsFile {
    file: AtomicFile,
    plan: Plan,
}

/// Where everything goes for so many images.
struct Plan {
    models: usize,
    classes: usize,
    tensors: [TensorInfo; 2],
    layout: SafetensorsLayout,
}

impl Plan {
    fn new(models: usize, images: usize, classes: usize) -> Result<Self> {
        let info = |name: &str, dtype, shape| TensorInfo { name: name.into(), dtype, shape };
        let tensors = [
            info("labels", Dtype::I64, vec![images]),
            info("logits", Dtype::F32, vec![models, images, classes]),
        ];
        let layout = SafetensorsLayout::new(tensors.iter(), &BTreeMap::new())?;
        Ok(Plan { models, classes, tensors, layout })
    }

    fn images(&self) -> usize {
        self.tensors[0].shape[0]
    }

    /// Where a model's row begins.
    fn row(&self, model: usize, row: usize) -> u64 {
        let rows = (model * self.images() + row) as u64;
        self.layout.offset(1) + rows * self.classes as u64 * 4
    }
}

impl LogitsFile {
    /// Reserves the space for so many images.
    ///
    /// # Errors
    /// `OutputExists` unless `force`; those of writing.
    pub(crate) fn create(
        path: &Path,
        force: bool,
        models: usize,
        images: usize,
        classes: usize,
    ) -> Result<Self> {
        let plan = Plan::new(models, images, classes)?;
        let file = AtomicFile::create(path, plan.layout.size(), force)?;
        Ok(LogitsFile { file, plan })
    }

    /// Writes a model's logits, [rows · classes], from row `first` on.
    pub(super) fn write(&self, model: usize, first: usize, logits: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.file.write_at(&bytes, self.plan.row(model, first))
    }

    /// Completes the file. It gets a row for each label: fewer than there was space for if images were left out.
    pub(crate) fn finish(mut self, labels: &[u32]) -> Result<()> {
        if labels.len() < self.plan.images() {
            self.shrink(labels.len())?;
        }
        let bytes: Vec<u8> = labels.iter().flat_map(|&x| i64::from(x).to_le_bytes()).collect();
        self.file.write_at(&bytes, self.plan.layout.offset(0))?;
        let sums = [self.checksum(0)?, self.checksum(1)?];
        let sums = [(&self.plan.tensors[0], sums[0]), (&self.plan.tensors[1], sums[1])];
        self.plan.layout.write_header(&self.file, &sums)?;
        self.file.commit()
    }

    /// Moves the rows to where they belong in a file of so many; that is never behind where they are.
    fn shrink(&mut self, images: usize) -> Result<()> {
        let plan = Plan::new(self.plan.models, images, self.plan.classes)?;
        let length = images as u64 * plan.classes as u64 * 4;
        for model in 0..plan.models {
            let (from, to) = (self.plan.row(model, 0), plan.row(model, 0));
            self.blocks(from, length, |at, bytes| self.file.write_at(bytes, to + at))?;
        }
        self.file.truncate(plan.layout.size())?;
        self.plan = plan;
        Ok(())
    }

    /// The checksum of a tensor's bytes, read from the file.
    fn checksum(&self, tensor: usize) -> Result<u128> {
        let (kind, size) = (Checksum::Digest, self.plan.tensors[tensor].size());
        let mut sum = 0;
        self.blocks(self.plan.layout.offset(tensor), size, |at, bytes| {
            sum = kind.add(sum, kind.of_part(at, bytes, size));
            Ok(())
        })?;
        Ok(sum)
    }

    /// Reads a part of the file again, block by block.
    fn blocks(
        &self,
        start: u64,
        length: u64,
        mut take: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; BLOCK as usize];
        for at in (0..length).step_by(BLOCK as usize) {
            let bytes = &mut buffer[..BLOCK.min(length - at) as usize];
            self.file.read_at(bytes, start + at)?;
            take(at, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swa_tools::checkpoint::Checkpoint;

    /// Logits of 2 models for `images` images in a file with room for `room`.
    fn written(room: usize, images: usize, classes: usize) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logits.safetensors");
        let file = LogitsFile::create(&path, false, 2, room, classes).unwrap();
        for first in (0..images).step_by(7) {
            for model in 0..2 {
                let rows = first..images.min(first + 7);
                let value = |i: usize| (model * 1_000_000 + i) as f32;
                let logits: Vec<f32> =
                    (rows.start * classes..rows.end * classes).map(value).collect();
                file.write(model, first, &logits).unwrap();
            }
        }
        let labels: Vec<u32> = (0..images as u32).collect();
        file.finish(&labels).unwrap();
        Checkpoint::open(&path).unwrap().verify(&|_| {}).unwrap();
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn rows_written_as_they_come_make_one_tensor() {
        let bytes = written(10, 10, 3);
        let tensors = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let (labels, logits) =
            (tensors.tensor("labels").unwrap(), tensors.tensor("logits").unwrap());
        assert_eq!((labels.shape(), logits.shape()), (&[10][..], &[2, 10, 3][..]));
        let expected = (0..60).map(|i| if i < 30 { i } else { 1_000_000 + i - 30 } as f32);
        let expected: Vec<u8> = expected.flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(logits.data(), expected);
        assert_eq!(labels.data()[72..], 9i64.to_le_bytes());
    }

    #[test]
    fn images_that_were_left_out_leave_no_gap() {
        // More than a block a model; the header gets shorter as well.
        assert_eq!(written(1000, 999, 300), written(999, 999, 300));
        assert_eq!(written(1000, 3, 300), written(3, 3, 300));
    }
}
