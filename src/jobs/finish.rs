//! The files of several processes become a folder.

use std::path::PathBuf;
use std::time::Instant;

use crate::Result;
use crate::output::partial::{Partial, finished_name};

/// Which folder to finish.
#[derive(Debug, Clone, Default)]
pub struct Finish {
    /// The folder that it becomes; or its name until then, which ends in `.partial`.
    pub output: PathBuf,
    /// Replace what is there.
    pub force: bool,
}

/// What was finished.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The folder.
    pub output: PathBuf,
    /// How many files are in it.
    pub files: usize,
    /// All files together.
    pub bytes: u64,
    /// Batchnorm layers, whose statistics no longer match the averaged weights.
    pub batchnorm_layers: usize,
    /// How many checkpoints were averaged.
    pub inputs: usize,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// Makes a folder of the files that processes wrote with [`share`](super::share()): checks that all are there
/// with the sizes and the tensors of the plan, puts index and configuration beside them, and gives the folder its name. It reads headers alone.
///
/// # Errors
/// `NoMatch` where nothing was written, `Input` with a list where files are missing, `Damaged` where they are not what
/// they should be, `OutputExists` without `force`; `Io`.
pub fn finish(options: &Finish) -> Result<Finished> {
    let started = Instant::now();
    let output = finished_name(&options.output)?;
    let complete = Partial::finish(&output, options.force)?;
    Ok(Finished {
        output,
        files: complete.files,
        bytes: complete.bytes,
        batchnorm_layers: complete.batchnorm_layers,
        inputs: complete.inputs,
        seconds: started.elapsed().as_secs_f64(),
    })
}
