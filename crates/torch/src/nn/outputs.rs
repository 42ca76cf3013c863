//! Which of a network's outputs are logits.

use tch::{Kind, Tensor};

use super::fault::Result;

/// What a network gave, each with its name; that of an only output is empty.
pub(crate) type Outputs = Vec<(String, Tensor)>;

/// The position of the logits among the outputs for so many images: the only one of [images, classes].
pub(crate) fn logits(outputs: &Outputs, images: i64) -> Option<usize> {
    let is_logits = |(_, x): &(String, Tensor)| x.dim() == 2 && x.size()[0] == images;
    let mut found = (0..outputs.len()).filter(|&i| is_logits(&outputs[i]));
    found.next().filter(|_| found.next().is_none())
}

/// The logarithms of probabilities, f32: their softmax is what they are.
pub(crate) fn logarithms(probabilities: &Tensor) -> Result<Tensor> {
    // A zero has no logarithm.
    let smallest = f64::from(f32::MIN_POSITIVE);
    Ok(probabilities.f_to_kind(Kind::Float)?.f_clamp_min(smallest)?.f_log()?)
}

/// Whether values, [images · classes], are probabilities: each row's are none below zero and sum to one, but for `rounding`.
/// Rows of two classes must not all be the same, as a network's would be that has learned nothing.
pub(crate) fn are_probabilities(values: &[f32], classes: usize, rounding: f64) -> bool {
    let is_one = |row: &[f32]| {
        let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
        row.iter().all(|&p| p >= 0.0) && (sum - 1.0).abs() <= rounding
    };
    let rows = || values.chunks_exact(classes);
    let differ = || rows().any(|row| row != &values[..classes]);
    match classes {
        0 | 1 => false,
        2 => rows().all(is_one) && differ(),
        _ => rows().all(is_one) && !values.is_empty(),
    }
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
    use tch::Device;

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

    #[test]
    fn probabilities_are_rows_that_sum_to_one() {
        let are = |values: &[f32], classes| are_probabilities(values, classes, 1e-3);
        assert!(are(&[0.2, 0.3, 0.5, 0.0, 1.0, 0.0], 3));
        assert!(are(&[0.2, 0.8, 0.5, 0.5], 2));
        // Within the rounding of narrow types.
        assert!(are_probabilities(&[0.2, 0.3, 0.51], 3, 2e-2) && !are(&[0.2, 0.3, 0.51], 3));
        // One row that is none, a value below zero, the same of each image, no classes, no images.
        assert!(!are(&[0.2, 0.3, 0.5, 0.1, 0.2, 0.3], 3));
        assert!(!are(&[-0.1, 0.6, 0.5], 3));
        assert!(!are(&[0.5, 0.5, 0.5, 0.5], 2));
        assert!(!are(&[1.0, 1.0], 1) && !are(&[], 0) && !are(&[], 3));
        // Logarithms of probabilities are none, so nothing is taken twice.
        let rows = Tensor::from_slice(&[0.2f32, 0.3, 0.5, 0.0, 1.0, 0.0]);
        let logarithms = Vec::<f32>::try_from(logarithms(&rows).unwrap()).unwrap();
        assert!(logarithms.iter().all(|x| x.is_finite()) && !are(&logarithms, 3));
    }
}
