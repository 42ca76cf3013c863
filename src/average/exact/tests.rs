//! Held to comparisons in big integers, which share no code with what they check.

use super::*;
use proptest::prelude::*;

const WRITTEN: [Float; 4] = [Float::F64, Float::F32, Float::F16, Float::BF16];

/// x·2^2200 as an integer: every product of two f64 is a multiple of 2^-2148.
fn scaled(w: f64, x: f64) -> BigInt {
    let one = |x: f64| {
        let bits = x.to_bits();
        let exponent = (bits >> 52 & 0x7ff).max(1) as i64;
        let hidden = if bits >> 52 & 0x7ff == 0 { 0 } else { 1u64 << 52 };
        let m = BigInt::from(bits & ((1 << 52) - 1) | hidden);
        (if x.is_sign_negative() { -m } else { m }, exponent - 1075)
    };
    let ((m, e), (n, f)) = (one(w), one(x));
    (m * n) << (e + f + 2200) as u64
}

/// The value of a finite code; of the code of infinity what would follow the largest value.
fn value(code: u64, to: Float) -> BigInt {
    let x = to.decode(&code.to_le_bytes()[..to.size()]);
    if x.is_finite() {
        return scaled(1.0, x);
    }
    let next = BigInt::from(1) << (to.format().max_exponent + 1 + 2200) as u64;
    if x < 0.0 { -next } else { next }
}

/// Whether `code` is the nearest of all to Σ w x / Σ w, and the even one of two.
fn is_nearest(terms: &[(f64, f64)], code: u64, to: Float) -> bool {
    let sum: BigInt = terms.iter().map(|&(w, x)| scaled(w, x)).sum();
    let divisor: BigInt = terms.iter().map(|&(w, _)| scaled(1.0, w)).sum();
    // |c·W − S|, the common scale of W taken out of S.
    let distance = |code: u64| {
        let scale = BigInt::from(1) << 2200u64;
        (value(code, to) * &divisor - &sum * scale).magnitude().clone()
    };
    let sign_bit = 1u64 << (8 * to.size() - 1);
    let magnitude = code & (sign_bit - 1);
    let here = distance(code);
    let infinity = mean([(1.0, f64::INFINITY)].into_iter(), &divisor_of(&[(1.0, 0.0)]), to);
    let mut others = vec![];
    if magnitude > 0 {
        others.push(code - 1);
    } else {
        others.push((code ^ sign_bit) + 1);
    }
    if magnitude < infinity {
        others.push(code + 1);
    }
    others.into_iter().all(|other| {
        let there = distance(other);
        here < there || here == there && code & 1 == 0
    })
}

fn divisor_of(terms: &[(f64, f64)]) -> Sum {
    Sum::of(terms.iter().map(|&(w, _)| (1.0, w)))
}

fn code(terms: &[(f64, f64)], to: Float) -> u64 {
    mean(terms.iter().copied(), &divisor_of(terms), to)
}

fn plain(values: &[f64], to: Float) -> f64 {
    let terms: Vec<_> = values.iter().map(|&x| (1.0, x)).collect();
    to.decode(&code(&terms, to).to_le_bytes()[..to.size()])
}

#[test]
fn what_f64_loses_is_kept() {
    // By order of addition f64 gives 0 or 8.7e-19.
    let p = |e: i32| 2f64.powi(e);
    let values = [p(100), 1.0, p(-60), -p(100), -1.0];
    assert_eq!(plain(&values, Float::F64), p(-60) / 5.0);
    assert_eq!(plain(&[f64::MAX, f64::MAX], Float::F64), f64::MAX);
    assert_eq!(plain(&[5e-324, 5e-324, 5e-324], Float::F64), 5e-324);
    assert_eq!(plain(&[5e-324, 0.0], Float::F64), 0.0); // a tie, to even
    assert_eq!(plain(&[1.5e-323, 0.0], Float::F64), 1e-323); // 3/2 units, a tie, to even
    assert_eq!(plain(&[f64::MAX, -f64::MAX, 5e-324], Float::F64), 0.0);
}

#[test]
fn ties_go_to_even_and_near_ties_do_not() {
    let p = |e: i32| 2f64.powi(e);
    assert_eq!(plain(&[1.0 + p(-8)], Float::BF16), 1.0);
    assert_eq!(plain(&[1.0 + p(-8) + p(-50)], Float::BF16), 1.0 + p(-7));
    assert_eq!(
        plain(&[1.0 + p(-11), 1.0 + p(-11), 1.0 + p(-11) + p(-50)], Float::F16),
        1.0 + p(-10)
    );
    assert_eq!(plain(&[1.0 + p(-11); 3], Float::F16), 1.0);
    // Halfway to what would follow the largest: to infinity, as IEEE has it; below: the largest.
    assert_eq!(plain(&[65520.0], Float::F16), f64::INFINITY);
    assert_eq!(plain(&[65519.99], Float::F16), 65504.0);
}

#[test]
fn a_zero_is_negative_only_if_all_are() {
    for to in WRITTEN {
        let sign = |values: &[f64]| plain(values, to).is_sign_negative();
        assert!(sign(&[-0.0, -0.0]) && !sign(&[-0.0, 0.0]) && !sign(&[1.0, -1.0]));
        let weighted = code(&[(2.0, -0.0), (-1.0, 0.0)], to);
        assert_eq!(weighted, 0);
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    for to in WRITTEN {
        let inf = f64::INFINITY;
        assert!(plain(&[1.0, f64::NAN, inf], to).is_nan());
        assert!(plain(&[-inf, inf], to).is_nan());
        assert_eq!(plain(&[-inf, 1.0, -inf], to), -inf);
        let of = |terms: &[(f64, f64)]| to.decode(&code(terms, to).to_le_bytes()[..to.size()]);
        assert_eq!(of(&[(3.0, 1.0), (-1.0, inf)]), -inf);
        assert_eq!(of(&[(1.0, 1.0), (-2.0, inf)]), inf);
    }
}

/// Values whose sums are hard: any bits, few bits, near each other, cancelling.
fn hard() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |x| x.is_finite()),
        any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(|x| x as f64),
        (-16i32..16, -160i32..140).prop_map(|(m, e)| m as f64 * 2f64.powi(e)),
        (-300i32..300).prop_map(|m| 1.0 + m as f64 * 2f64.powi(-24)),
        Just(f64::from_bits(1)),
        Just(f32::MAX as f64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn means_are_the_nearest_of_all(values in proptest::collection::vec(hard(), 1..7)) {
        let terms: Vec<_> = values.iter().map(|&x| (1.0, x)).collect();
        for to in WRITTEN {
            prop_assert!(is_nearest(&terms, code(&terms, to), to), "{to:?}");
        }
    }

    #[test]
    fn weighted_means_are_the_nearest_of_all(
        terms in proptest::collection::vec((hard(), hard()), 1..5)
    ) {
        prop_assume!(!divisor_of(&terms).is_zero());
        for to in WRITTEN {
            prop_assert!(is_nearest(&terms, code(&terms, to), to), "{to:?}");
        }
    }

    #[test]
    fn order_does_not_matter(values in proptest::collection::vec(hard(), 2..7)) {
        let terms: Vec<_> = values.iter().map(|&x| (1.0, x)).collect();
        let back: Vec<_> = terms.iter().rev().copied().collect();
        prop_assert_eq!(code(&terms, Float::F64), code(&back, Float::F64));
    }
}
