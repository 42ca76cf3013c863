//! What a network draws at random while it trains. Off unless asked for: statistics are those of the
//! network that will be used, which draws nothing.

use tch::Tensor;

use super::fault::Result;
use swa_data::random::SplitMix64;

/// Makes the numbers differ from those that the same seed gives for order and pixels.
const STREAM: u64 = 0x006e_6f69_7365;

/// The random numbers of a batch. What is drawn for an image follows from the seed and the image's
/// number in the data: neither batches nor threads nor machines change it.
#[derive(Debug)]
pub struct Noise {
    images: Vec<SplitMix64>,
}

impl Noise {
    /// `images`: the indices of the batch's images in the data set.
    pub fn new(seed: u64, images: &[usize]) -> Self {
        let images = images.iter().map(|&image| SplitMix64::of_image(seed ^ STREAM, image));
        Noise { images: images.collect() }
    }

    /// A number from 0 to 1 for each image, to weight `x` by: [images, 1, 1, 1], of its type and on
    /// its device.
    pub(super) fn shares(&mut self, x: &Tensor) -> Result<Tensor> {
        let shares = self.images.iter_mut().map(|random| random.within(0.0..1.0) as f32);
        let shares: Vec<f32> = shares.collect();
        let shares = Tensor::f_from_slice(&shares)?.f_view([-1, 1, 1, 1])?;
        Ok(shares.f_to_device_(x.device(), x.kind(), false, false)?)
    }

    /// 0 or 2 for each value of `x`, [images, values], either as likely.
    pub(super) fn halves(&mut self, x: &Tensor) -> Result<Tensor> {
        let size = x.size();
        let values = size.iter().skip(1).product::<i64>() as usize;
        let mut halves: Vec<f32> = Vec::with_capacity(values * self.images.len());
        for random in &mut self.images {
            let (mut left, mut bits) = (0, 0u64);
            for _ in 0..values {
                if left == 0 {
                    (left, bits) = (64, random.bits());
                }
                halves.push((bits & 1) as f32 * 2.0);
                (left, bits) = (left - 1, bits >> 1);
            }
        }
        let halves = Tensor::f_from_slice(&halves)?.f_view(&size[..])?;
        Ok(halves.f_to_device_(x.device(), x.kind(), false, false)?)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn draw(noise: &mut Noise) -> Vec<f32> {
        let x = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        Vec::try_from(noise.shares(&x).unwrap().flatten(0, -1)).unwrap()
    }

    #[test]
    fn an_image_has_its_numbers_in_any_batch() {
        let (mut all, mut part) = (Noise::new(3, &[0, 1, 2, 3]), Noise::new(3, &[3, 1]));
        for _ in 0..3 {
            let (all, part) = (draw(&mut all), draw(&mut part));
            assert_eq!(part, [all[3], all[1]]);
        }
    }

    #[test]
    fn seeds_and_blocks_draw_their_own() {
        let mut noise = Noise::new(3, &[7]);
        let (a, b, c) = (draw(&mut noise), draw(&mut noise), draw(&mut Noise::new(4, &[7])));
        assert!(a != b && a != c && b != c);
        let pixels = SplitMix64::of_image(3, 7).within(0.0..1.0) as f32;
        assert_ne!(a, [pixels]);
    }
}
