//! Mean and sum of squared deviations of each channel of an activation on the CPU, in f64.
//!
//! libtorch's own batchnorm adds up channels-last activations in f32, one value after the other: over
//! 100,000 values a channel that is off by 3e-5 of the standard deviation. Here every value enters an
//! f64 sum, in one pass over memory where libtorch makes two.

#![allow(unsafe_code)]

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::fault::Result;

/// Bytes of activation that a task reads: small enough to balance the threads, large enough to be worth a task.
const BLOCK: usize = 256 * 1024;

/// Mean and squared deviations of each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelMoments {
    /// Values a channel.
    pub values: usize,
    /// `[channels]`.
    pub mean: Vec<f64>,
    /// Σ (x − mean)², `[channels]`.
    pub squares: Vec<f64>,
}

impl ChannelMoments {
    /// Of `x`, [images, channels, …], f32 or narrower. On the CPU in f64, with the same bits
    /// for any number of threads; elsewhere by libtorch in f32.
    pub fn of(x: &Tensor) -> Result<Self> {
        if x.device() != Device::Cpu {
            let values = x.numel() / x.size()[1] as usize;
            let x = x.f_to_kind(Kind::Float)?;
            let others: Vec<i64> = (0..x.dim() as i64).filter(|&d| d != 1).collect();
            let (variance, mean) = x.f_var_mean_dim(others.as_slice(), false, false)?;
            let squares = variance.f_mul_scalar(values as i64)?;
            let host = |x: Tensor| -> Result<_> { Ok(Vec::try_from(x.f_to_kind(Kind::Double)?)?) };
            return Ok(ChannelMoments { values, mean: host(mean)?, squares: host(squares)? });
        }
        // Channels innermost; free if they already are.
        let innermost: Vec<i64> = (0..x.dim() as i64).filter(|&d| d != 1).chain([1]).collect();
        let rows = x.f_permute(innermost)?.f_contiguous()?.f_to_kind(Kind::Float)?;
        assert_eq!(rows.device(), Device::Cpu);
        let channels = x.size()[1] as usize;
        if rows.numel() == 0 {
            // The pointer of an empty tensor may be null, of which no slice can be made.
            return Ok(Self::of_rows(&[], channels));
        }
        // SAFETY: a contiguous f32 tensor in host memory, alive and not written to until the end of
        // this function, holds `numel` values from its data pointer on.
        let values =
            unsafe { std::slice::from_raw_parts(rows.data_ptr() as *const f32, rows.numel()) };
        Ok(Self::of_rows(values, channels))
    }

    /// Of rows of `channels` values.
    fn of_rows(values: &[f32], channels: usize) -> Self {
        let rows = (BLOCK / 4 / channels.max(1)).max(1);
        let blocks: Vec<Self> = values
            .par_chunks((rows * channels).max(1))
            .map(|block| Self::of_block(block, channels))
            .collect();
        let empty =
            ChannelMoments { values: 0, mean: vec![0.0; channels], squares: vec![0.0; channels] };
        // In the order of the data.
        blocks.into_iter().fold(empty, Self::merge)
    }

    fn of_block(block: &[f32], channels: usize) -> Self {
        let pivot = &block[..channels];
        let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { add_avx2(block, pivot, &mut sums, &mut squares) };
            return Self::from_sums(block.len() / channels, pivot, sums, squares);
        }
        add(block, pivot, &mut sums, &mut squares);
        Self::from_sums(block.len() / channels, pivot, sums, squares)
    }

    /// From Σ d and Σ d², d being the distance from a pivot among the values, so that nothing cancels.
    fn from_sums(values: usize, pivot: &[f32], mut sums: Vec<f64>, mut squares: Vec<f64>) -> Self {
        let n = values as f64;
        for ((sum, square), &pivot) in sums.iter_mut().zip(&mut squares).zip(pivot) {
            *square = (*square - *sum * *sum / n).max(0.0);
            *sum = pivot as f64 + *sum / n;
        }
        ChannelMoments { values, mean: sums, squares }
    }

    /// Of both together (Chan, Golub & LeVeque 1979).
    pub fn merge(mut self, other: Self) -> Self {
        let total = (self.values + other.values) as f64;
        let share = other.values as f64 / total;
        for c in 0..self.mean.len() {
            let delta = other.mean[c] - self.mean[c];
            self.mean[c] += delta * share;
            self.squares[c] += other.squares[c] + delta * delta * self.values as f64 * share;
        }
        self.values += other.values;
        self
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_avx2(block: &[f32], pivot: &[f32], sums: &mut [f64], squares: &mut [f64]) {
    add(block, pivot, sums, squares);
}

#[inline(always)]
fn add(block: &[f32], pivot: &[f32], sums: &mut [f64], squares: &mut [f64]) {
    for row in block.chunks_exact(pivot.len()) {
        let columns = row.iter().zip(pivot).zip(sums.iter_mut().zip(squares.iter_mut()));
        for ((&x, &pivot), (sum, square)) in columns {
            let d = x as f64 - pivot as f64;
            *sum += d;
            *square += d * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two passes in f64, channel by channel.
    fn plain(values: &[f32], channels: usize) -> Vec<(f64, f64)> {
        let one = |c: usize| {
            let column = || values.iter().skip(c).step_by(channels).map(|&x| x as f64);
            let n = column().count() as f64;
            let mean = column().sum::<f64>() / n;
            (mean, column().map(|x| (x - mean).powi(2)).sum())
        };
        (0..channels).map(one).collect()
    }

    fn noise(n: usize, offset: f32) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            offset + (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn equal_to_two_passes_in_f64_even_far_from_zero() {
        for (channels, rows, offset) in [(1, 100_000, 0.0), (3, 50_001, 1000.0), (130, 700, -5.0)] {
            let values = noise(channels * rows, offset);
            let found = ChannelMoments::of_rows(&values, channels);
            assert_eq!(found.values, rows);
            for (c, (mean, squares)) in plain(&values, channels).into_iter().enumerate() {
                assert!((found.mean[c] - mean).abs() <= 1e-12 * mean.abs().max(1.0));
                assert!(
                    (found.squares[c] - squares).abs() <= 1e-9 * squares,
                    "{} {squares}",
                    found.squares[c]
                );
            }
        }
    }

    #[test]
    fn an_empty_activation_has_no_values() {
        for shape in [[0, 5, 4, 3], [2, 5, 0, 3], [2, 0, 4, 3]] {
            let x = Tensor::zeros(shape, (Kind::Float, Device::Cpu));
            let channels = shape[1] as usize;
            let empty = ChannelMoments {
                values: 0,
                mean: vec![0.0; channels],
                squares: vec![0.0; channels],
            };
            assert_eq!(ChannelMoments::of(&x).unwrap(), empty);
        }
    }

    #[test]
    fn an_activation_may_have_any_number_of_dimensions_after_its_channels() {
        let values = noise(4 * 3 * 2 * 5 * 7, 1.0);
        for shape in [&[280, 3][..], &[4, 3, 70], &[4, 3, 10, 7], &[4, 3, 2, 5, 7]] {
            let x = Tensor::from_slice(&values).view(shape);
            let found = ChannelMoments::of(&x).unwrap();
            assert_eq!(found.values, 280);
            for c in 0..3 {
                let column = x.select(1, c as i64).to_kind(Kind::Double);
                let mean = column.mean(Kind::Double).double_value(&[]);
                let squares = (column - mean).square().sum(Kind::Double).double_value(&[]);
                assert!((found.mean[c] - mean).abs() < 1e-12, "{shape:?}");
                assert!((found.squares[c] / squares - 1.0).abs() < 1e-9, "{shape:?}");
            }
        }
    }

    #[test]
    fn the_memory_layout_does_not_matter() {
        let nchw = Tensor::from_slice(&noise(2 * 5 * 4 * 3, 0.0)).view([2, 5, 4, 3]);
        let nhwc = nchw.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        assert_ne!(nchw.stride(), nhwc.stride());
        assert_eq!(ChannelMoments::of(&nchw).unwrap(), ChannelMoments::of(&nhwc).unwrap());
    }
}
