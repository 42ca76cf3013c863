//! The images of a run.

use std::sync::Arc;

use swa_base::{Error, Result, setting};
use swa_data::{Dataset, Loader, Order, Training, Transform};

use super::cached::Cached;

/// Draws the images that are held out, and those that are used where not all are: the same for every seed of a run.
const PARTITION: u64 = 0;

/// Which images train, which validate, and their pixels.
pub(crate) struct Data {
    training: Arc<dyn Dataset>,
    /// Of the images in `training`.
    indices: Vec<usize>,
    validation: Arc<dyn Dataset>,
    validation_indices: Vec<usize>,
    /// The pixels of evaluation.
    transform: Transform,
    /// The augmentation; its seed is another one in each epoch.
    augmentation: Training,
    batch_size: usize,
}

impl Data {
    /// `samples` of the training images are used, or all that are left; `hold_out` others validate, or the images of
    /// `test`.
    ///
    /// # Errors
    /// `Usage` where there are too few images.
    pub fn new(
        training: Arc<dyn Dataset>,
        test: Option<Arc<dyn Dataset>>,
        (samples, hold_out): (Option<usize>, usize),
        transform: &Transform,
        batch_size: usize,
    ) -> Result<Self> {
        let all = training.len();
        let training: Arc<dyn Dataset> = Arc::new(Cached::new(training));
        let mut order = Order::Shuffled { seed: PARTITION }.indices(all);
        if hold_out.saturating_add(samples.unwrap_or(1)) > all {
            let asked =
                [(setting!("samples"), samples.unwrap_or(0)), (setting!("hold_out"), hold_out)];
            let asked = asked.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what} {n}"));
            let asked = asked.collect::<Vec<_>>().join(" and ");
            return Err(Error::usage(format!("{asked}: there are {all} images")));
        }
        let mut held_out = order.split_off(all - hold_out);
        order.truncate(samples.unwrap_or(all));
        // All images are then in the order of the dataset, which swa-bn-update shuffles alike.
        order.sort_unstable();
        held_out.sort_unstable();
        let (validation, validation_indices) = match test {
            Some(test) if hold_out == 0 => {
                let indices = (0..test.len()).collect();
                (Arc::new(Cached::new(test)) as Arc<dyn Dataset>, indices)
            }
            _ => (Arc::clone(&training), held_out),
        };
        let augmentation = transform.training.unwrap_or(Training {
            augmentation: swa_data::Augmentation::Plain,
            seed: 0,
            size: None,
        });
        let transform = Transform { training: None, ..transform.clone() };
        let (indices, batch_size) = (order, batch_size.max(1));
        Ok(Data {
            training,
            indices,
            validation,
            validation_indices,
            transform,
            augmentation,
            batch_size,
        })
    }

    /// The training images in the order and with the pixels of a seed.
    pub fn training(&self, seed: u64) -> Result<Loader> {
        let places = Order::Shuffled { seed }.indices(self.indices.len());
        let order = places.into_iter().map(|place| self.indices[place]).collect();
        let transform = Transform {
            training: Some(Training { seed, ..self.augmentation }),
            ..self.transform.clone()
        };
        Loader::new(Arc::clone(&self.training), order, transform, self.batch_size, 0)
    }

    /// The images that validate, with the pixels of evaluation.
    pub fn validation(&self) -> Result<Loader> {
        let (dataset, order) = (Arc::clone(&self.validation), self.validation_indices.clone());
        Loader::new(dataset, order, self.transform.clone(), self.batch_size, 0)
    }

    /// How many images an epoch has.
    pub fn images(&self) -> usize {
        self.indices.len()
    }

    /// How many steps an epoch has: the last batch is kept, however small.
    pub fn steps(&self) -> usize {
        self.indices.len().div_ceil(self.batch_size)
    }

    /// The pixels of evaluation.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn images(samples: Option<usize>, hold_out: usize) -> Result<Data> {
        let folder = swa_testing::fixtures().join("fashion-mnist");
        let options = swa_data::Options { split: swa_data::Split::Test, ..Default::default() };
        let all: Arc<dyn Dataset> = options.open(&folder)?.into();
        let transform = swa_data::Preset::named("fashion-mnist")?.transform(1)?;
        Data::new(Arc::clone(&all), Some(all), (samples, hold_out), &transform, 64)
    }

    fn seen(loader: Loader) -> Vec<usize> {
        loader.flat_map(|batch| batch.unwrap().indices).collect()
    }

    #[test]
    fn held_out_images_are_not_trained_on_and_those_that_are_stay_the_same() {
        let data = images(Some(300), 200).unwrap();
        let (first, second) = (seen(data.training(1).unwrap()), seen(data.training(2).unwrap()));
        assert_eq!((first.len(), data.images(), data.steps()), (300, 300, 5));
        assert_ne!(first, second);
        let set = |indices: Vec<usize>| indices.into_iter().collect::<BTreeSet<_>>();
        let (first, held_out) = (set(first), set(seen(data.validation().unwrap())));
        assert_eq!(first, set(second));
        assert_eq!(held_out.len(), 200);
        assert!(first.is_disjoint(&held_out));
        let tested = images(Some(300), 0).unwrap();
        assert_eq!(set(seen(tested.training(3).unwrap())), first);
        assert_eq!(seen(tested.validation().unwrap()).len(), 10_000);
        // All images are shuffled as swa-bn-update shuffles them.
        let all = images(None, 0).unwrap();
        let order = Order::Shuffled { seed: 4 }.indices(10_000);
        assert_eq!(seen(all.training(4).unwrap()), order);
        let error = images(Some(9_900), 200).err().unwrap().to_string();
        assert!(error.contains("`hold_out` 200") && error.contains("10000"), "{error}");
    }
}
