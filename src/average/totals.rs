//! Means of sums that are known exactly.

use num_bigint::BigInt;

use super::exact::{self, Sum};
use super::{Float, kernel};

/// Sums of a block of values: integers times one power of two.
#[derive(Debug)]
pub(crate) struct Totals<'t> {
    pub integers: Integers<'t>,
    pub exponent: i32,
    /// No magnitude has more bits.
    pub bits: u64,
    /// What a value is instead of its sum, or nothing if all are sums.
    pub marks: &'t [Mark],
}

#[derive(Debug)]
pub(crate) enum Integers<'t> {
    Small(&'t [i128]),
    Big(&'t [BigInt]),
}

/// What an integer cannot say of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is what the integer says.
    Sum,
    /// All its terms are −0.
    MinusZero,
    Infinity,
    MinusInfinity,
    NaN,
}

/// What was met on the way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Met {
    /// Means that are not finite, because terms are not.
    pub nonfinite: u64,
    /// Means of finite terms that are too large for the type.
    pub overflows: u64,
}

/// What a thread reuses.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    sums: Vec<f64>,
    doubtful: Vec<usize>,
}

impl Totals<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self.integers {
            Integers::Small(integers) => integers.len(),
            Integers::Big(integers) => integers.len(),
        }
    }

    fn mark(&self, i: usize) -> Mark {
        self.marks.get(i).copied().unwrap_or(Mark::Sum)
    }

    /// Writes each sum divided by `count`, rounded once to nearest, ties to even.
    pub fn means(&self, count: u64, to: Float, out: &mut [u8], scratch: &mut Scratch) -> Met {
        let n = self.len();
        let divisor = Sum::of_integer(count.into(), 0);
        let mut met = Met::default();
        // Below this all sums are; within the bounds no product or residual leaves f64's range.
        let high = i64::from(self.exponent) + self.bits as i64;
        let is_moderate = self.exponent >= -500 && high <= 500;
        if let Integers::Small(integers) = self.integers
            && is_moderate
            && 2f64.powi(high as i32) / count as f64 <= to.safe()
        {
            let Scratch { sums, doubtful } = scratch;
            let unit = 2f64.powi(self.exponent);
            sums.clear();
            match self.bits {
                ..=63 => sums.extend(integers.iter().map(|&sum| sum as i64 as f64 * unit)),
                _ => sums.extend(integers.iter().map(|&sum| sum as f64 * unit)),
            }
            doubtful.clear();
            if self.bits <= 53 {
                kernel::finish_exact(sums, count as f64, to, out);
            } else {
                let error = 2f64.powi(high as i32 - 53);
                kernel::finish_bounded(sums, count as f64, error, to, out, doubtful);
            }
            for &i in &*doubtful {
                self.exactly(i, &divisor, to, out, &mut met);
            }
            for i in 0..self.marks.len() {
                if self.marks[i] != Mark::Sum {
                    self.exactly(i, &divisor, to, out, &mut met);
                }
            }
            return met;
        }
        (0..n).for_each(|i| self.exactly(i, &divisor, to, out, &mut met));
        met
    }

    fn exactly(&self, i: usize, divisor: &Sum, to: Float, out: &mut [u8], met: &mut Met) {
        let (format, size) = (to.format(), to.size());
        let code = match self.mark(i) {
            Mark::Sum => {
                let sum = match self.integers {
                    Integers::Small(integers) => Sum::of_integer(integers[i], self.exponent),
                    Integers::Big(integers) => Sum::of_big(integers[i].clone(), self.exponent),
                };
                let code = sum.over(divisor, format).0;
                if !to.decode(&code.to_le_bytes()[..size]).is_finite() {
                    met.overflows += 1;
                }
                code
            }
            Mark::MinusZero => exact::minus(format),
            mark => {
                met.nonfinite += 1;
                match mark {
                    Mark::Infinity => exact::infinity(format),
                    Mark::MinusInfinity => exact::infinity(format) | exact::minus(format),
                    _ => exact::nan(format),
                }
            }
        };
        out[i * size..][..size].copy_from_slice(&code.to_le_bytes()[..size]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WRITTEN: [Float; 4] = [Float::F64, Float::F32, Float::F16, Float::BF16];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Every way gives what integers of any size give.
        #[test]
        fn means_do_not_depend_on_the_way(
            integers in proptest::collection::vec(any::<i128>(), 1..40),
            narrow in 1u32..126,
            exponent in prop_oneof![-170i32..-20, -1074i32..900],
            count in 1u64..300,
        ) {
            let integers: Vec<i128> = integers.iter().map(|i| i >> (127 - narrow)).collect();
            let big: Vec<BigInt> = integers.iter().map(|&i| i.into()).collect();
            let totals = |integers| Totals { integers, exponent, bits: narrow.into(), marks: &[] };
            for to in WRITTEN {
                let (mut a, mut b) = (vec![0; integers.len() * to.size()], vec![]);
                b.clone_from(&a);
                let mut scratch = Scratch::default();
                let small = totals(Integers::Small(&integers));
                let large = totals(Integers::Big(&big));
                let met = small.means(count, to, &mut a, &mut scratch);
                prop_assert_eq!(met, large.means(count, to, &mut b, &mut scratch));
                prop_assert_eq!(&a, &b, "{:?}", to);
            }
        }
    }

    #[test]
    fn marks_are_written_as_what_they_say() {
        let marks =
            [Mark::Sum, Mark::MinusZero, Mark::Infinity, Mark::MinusInfinity, Mark::NaN, Mark::Sum];
        let integers = [3, 0, 0, 0, 0, 0];
        let totals =
            Totals { integers: Integers::Small(&integers), exponent: -1, bits: 2, marks: &marks };
        for to in WRITTEN {
            let mut out = vec![0; 6 * to.size()];
            let met = totals.means(2, to, &mut out, &mut Scratch::default());
            let value = |i: usize| to.decode(&out[i * to.size()..][..to.size()]);
            assert_eq!((met.nonfinite, met.overflows), (3, 0));
            assert_eq!((value(0), value(2), value(3)), (0.75, f64::INFINITY, f64::NEG_INFINITY));
            assert!(value(1) == 0.0 && value(1).is_sign_negative());
            assert!(value(5) == 0.0 && value(5).is_sign_positive());
            assert!(value(4).is_nan() && value(4).is_sign_positive());
        }
    }
}
