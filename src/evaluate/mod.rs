//! Evaluating models: any number in one pass over the data, each image decoded once.
//!
//! A pass keeps each image's [`Outcome`] (24 bytes an image and model); every figure, table and diagram
//! is made of those afterwards.

mod classes;
mod collect;
mod confusion;
mod logits;
mod metrics;
mod per_class;
mod predictions;
mod reliability;
mod scores;

use crate::data::Batch;
use crate::nn::input::Input;
use crate::nn::{Model, Pass};
use crate::{Error, Result};
pub use classes::ClassList;
pub use collect::Collector;
pub use confusion::{confusion, write_confusion};
pub use logits::LogitsFile;
pub use metrics::{BINS, Bin, McNemar, Tally, wilson};
pub use per_class::{ClassCount, per_class, write_per_class};
pub use predictions::write_predictions;
pub use reliability::reliability_svg;
pub use scores::{Outcome, TOP, log_softmax};

/// What a pass is to keep beside each model's outcomes.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// An ensemble of these models (by position): their softmax outputs, averaged.
    pub ensemble: Option<Vec<usize>>,
    /// The best outputs of each image: 8 bytes for each.
    pub top: bool,
    /// The outputs that compete, by number; all of them if not given.
    pub competing: Option<Vec<u32>>,
}

/// The result of a pass.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// The images in the order of the pass, by their place in the data set.
    pub images: Vec<u64>,
    /// The output that each image should have made the largest.
    pub labels: Vec<u32>,
    /// One a model, in their order.
    pub models: Vec<Record>,
    pub ensemble: Option<Record>,
}

/// What a model, or the ensemble, made of the images.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// One an image.
    pub outcomes: Vec<Outcome>,
    /// If wanted, each image's best outputs with their probabilities: [`TOP`], or as many as compete.
    pub top: Vec<(u32, f32)>,
}

impl Evaluation {
    /// The models, then the ensemble if there is one.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.models.iter().chain(&self.ensemble)
    }
}

/// Runs every model on every batch. `progress` is told how many images were done.
pub fn run(
    models: &[Model],
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    collector: &mut Collector,
    progress: &dyn Fn(usize),
) -> Result<()> {
    let _guard = tch::no_grad_guard();
    for batch in batches {
        let batch = batch?;
        let x = input.tensor(&batch)?;
        let first = collector.open(&batch);
        for (i, model) in models.iter().enumerate() {
            let logits = model.network.forward(&x, &mut Pass::Eval)?.f_flatten(0, 1)?;
            let logits = Vec::<f32>::try_from(logits)?;
            if logits.iter().any(|x| !x.is_finite()) {
                return Err(Error::input("its logits are not finite")
                    .at(&model.path)
                    .remedy("recompute its statistics with swa-bn-update, or leave it out"));
            }
            collector.add(i, first, logits)?;
        }
        collector.close();
        progress(batch.n);
    }
    Ok(())
}
