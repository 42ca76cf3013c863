//! More models than the device holds: they run in groups.

use std::time::{Duration, Instant};

use super::collect::Collector;
use super::forward::AtATime;
use super::run::run;
use crate::nn::Model;
use crate::nn::input::Input;
use swa_base::Result;
use swa_data::Batch;

/// Bytes of pixels that wait in host memory while the groups run.
const BLOCK: usize = 1 << 30;

/// How long a block may take if an interruption loses it.
const BLOCK_TIME: Duration = Duration::from_secs(20);

/// Models that are not all on the device at a time.
pub(crate) struct Groups<'a> {
    /// How many models there are.
    pub count: usize,
    /// Models in a group; at least one.
    pub at_once: usize,
    /// Loads a model by its number.
    pub load: &'a dyn Fn(usize) -> Result<Model>,
    /// Whether the pass is kept in a state, which gets a block as a whole.
    pub is_kept: bool,
}

impl Groups<'_> {
    /// [`run`] for such models. A block of batches waits in host memory while each group of models is loaded and
    /// runs on it. Every image is still decoded once; a model is loaded once a block.
    pub fn run(
        &self,
        input: &Input,
        batches: impl Iterator<Item = Result<Batch>>,
        at_a_time: &mut AtATime,
        collector: &mut Collector,
        progress: &dyn Fn(usize),
    ) -> Result<()> {
        self.run_by_blocks(BLOCK, input, batches, at_a_time, collector, progress)
    }

    fn run_by_blocks(
        &self,
        bytes: usize,
        input: &Input,
        mut batches: impl Iterator<Item = Result<Batch>>,
        at_a_time: &mut AtATime,
        collector: &mut Collector,
        progress: &dyn Fn(usize),
    ) -> Result<()> {
        // The first block shows how many bytes the models can do in the time.
        let mut bytes = if self.is_kept { 1 } else { bytes };
        loop {
            let started = Instant::now();
            let block = next_block(&mut batches, bytes)?;
            if block.is_empty() {
                return Ok(());
            }
            collector.open_block(&block);
            for start in (0..self.count).step_by(self.at_once) {
                let end = self.count.min(start + self.at_once);
                let models: Vec<Model> = (start..end).map(self.load).collect::<Result<_>>()?;
                collector.begin_group(start);
                let step = |n| {
                    if end == self.count {
                        progress(n)
                    }
                };
                let batches = block.iter().cloned().map(Ok);
                run(&models, input, batches, at_a_time, collector, &step)?;
            }
            collector.close_block()?;
            if self.is_kept {
                let size: usize = block.iter().map(|batch| batch.pixels.len()).sum();
                let rate = size as f64 / started.elapsed().as_secs_f64();
                bytes = ((rate * BLOCK_TIME.as_secs_f64()) as usize).clamp(1, BLOCK);
            }
        }
    }
}

/// Batches of so many bytes together, at least one.
fn next_block(
    batches: &mut impl Iterator<Item = Result<Batch>>,
    bytes: usize,
) -> Result<Vec<Batch>> {
    let (mut block, mut size) = (vec![], 0);
    while size < bytes {
        let Some(batch) = batches.next().transpose()? else { break };
        size += batch.pixels.len();
        block.push(batch);
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use tch::Device;

    use super::*;
    use crate::evaluate::evaluation::{CollectOptions, Evaluation};
    use swa_data::Preset;
    use swa_tools::checkpoint::Checkpoint;

    const NAMES: [&str; 3] = ["sgd", "ckpt_0136", "ckpt_0240"];

    fn load(i: usize) -> Result<Model> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/fashion-mnist");
        let path = folder.join(format!("{}.safetensors", NAMES[i]));
        Model::load(&Checkpoint::open(&path)?, None, Device::Cpu)
    }

    /// Of 4 images, the last of 2.
    fn batches() -> Vec<Batch> {
        let batch = |number: usize| {
            let n = if number == 4 { 2 } else { 4 };
            let pixels = (0..n * 784).map(|i| (i * (number + 3) % 251) as u8).collect();
            let indices: Vec<usize> = (number * 4..number * 4 + n).collect();
            let labels = indices.iter().map(|i| i % 10).collect();
            let (height, width, channels) = (28, 28, 1);
            Batch { pixels, n, height, width, channels, indices, labels, number, skipped: vec![] }
        };
        (0..5).map(batch).collect()
    }

    fn at_a_time() -> AtATime {
        AtATime { images: 4, may_shrink: false }
    }

    fn collected(pass: impl FnOnce(&Input, &mut Collector)) -> Evaluation {
        let transform = Preset::named("fashion-mnist").unwrap().transform(1).unwrap();
        let input = Input::new(&transform, Device::Cpu).unwrap();
        let options = CollectOptions { ensemble: Some(vec![0, 2]), top: true, competing: None };
        let mut collector = Collector::new(NAMES.len(), 10, options, None);
        pass(&input, &mut collector);
        collector.finish().unwrap().0
    }

    #[test]
    fn groups_of_models_do_as_all_models_together() {
        let stream = || batches().into_iter().map(Ok);
        let together = collected(|input, collector| {
            let models: Vec<Model> = (0..3).map(|i| load(i).unwrap()).collect();
            run(&models, input, stream(), &mut at_a_time(), collector, &|_| {}).unwrap();
        });
        assert_eq!(together.images.len(), 18);
        // Blocks of one batch, of two, of all.
        for (bytes, at_once) in [(1, 1), (5000, 1), (5000, 2), (1 << 20, 1), (1 << 20, 2)] {
            let (loads, steps) = (RefCell::new(0), RefCell::new(0));
            let load = |i| {
                *loads.borrow_mut() += 1;
                load(i)
            };
            let groups = Groups { count: 3, at_once, load: &load, is_kept: false };
            let found = collected(|input, collector| {
                let step = |n| *steps.borrow_mut() += n;
                let at_a_time = &mut at_a_time();
                groups.run_by_blocks(bytes, input, stream(), at_a_time, collector, &step).unwrap();
            });
            assert_eq!((&found.images, &found.labels), (&together.images, &together.labels));
            for (found, expected) in found.records().zip(together.records()) {
                assert_eq!(found.outcomes, expected.outcomes);
                assert_eq!(found.top, expected.top);
            }
            let blocks = match bytes {
                1 => 5,
                5000 => 3,
                _ => 1,
            };
            assert_eq!((loads.take(), steps.take()), (3 * blocks, 18));
        }
    }
}
