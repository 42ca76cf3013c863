//! How many images a batch has.

use swa_tools::{Error, Kind, Result, setting};

use super::opened::Session;
use crate::nn::Model;

/// Images per batch, unless the options say otherwise.
const DEFAULT_BATCH: usize = 128;

/// Images of 224 × 224 pixels that keep a GPU busy.
const GPU_BATCH: usize = 256;

/// How a program for any number of images is exported.
const EXPORT_AGAIN: &str = "export again with an example of two images and \
                            dynamic_shapes=({0: torch.export.Dim(\"batch\")},)";

impl Session {
    /// Images per batch if the result does not depend on it. On a GPU: as many as keep it busy, whether or not its
    /// memory holds them (`evaluate::AtATime` finds out).
    fn largest_batch(&self) -> usize {
        let random = self.transform.training.and_then(|training| training.size);
        match random.or(self.transform.crop) {
            _ if !self.device.is_cuda() => DEFAULT_BATCH,
            Some(side) => (GPU_BATCH * 224 * 224 / (side * side)).clamp(1, 8 * GPU_BATCH),
            None => GPU_BATCH,
        }
    }

    /// Images per batch for an evaluation, whose result does not depend on it: those asked for, else as many as keep the
    /// device busy.
    ///
    /// # Errors
    /// `Usage` for more than a program takes.
    pub fn evaluation_batch(&self, asked: Option<usize>) -> Result<usize> {
        self.at_most(asked, self.largest_batch())
    }

    /// Images per batch for a pass that collects statistics from so many images. The batch size changes the result, so
    /// it never depends on the memory there is.
    ///
    /// # Errors
    /// `Usage` for more than a program takes, or other batches than it takes; `Unsupported` for one that takes single
    /// images.
    pub fn statistics_batch(&self, asked: Option<usize>, images: usize) -> Result<usize> {
        let size = self.at_most(asked, DEFAULT_BATCH)?;
        for model in &self.models {
            let (Some(program), Some(fixed)) = (&model.program, model.takes.batch) else {
                continue;
            };
            let file = &program.file;
            if fixed == 1 {
                let what = format!("`{file}` was exported for batches of one image");
                return Err(Error::new(Kind::Unsupported, what).remedy(EXPORT_AGAIN));
            }
            let batch_size = setting!("batch_size");
            if size != fixed {
                let what = format!("`{file}` takes exactly {fixed} images at a time");
                return Err(Error::usage(what)
                    .remedy(format!("give {batch_size} {fixed}, or {EXPORT_AGAIN}")));
            }
            if !images.is_multiple_of(fixed) {
                let whole = images / fixed * fixed;
                let what = format!(
                    "`{file}` takes exactly {fixed} images at a time, and {images} are no whole number of such batches"
                );
                let samples = setting!("samples");
                return Err(Error::usage(what).remedy(match whole {
                    0 => EXPORT_AGAIN.to_string(),
                    _ => format!("give {samples} {whole}, or {EXPORT_AGAIN}"),
                }));
            }
        }
        Ok(size)
    }

    /// The batch size that was asked for or the usual one, as far as the programs take it.
    fn at_most(&self, asked: Option<usize>, usual: usize) -> Result<usize> {
        let most = |model: &&Model| model.takes.most.unwrap_or(usize::MAX);
        let Some(model) = self.models.iter().min_by_key(most) else { return Ok(usual) };
        match (asked, most(&model)) {
            (Some(n), most) if n > most => {
                let what = format!("{} takes at most {most} images at a time", model.arch);
                let batch_size = setting!("batch_size");
                Err(Error::usage(what).remedy(format!("give {batch_size} {most} or less")))
            }
            (asked, most) => Ok(asked.unwrap_or(usual.min(most))),
        }
    }
}
