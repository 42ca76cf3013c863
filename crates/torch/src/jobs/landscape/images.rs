//! The images that the network is evaluated on at every point.

use std::sync::Arc;

use serde_json::{Value, json};
use swa_data::{Dataset, Loader, Transform};
use swa_tools::{Error, Progress, Result, setting};

use super::options::{Bn, DrawLandscape};
use crate::bn_update::layerwise;
use crate::landscape::Pixels;
use crate::nn::memory::Budget;
use crate::nn::{Model, Takes};
use crate::parts;
use crate::session::{Images, Purpose, check_classes, pixels, same_classes};
use swa_tools::checkpoint::Checkpoint;

/// Images per batch; what is found does not depend on it.
const BATCH: usize = 128;

/// The images, in memory, and where they come from.
pub(super) struct Opened {
    pub pixels: Pixels,
    pub transform: Transform,
    pub transform_record: Value,
    pub augmentation: Value,
    pub batch_size: usize,
    pub train_images: usize,
    pub test_images: usize,
    pub bn_images: usize,
    training: Arc<dyn Dataset>,
    test: Arc<dyn Dataset>,
}

impl Opened {
    pub fn open(
        options: &DrawLandscape,
        checkpoints: &[Checkpoint],
        model: &Model,
        budget: &Budget,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let images = &options.data.images;
        let training = open(images, Purpose::Statistics, model, progress)?;
        let dir = options.test.clone().unwrap_or_else(|| images.dir.clone());
        let test_images = Images { dir, ..images.clone() };
        let test = open(&test_images, Purpose::Evaluation, model, progress)?;
        if images.class_map.is_none() {
            same_classes(training.as_ref(), test.as_ref(), &test_images.dir, true)?;
        }
        if test.describe() == training.describe() {
            progress.note(concat!(
                "note: the test images are the training images; others: ",
                setting!("test", "DIR")
            ));
        }
        let (preset, channels, takes) = (model.preset, model.channels, Takes::default());
        let (transform, transform_record) =
            pixels::transform(&options.data, progress, checkpoints, preset, channels, &takes)?;
        let augmentation =
            transform.training.map_or(Value::Null, |training| training.record(transform.crop));
        let batch_size = images.batch_size.unwrap_or(BATCH);
        let mut left = budget.bytes();
        let mut hold = |dataset: &Arc<dyn Dataset>, order: Vec<usize>, transform: &Transform| {
            let (dataset, count) = (Arc::clone(dataset), order.len());
            let mut loader = Loader::new(dataset, order, transform.clone(), batch_size, 0)?;
            let held = layerwise::hold(&mut loader, count, left).map_err(|e| {
                e.remedy(concat!("draw fewer images, or allow more with ", setting!("memory")))
            })?;
            left = left.saturating_sub(held.iter().map(|batch| batch.pixels.len() as u64).sum());
            Ok::<_, Error>(held)
        };
        let drawn = |dataset: &Arc<dyn Dataset>, samples: usize| {
            let images = Images { samples: Some(samples), ..images.clone() };
            images.order(dataset.as_ref(), false)
        };
        let recomputes = options.bn == Bn::Recompute && !model.batchnorms.is_empty();
        let of_bn = match recomputes {
            true => drawn(&training, options.bn_samples),
            false => vec![],
        };
        let of_train = drawn(&training, options.train_samples);
        let of_test = drawn(&test, options.test_samples);
        let counts = [of_bn.len(), of_train.len(), of_test.len()];
        let plain = Transform { training: None, ..transform.clone() };
        let train = match of_train == of_bn {
            true => None,
            false => Some(hold(&training, of_train, &transform)?),
        };
        let pixels = Pixels {
            bn: hold(&training, of_bn, &transform)?,
            train,
            test: hold(&test, of_test, &plain)?,
        };
        let [bn_images, train_images, test_images] = counts;
        Ok(Opened {
            pixels,
            transform,
            transform_record,
            augmentation,
            batch_size,
            train_images,
            test_images,
            bn_images,
            training,
            test,
        })
    }

    /// For messages.
    pub fn describe(&self) -> String {
        format!("{}; {}", self.training.describe(), self.test.describe())
    }

    /// What tells these images from others.
    ///
    /// # Errors
    /// `Io`.
    pub fn digest(&self, progress: &dyn Progress) -> Result<Value> {
        let of_data = |data: &Arc<dyn Dataset>| parts::of_data(data.as_ref(), progress);
        Ok(json!({ "train": of_data(&self.training)?, "test": of_data(&self.test)? }))
    }
}

fn open(
    images: &Images,
    purpose: Purpose,
    model: &Model,
    progress: &dyn Progress,
) -> Result<Arc<dyn Dataset>> {
    let (dataset, class_map) = images.open(purpose)?;
    let what = match purpose {
        Purpose::Statistics => "training images",
        _ => "test images",
    };
    progress.note(&format!("{what}: {}", dataset.describe()));
    check_classes(images, dataset.as_ref(), class_map.as_ref(), model)?;
    Ok(dataset)
}
