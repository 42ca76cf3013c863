use super::super::coefficients::{Coefficients, mean};
use super::super::exact;
use super::*;
use proptest::prelude::*;

const WRITTEN: [Float; 4] = [Float::F64, Float::F32, Float::F16, Float::BF16];
const SUMMED: [Float; 7] = [
    Float::F32,
    Float::F16,
    Float::BF16,
    Float::E4M3,
    Float::E5M2,
    Float::E4M3Fnuz,
    Float::E5M2Fnuz,
];

/// What a function returns whichever registers the processor has: those that it lacks are left out.
pub(super) fn in_all_registers<T: PartialEq + std::fmt::Debug>(function: impl Fn() -> T) -> T {
    let best = function();
    for registers in [Registers::Other, Registers::Avx2] {
        WIDEST.set(registers);
        assert_eq!(function(), best, "{registers:?}");
    }
    WIDEST.set(Registers::Avx512);
    best
}

fn finish(sum: &[f64], divisor: f64, to: Float) -> Vec<u8> {
    let mut out = vec![0; sum.len() * to.size()];
    finish_exact(sum, divisor, to, &mut out);
    out
}

#[test]
fn every_half_survives_a_round_trip() {
    for float in [Float::F16, Float::BF16] {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(|h| h.to_le_bytes()).collect();
        let mut sum = vec![-0.0; 1 << 16];
        assert!(!accumulate(&mut sum, false, &[&all], float, &[1.0]).is_finite());
        let out = finish(&sum, 1.0, float);
        for (x, (a, b)) in sum.iter().zip(out.chunks(2).zip(all.chunks(2))) {
            assert!(a == b || x.is_nan(), "{float:?} {x}");
        }
    }
}

#[test]
fn results_that_are_not_finite_are_counted() {
    assert_eq!(count_nonfinite(&finish(&[1.0, 1e39], 1.0, Float::F32), Float::F32), 1);
    assert_eq!(count_nonfinite(&finish(&[1.0, 3e38], 1.0, Float::F32), Float::F32), 0);
    assert_eq!(count_nonfinite(&finish(&[65520.0], 1.0, Float::F16), Float::F16), 1);
}

#[test]
fn a_span_proves_what_is_exact_and_no_more() {
    let span = |values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        accumulate(&mut vec![0.0; values.len()], false, &[&bytes], Float::F32, &[1.0])
    };
    let p = |e: i32| 2f32.powi(e);
    // 24 bits of the smallest, 2^29 times that, and no carry left for a second term.
    assert!(span(&[p(28), 1.0]).proves_exact(Float::F32, &mean(1).unwrap()));
    assert!(span(&[p(28), 0.0, -1.0]).proves_exact(Float::F32, &mean(2).unwrap()));
    assert!(span(&[p(30), 1.0]).proves_exact(Float::F32, &mean(1).unwrap()));
    assert!(!span(&[p(30), 1.0]).proves_exact(Float::F32, &mean(2).unwrap()));
    assert!(span(&[0.0, -0.0]).proves_exact(Float::F32, &mean(1000).unwrap()));
    // Subnormal values are multiples of the quantum, however small they are.
    assert!(span(&[p(-121), p(-149)]).proves_exact(Float::F32, &mean(16).unwrap()));
    let thirds = Coefficients::new(vec![0.1, 0.2]).unwrap();
    assert!(!span(&[1.0, 0.3]).proves_exact(Float::F32, &thirds));
}

/// Bytes of values that lie near each other, or anywhere.
fn values(from: Float, seed: &[u32]) -> Vec<u8> {
    seed.iter()
        .flat_map(|&bits| match from {
            Float::F32 if bits & 3 != 0 => {
                // An exponent near 1's.
                f32::from_bits((bits & 0x807f_ffff) | (120 + (bits >> 23 & 7)) << 23).to_le_bytes()
            }
            _ => bits.to_le_bytes(),
        })
        .take(seed.len() * 4 / from.size() * from.size())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn fast_and_scalar_agree_to_the_bit(
        seeds in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 150), 1..7),
        weights in proptest::collection::vec(prop_oneof![Just(1.0), -2f64..2.0], 7),
        plain in any::<bool>(),
        divisor in 0.5f64..20.0,
    ) {
        let weights = if plain { &[1.0; 7][..seeds.len()] } else { &weights[..seeds.len()] };
        for from in SUMMED {
            let inputs: Vec<_> = seeds.iter().map(|seed| values(from, seed)).collect();
            let inputs: Vec<&[u8]> = inputs.iter().map(|bytes| &bytes[..]).collect();
            let n = inputs[0].len() / from.size();
            let bits = |sum: Vec<f64>| -> Vec<u64> {
                sum.into_iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect()
            };
            let (sum, span) = in_all_registers(|| {
                let mut sum = vec![0.5; n];
                let span = accumulate(&mut sum, false, &inputs, from, weights);
                (bits(sum), span)
            });
            // The same in two steps.
            let parted = in_all_registers(|| {
                let (mut sum, mut all) = (vec![0.5; n], Span::EMPTY);
                add(&mut sum, false, &inputs, from, weights);
                inputs.iter().for_each(|bytes| all = all.with(super::span(bytes, from)));
                (bits(sum), all)
            });
            prop_assert_eq!(&parted, &(sum.clone(), span));
            // What a new sum held does not count.
            let (new, _) = in_all_registers(|| {
                let mut sum = vec![0.5; n];
                let span = accumulate(&mut sum, true, &inputs, from, weights);
                (bits(sum), span)
            });
            let mut zero = vec![-0.0; n];
            accumulate(&mut zero, false, &inputs, from, weights);
            prop_assert_eq!(&new, &bits(zero));
            // Beside other sums: as if alone.
            for columns in 1..=5 {
                let other = vec![0.25; weights.len()];
                let all: Vec<&[f64]> =
                    (0..columns).map(|c| if c % 2 == 0 { weights } else { &other[..] }).collect();
                let together = in_all_registers(|| {
                    let mut sums = vec![vec![0.5; n]; columns];
                    let mut slices: Vec<&mut [f64]> = sums.iter_mut().map(|sum| &mut sum[..]).collect();
                    add_columns(&mut slices, false, &inputs, from, &all);
                    let mut new = vec![vec![0.5; n]; columns];
                    let mut slices: Vec<&mut [f64]> = new.iter_mut().map(|sum| &mut sum[..]).collect();
                    add_columns(&mut slices, true, &inputs, from, &all);
                    (sums.into_iter().map(bits).collect::<Vec<_>>(), bits(new.swap_remove(0)))
                });
                let mut quarters = vec![0.5; n];
                add(&mut quarters, false, &inputs, from, &other);
                let quarters = bits(quarters);
                for (c, found) in together.0.iter().enumerate() {
                    prop_assert_eq!(found, if c % 2 == 0 { &sum } else { &quarters });
                }
                prop_assert_eq!(&together.1, &new);
            }
            // One input after the other: the same additions in the same order.
            let (mut single, mut all) = (vec![0.5; n], Span::EMPTY);
            for (bytes, weight) in inputs.iter().zip(weights) {
                all = all.with(accumulate(&mut single, false, &[bytes], from, &[*weight]));
            }
            prop_assert_eq!((&bits(single), all), (&sum, span));
            let finite: Vec<f64> =
                sum.into_iter().map(f64::from_bits).filter(|x| x.is_finite()).collect();
            for to in WRITTEN {
                in_all_registers(|| {
                    let mut out = [(); 2].map(|()| vec![0; finite.len() * to.size()]);
                    let mut doubtful = vec![];
                    finish_exact(&finite, divisor, to, &mut out[0]);
                    finish_bounded(&finite, divisor, 1e-9, to, &mut out[1], &mut doubtful);
                    (out, doubtful)
                });
            }
        }
    }

    /// The whole of what the fast path claims: what it proves is what the exact path computes.
    #[test]
    fn what_is_proved_is_what_is_exact(
        seeds in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 16), 1..6),
        weights in proptest::collection::vec(
            prop_oneof![Just(1.0), (1i32..9).prop_map(f64::from), -2f64..2.0], 6),
        plain in any::<bool>(),
    ) {
        let weights = if plain { vec![1.0; seeds.len()] } else { weights[..seeds.len()].to_vec() };
        let Ok(coefficients) = Coefficients::new(weights.clone()) else { return Ok(()) };
        let divisor = exact::divisor(&weights);
        for from in SUMMED {
            let inputs: Vec<_> = seeds.iter().map(|seed| values(from, seed)).collect();
            for i in 0..inputs[0].len() / from.size() {
                let at = i * from.size()..(i + 1) * from.size();
                let (mut sum, mut span) = ([-0.0], Span::EMPTY);
                for (bytes, &weight) in inputs.iter().zip(&weights) {
                    let bytes = &bytes[at.clone()];
                    span = span.with(accumulate(&mut sum, false, &[bytes], from, &[weight]));
                }
                if !span.is_finite() {
                    continue;
                }
                let terms = inputs.iter().zip(&weights).map(|(b, &w)| (w, from.decode(&b[at.clone()])));
                for to in WRITTEN {
                    let expected = exact::mean(terms.clone(), &divisor, to).to_le_bytes();
                    let mut out = vec![0; to.size()];
                    let mut doubtful = vec![];
                    if coefficients.divisor_is_exact() && span.proves_exact(from, &coefficients) {
                        finish_exact(&sum, coefficients.divisor(), to, &mut out);
                        // The sign of a zero is the caller's business if weights are negative.
                        let zero = sum[0] == 0.0 && !coefficients.is_positive();
                        prop_assert!(zero || out == expected[..to.size()], "{from:?} {to:?}");
                    }
                    let error = span.error(weights.len(), &coefficients);
                    finish_bounded(&sum, coefficients.divisor(), error, to, &mut out, &mut doubtful);
                    prop_assert!(
                        !doubtful.is_empty() || sum[0] == 0.0 || out == expected[..to.size()],
                        "bounded {from:?} {to:?}"
                    );
                }
            }
        }
    }
}
