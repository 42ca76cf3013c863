//! What a pass has collected, in a file: `weight` U64 [layers], `means` and `squares` U64 [channels, 7], the
//! channels of all layers in a row, each a number of 448 bits ([`Fixed`]), its lowest word first.

use super::fixed::{BYTES, Fixed, WORDS};
use super::methods::{Accumulator, Layer};
use crate::parts::{Content, read_tensor};
use swa_base::{Error, Kind, Result};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

/// More values a channel than any pass has.
const MOST_VALUES: u64 = 1 << 62;

impl Accumulator {
    fn shapes(&self) -> [(&'static str, Vec<usize>); 3] {
        let channels = self.layers.iter().map(|layer| layer.means.len()).sum();
        [
            ("weight", vec![self.layers.len()]),
            ("means", vec![channels, WORDS]),
            ("squares", vec![channels, WORDS]),
        ]
    }
}

impl Content for Accumulator {
    fn tensors(&self) -> Vec<(TensorInfo, Vec<u8>)> {
        let layers = &self.layers;
        let sums = |of: fn(&Layer) -> &[Fixed]| {
            layers.iter().flat_map(of).flat_map(|sum| sum.to_bytes()).collect::<Vec<u8>>()
        };
        let bytes = [
            layers.iter().flat_map(|layer| layer.weight.to_le_bytes()).collect(),
            sums(|layer| &layer.means),
            sums(|layer| &layer.squares),
        ];
        let info = |(name, shape): (&str, Vec<usize>)| TensorInfo {
            name: name.into(),
            dtype: Dtype::U64,
            shape,
        };
        self.shapes().map(info).into_iter().zip(bytes).collect()
    }

    fn merge(&mut self, file: &Checkpoint) -> Result<()> {
        let [weight, means, squares] =
            self.shapes().map(|(name, shape)| read_tensor(file, name, Dtype::U64, &shape));
        let (weight, means, squares) = (weight?, means?, squares?);
        let (weights, _) = weight.as_chunks::<8>();
        let (mut means, mut squares) =
            (means.as_chunks::<BYTES>().0.iter(), squares.as_chunks::<BYTES>().0.iter());
        for (layer, weight) in self.layers.iter_mut().zip(weights) {
            // So far below the largest u64 that later batches cannot overflow it.
            let sum = layer.weight.checked_add(u64::from_le_bytes(*weight));
            layer.weight = sum.filter(|&sum| sum < MOST_VALUES).ok_or_else(|| {
                Error::new(Kind::Damaged, "holds more values than there can be")
                    .at(file.path())
                    .tensor("weight")
            })?;
            let channels = layer.means.iter_mut().zip(&mut layer.squares);
            for ((m, s), (mean, square)) in channels.zip(means.by_ref().zip(squares.by_ref())) {
                m.merge(&Fixed::from_bytes(mean));
                s.merge(&Fixed::from_bytes(square));
            }
        }
        Ok(())
    }
}
