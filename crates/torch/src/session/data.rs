//! Opening the data of a session.

use std::sync::Arc;

use swa_data::{ClassMap, Dataset, Order, Split};
use swa_tools::Result;

use super::options::Images;
use super::purpose::Purpose;

impl Images {
    /// Opens the data; with a class map its labels are outputs.
    pub(crate) fn open(&self, purpose: Purpose) -> Result<(Arc<dyn Dataset>, Option<ClassMap>)> {
        let split = match purpose {
            Purpose::Statistics => Split::Train,
            Purpose::Evaluation | Purpose::Comparison => Split::HeldOut,
        };
        let options = swa_data::Options {
            split: self.split.unwrap_or(split),
            format: self.format,
            labels: self.labels.clone(),
            label_form: self.label_form.clone(),
            classes: self.classes.clone(),
        };
        let dataset: Arc<dyn Dataset> = options.open(&self.dir)?.into();
        match &self.class_map {
            None => Ok((dataset, None)),
            Some(path) => {
                let map = ClassMap::read(path, dataset.as_ref())?;
                Ok((map.apply(dataset)?, Some(map)))
            }
        }
    }

    /// Which images, in which order. Samples are drawn by the seed in either order.
    pub(crate) fn order(&self, dataset: &dyn Dataset, shuffle: bool) -> Vec<usize> {
        let n = self.samples.unwrap_or(usize::MAX).min(dataset.len());
        let mut order = Order::Shuffled { seed: self.seed }.indices(dataset.len());
        order.truncate(n);
        if !shuffle {
            order.sort_unstable();
        }
        order
    }
}
