//! Which of a network's outputs are logits.

use tch::Tensor;

/// What a network gave, each with its name; that of an only output is empty.
pub(crate) type Outputs = Vec<(String, Tensor)>;

/// The position of the logits among the outputs for so many images: the only one of [images, classes].
pub(crate) fn logits(outputs: &Outputs, images: i64) -> Option<usize> {
    let is_logits = |(_, x): &(String, Tensor)| x.dim() == 2 && x.size()[0] == images;
    let mut found = (0..outputs.len()).filter(|&i| is_logits(&outputs[i]));
    found.next().filter(|_| found.next().is_none())
}

/// The outputs' names and shapes, for a message: "`out` [2, 21, 64, 64], `aux` [2, 21, 64, 64]".
pub(crate) fn describe(outputs: &Outputs) -> String {
    let one = |(name, x): &(String, Tensor)| match name.is_empty() {
        true => format!("{:?}", x.size()),
        false => format!("`{name}` {:?}", x.size()),
    };
    outputs.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn the_only_output_of_images_by_classes_is_the_logits() {
        let outputs = |shapes: &[&[i64]]| -> Outputs {
            let zeros = |shape: &&[i64]| Tensor::zeros(*shape, (Kind::Float, Device::Cpu));
            shapes.iter().enumerate().map(|(i, shape)| (i.to_string(), zeros(shape))).collect()
        };
        assert_eq!(logits(&outputs(&[&[2, 10]]), 2), Some(0));
        assert_eq!(logits(&outputs(&[&[2, 8, 4, 4], &[2, 10], &[3, 10]]), 2), Some(1));
        assert_eq!(logits(&outputs(&[&[2, 10], &[2, 5]]), 2), None);
        assert_eq!(logits(&outputs(&[&[2, 21, 8, 8]]), 2), None);
        assert_eq!(describe(&outputs(&[&[2, 10], &[2]])), "`0` [2, 10], `1` [2]");
    }
}
