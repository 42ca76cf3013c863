//! The logits of a batch, on the device, as many images at a time as its memory holds.

use tch::Tensor;

use crate::nn::input::Input;
use crate::nn::{self, Model, Pass, with_smaller_batch};
use swa_base::Result;

/// How many images go through a network at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AtATime {
    /// At most.
    pub images: usize,
    /// Whether to go on with fewer if memory runs out.
    pub may_shrink: bool,
}

/// The logits of each model, [images, classes], f32. `bytes`: an uploaded batch. On a GPU the work is queued, not
/// done, when this returns; memory is taken when it is queued.
pub(super) fn queue(
    models: &[Model],
    input: &Input,
    bytes: &Tensor,
    at_a_time: &mut AtATime,
) -> Result<Vec<Tensor>> {
    loop {
        let images = at_a_time.images.min(bytes.size()[0] as usize);
        match parts(models, input, bytes, images) {
            Err(error) if at_a_time.may_shrink && images > 1 && error.is_out_of_memory() => {
                at_a_time.images = images / 2;
            }
            other => return other.map_err(|e| with_smaller_batch(e, images)),
        }
    }
}

fn parts(
    models: &[Model],
    input: &Input,
    bytes: &Tensor,
    images: usize,
) -> nn::Result<Vec<Tensor>> {
    let mut logits: Vec<Vec<Tensor>> = models.iter().map(|_| vec![]).collect();
    for part in bytes.f_split(images as i64, 0)? {
        let x = input.normalise(&part)?;
        for (model, logits) in models.iter().zip(&mut logits) {
            logits.push(model.forward(&x, &mut Pass::Eval)?);
        }
    }
    logits.into_iter().map(|parts| Ok(Tensor::f_cat(&parts, 0)?)).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;
    use std::rc::Rc;

    use tch::{Device, Kind, TchError};

    use super::*;
    use crate::nn::{Network, Precision, Takes};
    use swa_data::Preset;

    /// Has memory for so many images; its logits are the first channel's first pixel. Notes how many
    /// images came at a time.
    struct Small {
        memory: i64,
        seen: Rc<RefCell<Vec<i64>>>,
    }

    impl Network for Small {
        fn forward(&self, x: &Tensor, _: &mut Pass) -> nn::Result<Tensor> {
            let images = x.size()[0];
            self.seen.borrow_mut().push(images);
            if images > self.memory {
                return Err(TchError::Torch("CUDA out of memory. Tried to allocate".into()).into());
            }
            Ok(x.f_select(1, 0)?.f_select(1, 0)?.f_narrow(1, 0, 1)?)
        }
    }

    fn model(memory: i64) -> (Model, Rc<RefCell<Vec<i64>>>) {
        let seen = Rc::new(RefCell::new(vec![]));
        let network = std::rc::Rc::new(Small { memory, seen: Rc::clone(&seen) });
        let model = Model {
            path: PathBuf::from("small"),
            network,
            arch: "small".into(),
            classes: Some(1),
            program: None,
            takes: Takes::default(),
            gives_probabilities: false,
            channels: 1,
            preset: None,
            batchnorms: vec![],
            precision: Precision::Fp32,
        };
        (model, seen)
    }

    fn run(memory: i64, may_shrink: bool) -> (Result<Vec<f32>>, AtATime, Vec<i64>) {
        let (model, seen) = model(memory);
        let transform = Preset::named("none").unwrap().transform(1).unwrap();
        let input = Input::new(&transform, Device::Cpu).unwrap();
        let bytes = Tensor::arange(10, (Kind::Uint8, Device::Cpu)).view([10, 1, 1, 1]);
        let mut at_a_time = AtATime { images: 12, may_shrink };
        let logits = queue(&[model], &input, &bytes, &mut at_a_time);
        let logits = logits.map(|all| Vec::<f32>::try_from(all[0].flatten(0, 1)).unwrap());
        (logits, at_a_time, seen.take())
    }

    #[test]
    fn where_memory_ends_fewer_images_go_at_a_time_and_none_is_lost() {
        let expected: Vec<f32> = (0..10).map(|i| i as f32 / 255.0).collect();
        let (logits, at_a_time, seen) = run(10, true);
        assert_eq!((logits.unwrap(), at_a_time.images, seen), (expected.clone(), 12, vec![10]));
        let (logits, at_a_time, seen) = run(3, true);
        assert_eq!((logits.unwrap(), at_a_time.images), (expected, 2));
        assert_eq!(seen, [10, 5, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn a_batch_size_that_was_asked_for_stays() {
        let (logits, _, seen) = run(3, false);
        let error = logits.unwrap_err();
        assert!(error.to_string().contains("`batch_size` 5"), "{error}");
        assert_eq!((error.kind().exit_code(), seen), (6, vec![10]));
        let (logits, _, seen) = run(0, true);
        assert!(logits.unwrap_err().to_string().contains("`crop`"));
        assert_eq!(seen, [10, 5, 2, 1]);
    }
}
