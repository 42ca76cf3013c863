//! The order of the samples: the dataset's, or a shuffle that is the same on every machine.

use crate::random::SplitMix64;

/// The order of a run over the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the dataset lists them.
    Dataset,
    /// A permutation that depends on nothing but the seed and the number of samples.
    Shuffled {
        /// Every seed gives another permutation.
        seed: u64,
    },
}

impl Order {
    /// The indices 0..`n` in this order. The first k of a shuffle are a fair sample of k.
    pub fn indices(self, n: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..n).collect();
        if let Order::Shuffled { seed } = self {
            let mut random = SplitMix64::new(seed);
            // Fisher and Yates, in Durstenfeld's form: position i gets one of those from i on.
            for i in 0..n.saturating_sub(1) {
                let other = i + random.below((n - i) as u64) as usize;
                indices.swap(i, other);
            }
        }
        indices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_the_same_everywhere() {
        let shuffled = |seed, n| Order::Shuffled { seed }.indices(n);
        assert_eq!(shuffled(0, 10), GOLDEN_0);
        assert_eq!(shuffled(1, 10), GOLDEN_1);
        assert_eq!(shuffled(0, 60_000)[..4], GOLDEN_60000);
    }

    // Computed by a few lines of Python from the two papers, not by this program.
    const GOLDEN_0: [usize; 10] = [8, 4, 2, 9, 1, 6, 5, 3, 0, 7];
    const GOLDEN_1: [usize; 10] = [5, 7, 9, 6, 3, 8, 2, 0, 1, 4];
    const GOLDEN_60000: [usize; 4] = [52998, 25892, 1587, 58253];

    #[test]
    fn a_shuffle_is_a_permutation() {
        for n in [0, 1, 2, 3, 1000] {
            let mut indices = Order::Shuffled { seed: 7 }.indices(n);
            indices.sort();
            assert_eq!(indices, Order::Dataset.indices(n));
        }
    }

    #[test]
    fn every_permutation_is_as_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            *counts.entry(Order::Shuffled { seed }.indices(3)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // 1000 each, standard deviation 29.
        assert!(counts.values().all(|&n| (880..1120).contains(&n)), "{counts:?}");
    }
}
