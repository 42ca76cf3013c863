//! The weights that a training begins with.

use std::collections::HashMap;

use swa_base::{Error, Result};
use swa_data::random::SplitMix64;
use swa_tools::checkpoint::{Dtype, TensorInfo};
use swa_tools::setting;

use super::freeze::Freeze;
use super::models::{self, Conv, Initial, Sizes};
use super::scope::{Asked, Role, Weights};
use super::shapes::Shapes;

/// Makes the numbers differ from those that the same seed gives for order, pixels and noise.
const STREAM: u64 = 0x6967_6874_5f77_6569;

/// Channels of the first stage that a network is made with at most.
const WIDEST: usize = 4096;

/// A tensor with its bytes, as files have it.
pub(crate) type Tensor = (TensorInfo, Vec<u8>);

/// The tensors of a network of this architecture and these sizes, f32 (counters i64). The seed gives the same ones on
/// every machine.
///
/// # Errors
/// `Usage` if the architecture is not known, or its training is not.
pub(crate) fn initial(arch: &str, sizes: &Sizes, seed: u64) -> Result<Vec<Tensor>> {
    let unknown = || {
        let known = models::trained().join(", ");
        Error::usage(format!("training {arch} is not known")).remedy(format!("known: {known}"))
    };
    let recipe = models::recipe(arch, &Shapes::of(&[])).ok_or_else(unknown)?;
    let stem = |width: Option<usize>| (recipe.sizes)(arch, &Sizes { width, ..*sizes });
    if let Some(width) = sizes.width {
        let what = setting!("width");
        if width > WIDEST {
            return Err(Error::limit(format!("{what} {width}: {WIDEST} at most")));
        }
        if stem(Some(1)) == stem(Some(2)) {
            return Err(Error::usage(format!("{what} is not for {arch}, whose widths are fixed"))
                .remedy("leave it out"));
        }
    }
    let known: Vec<TensorInfo> = stem(sizes.width)
        .into_iter()
        .map(|(name, shape)| TensorInfo { name: name.into(), dtype: Dtype::F32, shape })
        .collect();
    let shapes = Shapes::of(&known);
    let arch = models::named(arch, &shapes).ok_or_else(unknown)?;
    let none = Freeze::default();
    let mut weights = Weights::new(&shapes, &none, None);
    (arch.build)(weights.scope())?;
    Ok(fill(&weights.finish().tensors, recipe.initial, seed))
}

fn fill(asked: &[Asked], initial: Initial, seed: u64) -> Vec<Tensor> {
    let shapes: HashMap<&str, &[usize]> =
        asked.iter().map(|tensor| (tensor.name.as_str(), &tensor.shape[..])).collect();
    let values = |(number, tensor): (usize, &Asked)| {
        let (dtype, bytes) = match tensor.role {
            Role::Counter => (Dtype::I64, 0i64.to_le_bytes().to_vec()),
            _ => {
                let random = SplitMix64::of_image(seed ^ STREAM, number);
                let values = Values { random, count: tensor.shape.iter().product() };
                (Dtype::F32, values.of(tensor, &shapes, initial))
            }
        };
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        (TensorInfo { name, dtype, shape }, bytes)
    };
    asked.iter().enumerate().map(values).collect()
}

/// The values of a tensor.
struct Values {
    random: SplitMix64,
    count: usize,
}

impl Values {
    fn of(self, tensor: &Asked, shapes: &HashMap<&str, &[usize]>, initial: Initial) -> Vec<u8> {
        let (module, part) = tensor.name.rsplit_once('.').unwrap_or(("", &tensor.name));
        let sibling = |part: &str| shapes.get(format!("{module}.{part}").as_str()).copied();
        if sibling("running_mean").is_some() {
            let one = part == "weight" || part == "running_var";
            return self.constant(if one { 1.0 } else { 0.0 });
        }
        let weight = sibling("weight").unwrap_or(&tensor.shape);
        let (outputs, inputs) = (weight[0] as f64, weight[1..].iter().product::<usize>() as f64);
        let area = weight.iter().skip(2).product::<usize>() as f64;
        let (is_conv, is_bias) = (weight.len() > 2, part == "bias");
        let zero_bias = match is_conv {
            true => initial.conv != Conv::Default,
            false => initial.zero_linear_bias,
        };
        match (is_conv, initial.conv) {
            _ if is_bias && zero_bias => self.constant(0.0),
            (true, Conv::HeByOutputs) => self.normal((2.0 / (outputs * area)).sqrt()),
            (true, Conv::HeByInputs) => self.normal((2.0 / inputs).sqrt()),
            (false, _) | (true, Conv::Default) => self.uniform(1.0 / inputs.sqrt()),
        }
    }

    fn constant(self, value: f32) -> Vec<u8> {
        value.to_le_bytes().repeat(self.count)
    }

    fn uniform(mut self, bound: f64) -> Vec<u8> {
        let draw = |_| (self.random.within(-bound..bound) as f32).to_le_bytes();
        (0..self.count).flat_map(draw).collect()
    }

    fn normal(mut self, deviation: f64) -> Vec<u8> {
        let values = self.random.normal(deviation, self.count);
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arch: &str, width: impl Into<Option<usize>>) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let sizes = Sizes { width: width.into(), channels: 3, classes: 10 };
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        let tensors = initial(arch, &sizes, 1).unwrap().into_iter();
        let floats = tensors.filter(|(info, _)| info.dtype == Dtype::F32);
        floats
            .map(|(info, bytes)| (info.name, info.shape, bytes.chunks(4).map(float).collect()))
            .collect()
    }

    fn tensor(all: &[(String, Vec<usize>, Vec<f32>)], name: &str) -> (Vec<usize>, Vec<f32>) {
        let (_, shape, values) = all.iter().find(|(own, ..)| own == name).unwrap();
        (shape.clone(), values.clone())
    }

    fn deviation(values: &[f32]) -> f64 {
        let squares = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        (squares / values.len() as f64).sqrt()
    }

    #[test]
    fn the_authors_distributions() {
        let vgg = of("vgg-cifar-16-bn", 16);
        let (shape, values) = tensor(&vgg, "features.40.weight");
        assert_eq!(shape, [128, 128, 3, 3]);
        let expected = (2.0f64 / (128.0 * 9.0)).sqrt();
        assert!((deviation(&values) / expected - 1.0).abs() < 0.01);
        assert!(values.iter().any(|x| f64::from(*x).abs() > 3.5 * expected), "not normal");
        assert!(tensor(&vgg, "features.40.bias").1.iter().all(|&x| x == 0.0));
        assert!(tensor(&vgg, "features.41.weight").1.iter().all(|&x| x == 1.0));
        assert!(tensor(&vgg, "features.41.running_mean").1.iter().all(|&x| x == 0.0));
        let (shape, values) = tensor(&vgg, "classifier.4.weight");
        let bound = 1.0 / 128f32.sqrt();
        assert_eq!(shape, [128, 128]);
        assert!(
            values.iter().all(|x| x.abs() <= bound)
                && values.iter().any(|x| x.abs() > 0.99 * bound)
        );
        let (_, bias) = tensor(&vgg, "classifier.6.bias");
        assert!(bias.iter().all(|x| x.abs() <= bound && *x != 0.0));

        let wide = of("wideresnet-10-2", 16);
        let (shape, values) = tensor(&wide, "layer3.0.conv2.weight");
        assert_eq!(shape, [128, 128, 3, 3]);
        let bound = 1.0 / (128.0f32 * 9.0).sqrt();
        assert!(
            values.iter().all(|x| x.abs() <= bound)
                && values.iter().any(|x| x.abs() > 0.99 * bound)
        );
        assert!(tensor(&wide, "conv1.bias").1.iter().all(|&x| x != 0.0));

        let dense = of("densenet121", None);
        let (shape, values) = tensor(&dense, "features.denseblock1.denselayer1.conv1.weight");
        assert_eq!(shape, [128, 64, 1, 1]);
        assert!((deviation(&values) / (2.0f64 / 64.0).sqrt() - 1.0).abs() < 0.03);
        assert!(tensor(&dense, "classifier.bias").1.iter().all(|&x| x == 0.0));
    }

    #[test]
    fn the_architecture_is_the_one_asked_for() {
        let deep = of("preresnet-110", 16);
        // Bottlenecks, 9n + 2.
        assert!(deep.iter().any(|(name, ..)| name == "layer3.11.conv3.weight"));
        assert!(!deep.iter().any(|(name, ..)| name == "layer3.12.conv1.weight"));
        assert!(
            of("preresnet-20", 8)
                .iter()
                .any(|(name, shape, _)| name == "fc.weight" && shape == &[10, 32])
        );
        let error = initial("mobilenet_v2", &Sizes { width: None, channels: 3, classes: 10 }, 0);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("preresnet-DEPTH"), "{error}");
    }

    #[test]
    fn a_seed_has_its_weights() {
        let draw = |seed| {
            let sizes = Sizes { width: Some(4), channels: 1, classes: 3 };
            initial("preresnet-8", &sizes, seed).unwrap()
        };
        let values =
            |tensors: Vec<Tensor>| tensors.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
        assert_eq!(values(draw(1)), values(draw(1)));
        assert_ne!(values(draw(1)), values(draw(2)));
    }
}
