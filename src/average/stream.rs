//! Carrying out a plan: chunk by chunk, N mapped inputs → f64 sums → one rounding → the output.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::kernel::{self, Float};
use super::plan::{Plan, Planned, Rule};
use crate::output::AtomicFile;
use crate::output::safetensors::Layout;
use crate::{Error, Result};

/// Values a job works on: their sums (256 KiB) stay in a core's cache while the inputs pass by.
const CHUNK: usize = 32 * 1024;

/// A run of values of one tensor.
struct Job<'p, 'a> {
    planned: &'p Planned<'a>,
    /// Byte range within the tensor.
    bytes: Range<usize>,
    /// Where the tensor begins in the output.
    offset: u64,
}

impl Plan<'_> {
    fn layout(&self) -> Result<Layout> {
        let entries =
            self.tensors().iter().map(|p| (p.info.name.as_str(), p.info.dtype, &p.info.shape[..]));
        Layout::new(entries, &self.metadata())
    }

    /// Size of the output in bytes.
    pub fn size(&self) -> Result<u64> {
        Ok(self.layout()?.size)
    }

    /// Writes the output: whole and durable under its name, or not at all. `progress` is told how
    /// many input bytes were dealt with, from any thread.
    pub fn write(&self, path: &Path, force: bool, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let layout = self.layout()?;
        let output = AtomicFile::create(path, layout.size, force)?;
        output.write_at(&layout.head, 0)?;
        // Job j works on chunk j − firsts[t] of tensor t: counted, not listed.
        let mut firsts = Vec::with_capacity(self.tensors().len());
        let mut count = 0;
        for planned in self.tensors() {
            firsts.push(count);
            count += planned.info.len().div_ceil(CHUNK);
        }
        let buffers = || (vec![0f64; CHUNK], vec![0u8; CHUNK * 8]);
        (0..count).into_par_iter().try_for_each_init(buffers, |(sums, out), j| {
            // The last one that begins at or before j: empty tensors have no job.
            let t = firsts.partition_point(|&first| first <= j) - 1;
            let planned = &self.tensors()[t];
            let step = CHUNK * planned.info.dtype.bitsize() / 8;
            let start = (j - firsts[t]) * step;
            let bytes = start..planned.info.extent.len().min(start + step);
            let job = Job { planned, bytes, offset: layout.offsets[t] };
            self.run(&job, sums, out, &output, progress)
        })?;
        for input in self.inputs {
            input.check_unchanged()?;
        }
        output.commit()
    }

    fn run(
        &self,
        job: &Job,
        sums: &mut [f64],
        out: &mut [u8],
        output: &AtomicFile,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let at = job.offset + job.bytes.start as u64;
        let n = job.bytes.len();
        let bytes =
            |input: usize| &self.inputs[input].bytes(job.planned.sources[input])[job.bytes.clone()];
        match job.planned.rule {
            Rule::Last => {
                output.write_at(bytes(self.inputs.len() - 1), at)?;
                progress(n as u64);
            }
            Rule::Mean(dtype) => {
                let sums = &mut sums[..n / dtype.size()];
                sums.fill(-0.0); // the neutral element: 0 would turn a mean of −0 into +0
                for (input, &weight) in self.coefficients.weights.iter().enumerate() {
                    kernel::accumulate(sums, bytes(input), dtype, weight);
                }
                if !kernel::finish(sums, self.coefficients.divisor, dtype, &mut out[..n]) {
                    self.report_nonfinite(job.planned, dtype)?;
                }
                output.write_at(&out[..n], at)?;
                progress((n * self.inputs.len()) as u64);
            }
        }
        Ok(())
    }

    /// A mean that is not finite: names the first input that brought it about. Finite inputs whose
    /// f64 sum overflowed (possible for F64 alone) are named as that.
    fn report_nonfinite(&self, planned: &Planned, dtype: Float) -> Result<()> {
        for (input, info) in self.inputs.iter().zip(&planned.sources) {
            let count = kernel::count_nonfinite(input.bytes(info), dtype);
            if count > 0 {
                return Err(Error::input(format!("{count} of its values are not finite"))
                    .at(input.path())
                    .tensor(&info.name)
                    .remedy("leave this checkpoint out: training had diverged"));
            }
        }
        Err(Error::input("the sum over the checkpoints overflows").tensor(&planned.info.name))
    }
}
