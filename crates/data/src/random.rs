//! The one random number generator: small, and the same on every machine.

use std::ops::Range;

/// Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. Every seed is as
/// good as the next.
#[derive(Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        SplitMix64(seed)
    }

    /// The generator of one image: what it draws depends on the seed and the image's index, not on
    /// what was drawn for others.
    pub fn of_image(seed: u64, index: usize) -> Self {
        let start = SplitMix64(seed).bits().wrapping_add(index as u64);
        // Mixed once more: the streams of neighbours then start far apart.
        SplitMix64(SplitMix64(start).bits())
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (not 0), each equally likely.
    ///
    /// Lemire: "Fast Random Integer Generation in an Interval", 2019: the high half of a product; the
    /// low halves below 2^64 mod `bound` are one too many for some results and are drawn again.
    pub fn below(&mut self, bound: u64) -> u64 {
        let surplus = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= surplus {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number of the range, uniformly distributed in steps of 2^-53 of its width.
    pub fn within(&mut self, range: Range<f64>) -> f64 {
        let unit = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        range.start + (range.end - range.start) * unit
    }

    /// Independent numbers of the normal distribution with mean 0, by Marsaglia's polar method.
    pub fn normal(&mut self, deviation: f64, count: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let [x, y] = [(); 2].map(|()| self.within(-1.0..1.0));
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = deviation * (-2.0 * square.ln() / square).sqrt();
                values.extend([(x * scale) as f32, (y * scale) as f32]);
            }
        }
        values.truncate(count);
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The reference implementation's first outputs for the seed 1234567.
        let mut random = SplitMix64::new(1234567);
        let outputs = [(); 3].map(|()| random.bits());
        assert_eq!(outputs, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn images_and_seeds_draw_their_own_numbers() {
        let first = |seed, index| SplitMix64::of_image(seed, index).bits();
        assert_eq!(first(3, 7), first(3, 7));
        let all = (0..50).flat_map(|seed| (0..50).map(move |index| (seed, index)));
        let distinct: std::collections::BTreeSet<u64> = all.map(|(s, i)| first(s, i)).collect();
        assert_eq!(distinct.len(), 2500);
    }

    #[test]
    fn numbers_are_spread_over_their_range() {
        let draws = (0..10_000).map(|i| SplitMix64::of_image(1, i).within(2.0..4.0));
        let (mut sum, mut low, mut high) = (0.0, f64::MAX, f64::MIN);
        draws.for_each(|x| (sum, low, high) = (sum + x, low.min(x), high.max(x)));
        // Standard error of the mean: 2 / sqrt(12 · 10,000) = 0.006.
        assert!((sum / 1e4 - 3.0).abs() < 0.025 && low >= 2.0 && high < 4.0, "{sum} {low} {high}");
        assert!(low < 2.01 && high > 3.99);
    }

    /// Every coordinate has mean 0 and variance 1, and neighbours are not correlated.
    #[test]
    fn normal_numbers_are_independent_and_of_variance_1() {
        let n = 200_000;
        let values = SplitMix64::new(3).normal(1.0, n);
        let mean = |of: &dyn Fn(usize) -> f64| (0..n - 1).map(of).sum::<f64>() / n as f64;
        let z = |i: usize| f64::from(values[i]);
        // Standard errors: 0.0022, 0.0032, 0.0022, 0.022.
        assert!(mean(&z).abs() < 0.01);
        assert!((mean(&|i| z(i).powi(2)) - 1.0).abs() < 0.015);
        assert!(mean(&|i| z(i) * z(i + 1)).abs() < 0.01);
        assert!((mean(&|i| z(i).powi(4)) - 3.0).abs() < 0.1);
    }
}
