//! Standard normal numbers that follow from a seed, a sample's number, a tensor's name and a place in it, and from
//! nothing else: neither the order of the work nor the number of threads changes one.

use twox_hash::XxHash3_128;

/// The numbers of one tensor in one sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normals {
    key: u64,
}

impl Normals {
    pub fn new(seed: u64, sample: u64, name: &str) -> Self {
        let name = XxHash3_128::oneshot(name.as_bytes()) as u64;
        Normals { key: mix(mix(mix(seed) ^ sample) ^ name) }
    }

    /// The i-th number: by Box and Muller (1958), two of a pair of uniform ones.
    pub fn get(self, i: usize) -> f64 {
        let pair = i as u64 / 2;
        let uniform = |n: u64| {
            let bits = mix(self.key.wrapping_add((2 * pair + n + 1).wrapping_mul(STEP)));
            // Above 0, up to 1.
            ((bits >> 11) + 1) as f64 * 2f64.powi(-53)
        };
        let radius = (-2.0 * uniform(0).ln()).sqrt();
        let angle = std::f64::consts::TAU * uniform(1);
        radius * if i.is_multiple_of(2) { angle.cos() } else { angle.sin() }
    }
}

/// 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of SplitMix64 (Steele, Lea and Flood 2014) for a state.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_standard_normal() {
        let normals = Normals::new(3, 0, "conv.weight");
        let n = 200_000;
        let all: Vec<f64> = (0..n).map(|i| normals.get(i)).collect();
        let moment = |k: i32| all.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
        // Within four standard errors: 1, 2, 15 and 96 are the variances of the powers.
        for (k, expected, variance) in
            [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)]
        {
            let error = (moment(k) - expected).abs();
            assert!(error < 4.0 * (variance / n as f64).sqrt(), "{k}: {error}");
        }
        // Neighbours, also those of a pair, have nothing to do with each other.
        let product: f64 = all.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
        assert!(product.abs() < 4.0 / (n as f64).sqrt(), "{product}");
        assert!(all.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn seeds_samples_and_names_have_their_own() {
        let of = |seed, sample, name| Normals::new(seed, sample, name).get(0);
        let all = [of(0, 0, "w"), of(1, 0, "w"), of(0, 1, "w"), of(0, 0, "v"), of(1, 1, "w")];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }
}
