//! Images that one model after the other runs on: training images for statistics, and those to evaluate on, decoded
//! once where memory holds them.

use std::path::Path;
use std::sync::Arc;

use swa_data::loader::Portion;
use swa_data::{Batch, ClassMap, Loader, Order, Split, Transform};
use swa_tools::{Error, Kind, Progress, Result, setting};

use super::common::note_skipped;
use crate::bn_update::layerwise;
use crate::bn_update::{self, Method};
use crate::evaluate::{self, AtATime, CollectOptions, Collector, Record};
use crate::nn::Model;
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::session::{self, Session};

/// Training images in memory, from which a model's batchnorm statistics are computed.
pub(super) struct Training {
    batches: Vec<Batch>,
    batch_size: usize,
}

impl Training {
    /// So many images, drawn by the seed.
    pub fn open(
        dir: &Path,
        samples: usize,
        data: &session::Options,
        session: &Session,
        budget: &Budget,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let images = &data.images;
        let dataset = swa_data::open(dir, Split::Train, None)?;
        progress.note(&format!("statistics from: {}", dataset.describe()));
        let mut order = Order::Shuffled { seed: images.seed }.indices(dataset.len());
        order.truncate(samples);
        let count = order.len();
        let batch_size = session.statistics_batch(images.batch_size, count)?;
        let (dataset, transform) = (Arc::from(dataset), session.transform.clone());
        let mut loader = Loader::new(dataset, order, transform, batch_size, images.allow_bad)?;
        let batches = layerwise::hold(&mut loader, count, budget.bytes()).map_err(|e| {
            e.remedy(concat!(
                "draw fewer with ",
                setting!("bn_samples"),
                ", or allow more with ",
                setting!("memory")
            ))
        })?;
        note_skipped(progress, &loader.bad());
        Ok(Training { batches, batch_size })
    }

    /// The images, if the model has batchnorm layers whose statistics need them; an error if it has and no directory is
    /// given.
    pub fn for_model(
        dir: Option<&Path>,
        samples: usize,
        data: &session::Options,
        session: &Session,
        budget: &Budget,
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        let model = &session.models[0];
        match dir {
            _ if model.batchnorms.is_empty() => Ok(None),
            None => {
                let layers = model.batchnorms.len();
                let what =
                    format!("has {layers} batchnorm layers, whose statistics must be computed");
                Err(Error::usage(what)
                    .at(&model.path)
                    .remedy(concat!("give training images with ", setting!("bn_data"))))
            }
            Some(dir) => Training::open(dir, samples, data, session, budget, progress).map(Some),
        }
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.batches.iter().map(|batch| batch.n).sum()
    }

    /// How many images are in a batch, but for the last.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The batches, once more.
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The model with the statistics of these images, as swa-bn-update computes them by default.
    pub fn applied(&self, model: &Model, input: &Input, session: &Session) -> Result<Model> {
        let batches = self.batches.iter().cloned().map(Ok);
        let outcome = bn_update::run(model, input, batches, Method::Pooled, None)?;
        let tensors = outcome.layers.iter().map(|statistics| statistics.tensors(session.device));
        Ok(model.with_statistics(tensors.collect::<Result<_>>()?))
    }
}

/// Images to evaluate on.
pub(super) struct HeldOut<'a> {
    session: &'a Session,
    order: Vec<usize>,
    batch_size: usize,
    allow_bad: usize,
    competing: Option<Vec<u32>>,
    may_shrink: bool,
    /// None: memory does not hold them, so they are decoded for each model.
    batches: Option<Vec<Batch>>,
    skipped: Vec<String>,
}

impl<'a> HeldOut<'a> {
    /// Decodes the images if the budget holds them.
    pub fn open(
        data: &session::Options,
        session: &'a Session,
        class_map_restrict: bool,
        budget: &Budget,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let images = &data.images;
        let restricted = session.class_map.as_ref().filter(|_| class_map_restrict);
        let mut held = HeldOut {
            session,
            order: images.order(session.dataset.as_ref(), false),
            batch_size: session.evaluation_batch(images.batch_size)?,
            allow_bad: images.allow_bad,
            competing: restricted.map(ClassMap::outputs),
            may_shrink: images.batch_size.is_none(),
            batches: None,
            skipped: vec![],
        };
        let mut loader = held.loader()?;
        match layerwise::hold(&mut loader, held.order.len(), budget.bytes()) {
            Ok(batches) => held.batches = Some(batches),
            Err(e) if e.kind() == Kind::Limit => progress.note(concat!(
                "memory does not hold the images: they are decoded for each trial (",
                setting!("memory"),
                " allows more)"
            )),
            Err(e) => return Err(e),
        }
        held.skipped = loader.bad();
        note_skipped(progress, &held.skipped);
        Ok(held)
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.order.len()
    }

    /// The images that were left out, a line each.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    fn loader(&self) -> Result<Loader> {
        // Augmentation is for the images that statistics are computed from.
        let transform = Transform { training: None, ..self.session.transform.clone() };
        let dataset = self.session.dataset.clone();
        let (order, size, bad) = (self.order.clone(), self.batch_size, self.allow_bad);
        Loader::of_portion(dataset, order, transform, size, bad, Portion::ALL)
    }

    /// What a model does on each image.
    pub fn record(&self, model: &Model, input: &Input, progress: &dyn Progress) -> Result<Record> {
        let collect =
            CollectOptions { competing: self.competing.clone(), ..CollectOptions::default() };
        let outputs = model.classes.expect("a session for a comparison has logits");
        let mut collector = Collector::new(1, outputs, collect, None);
        let mut at_a_time = AtATime { images: self.batch_size, may_shrink: self.may_shrink };
        let step = |n| progress.advance(n as u64);
        let models = std::slice::from_ref(model);
        match &self.batches {
            Some(batches) => {
                let batches = batches.iter().cloned().map(Ok);
                evaluate::run(models, input, batches, &mut at_a_time, &mut collector, &step)?;
            }
            None => {
                let mut loader = self.loader()?;
                evaluate::run(models, input, &mut loader, &mut at_a_time, &mut collector, &step)?;
            }
        }
        let (mut evaluation, _) = collector.finish()?;
        Ok(evaluation.models.remove(0))
    }
}
