//! Which sample comes when: the dataset's order, or a shuffle that is the same on every machine.

/// The order of a run over the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the dataset lists them.
    Dataset,
    /// A permutation that depends on nothing but the seed and the number of samples.
    Shuffled { seed: u64 },
}

impl Order {
    /// The indices 0..`n` in this order. The first k of a shuffle are a fair sample of k.
    pub fn indices(self, n: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..n).collect();
        if let Order::Shuffled { seed } = self {
            let mut random = SplitMix64(seed);
            // Fisher and Yates, in Durstenfeld's form: position i gets one of those from i on.
            for i in 0..n.saturating_sub(1) {
                let other = i + random.below((n - i) as u64) as usize;
                indices.swap(i, other);
            }
        }
        indices
    }
}

/// Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. Small, with
/// every seed as good as the next; no other use of randomness is made here.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (not 0), each equally likely.
    ///
    /// Lemire: "Fast Random Integer Generation in an Interval", 2019: the high half of a product; the
    /// low halves below 2^64 mod `bound` are one too many for some results and are drawn again.
    fn below(&mut self, bound: u64) -> u64 {
        let surplus = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= surplus {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The reference implementation's first outputs for the seed 1234567.
        let mut random = SplitMix64(1234567);
        let outputs = [(); 3].map(|()| random.next());
        assert_eq!(outputs, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

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
