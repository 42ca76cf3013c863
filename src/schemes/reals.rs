//! Real numbers to 256 bits behind the point, as integers: so that a weight is the nearest f64 of what it should
//! be, on every machine. Libraries of mathematical functions differ from each other in the last bit.

use num_bigint::BigInt;
use num_traits::{One, Zero};

use crate::average::quotient;

/// Bits behind the point. Rounding a few thousand times takes the last dozen of them.
const BITS: u32 = 256;

/// A number times 2^256.
#[derive(Debug, Clone)]
pub(super) struct Real(BigInt);

impl Real {
    /// p / q.
    pub fn ratio(p: u64, q: u64) -> Real {
        Real((BigInt::from(p) << BITS) / q)
    }

    /// √n.
    pub fn sqrt(n: u64) -> Real {
        Real((BigInt::from(n) << (2 * BITS)).sqrt())
    }

    /// π, by Machin's formula: 16·atan(1/5) − 4·atan(1/239).
    pub fn pi() -> Real {
        let atan_of_inverse = |n: u32| {
            let (mut power, mut sum) = ((BigInt::one() << BITS) / n, BigInt::zero());
            for k in 0u32.. {
                if power.is_zero() {
                    break;
                }
                let term = &power / (2 * k + 1);
                sum += if k % 2 == 0 { term } else { -term };
                power /= n * n;
            }
            sum
        };
        Real(atan_of_inverse(5) * 16 - atan_of_inverse(239) * 4)
    }

    /// sin of an angle from 0 to π/2, by its series.
    pub fn sin(&self) -> Real {
        let square = self.times(self).0;
        let (mut term, mut sum) = (self.0.clone(), BigInt::zero());
        for k in 1u32.. {
            if term.is_zero() {
                break;
            }
            sum += &term;
            term = -((term * &square) >> BITS) / (2 * k * (2 * k + 1));
        }
        Real(sum)
    }

    pub fn times(&self, other: &Real) -> Real {
        Real((&self.0 * &other.0) >> BITS)
    }

    pub fn minus(&self, other: &Real) -> Real {
        Real(&self.0 - &other.0)
    }

    /// The nearest f64.
    pub fn to_f64(&self) -> f64 {
        quotient(self.0.clone(), BigInt::one(), -(BITS as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

    #[test]
    fn reals_are_what_they_should_be() {
        assert_eq!((Real::pi().to_f64(), Real::sqrt(2).to_f64()), (PI, SQRT_2));
        assert_eq!(Real::ratio(1, 3).to_f64(), 1.0 / 3.0);
        let angle = |p, q| Real::pi().times(&Real::ratio(p, q));
        assert_eq!(angle(1, 4).sin().to_f64(), FRAC_1_SQRT_2);
        assert_eq!((angle(1, 6).sin().to_f64(), angle(1, 2).sin().to_f64()), (0.5, 1.0));
        assert_eq!(Real::ratio(0, 1).sin().to_f64(), 0.0);
        assert_eq!(Real::sqrt(9).minus(&Real::sqrt(4)).to_f64(), 1.0);
    }
}
