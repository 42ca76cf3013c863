use super::super::super::exact;
use super::super::narrow;
use super::super::tests::in_all_registers;
use super::*;
use proptest::prelude::*;

const NARROW: [Float; 2] = [Float::F16, Float::BF16];
const WRITTEN: [Float; 4] = [Float::F64, Float::F32, Float::F16, Float::BF16];

/// The result and the pieces left, the same in all registers.
fn all(inputs: &[&[u8]], from: Float, to: Float) -> (Vec<u8>, Vec<usize>) {
    in_all_registers(|| {
        let (mut out, mut left) = (vec![0; inputs[0].len() / 2 * to.size()], vec![]);
        narrow(inputs, from, to, &mut out, &mut left);
        (out, left)
    })
}

/// Holds every piece that is not left to the exact mean, for every type; returns how many there are.
fn check(inputs: &[Vec<u16>], from: Float) -> usize {
    let bytes: Vec<Vec<u8>> =
        inputs.iter().map(|codes| codes.iter().flat_map(|c| c.to_le_bytes()).collect()).collect();
    let inputs: Vec<&[u8]> = bytes.iter().map(|bytes| &bytes[..]).collect();
    let divisor = exact::divisor(&vec![1.0; inputs.len()]);
    let mut proved = 0;
    for to in WRITTEN {
        let (out, left) = all(&inputs, from, to);
        for (i, code) in out.chunks(to.size()).enumerate() {
            if left.contains(&(i / PIECE)) {
                continue;
            }
            let terms = inputs.iter().map(|bytes| (1.0, from.decode(&bytes[2 * i..][..2])));
            let expected = exact::mean(terms.clone(), &divisor, to).to_le_bytes();
            let values: Vec<f64> = terms.map(|(_, x)| x).collect();
            assert_eq!(code, &expected[..to.size()], "{from:?} {to:?} of {values:?}");
        }
        let pieces = 0..inputs[0].len() / 2 / PIECE;
        proved += pieces.filter(|piece| !left.contains(piece)).count();
    }
    proved
}

fn code(x: f64, float: Float) -> u16 {
    exact::mean([(1.0, x)].into_iter(), &exact::divisor(&[1.0]), float) as u16
}

#[test]
fn a_piece_is_proved_up_to_the_last_bit_and_no_further() {
    let p = |e: i32| 2f64.powi(e);
    for from in NARROW {
        let precision = from.format().precision;
        // The smallest value's last bit, times 2^24, is what n of the largest may reach.
        for n in [1usize, 2, 4, 7, 16] {
            let reach = 24 - (precision - 1) - n.next_power_of_two().ilog2() as i32;
            for (exponent, proved) in [(reach, true), (reach + 1, false)] {
                let smallest = -4;
                if smallest + exponent >= from.format().max_exponent {
                    continue; // f16 has not so many
                }
                let mut codes = vec![vec![code(p(smallest + exponent), from); PIECE]; n];
                codes[n - 1][77] = code(-p(smallest), from);
                assert_eq!(check(&codes, from) > 0, proved, "{from:?}, {n} inputs, 2^{exponent}");
            }
        }
    }
}

#[test]
fn zeros_ties_subnormals_and_large_values_are_exact() {
    for from in NARROW {
        let format = from.format();
        let one = code(1.0, from);
        let minus = 0x8000u16;
        let largest = code(2f64.powi(format.max_exponent), from) | 1;
        let specials = [
            vec![0, 0, minus, minus],         // zeros of both signs
            vec![minus, minus],               // −0 only if all are
            vec![one, one | minus],           // cancellation to +0
            vec![one, one + 1],               // a tie
            vec![one + 1, one + 2],           // a tie the other way
            vec![one, one, one + 1],          // no tie
            vec![1, 0, 0],                    // a third of the smallest subnormal
            vec![1, 0],                       // half of it: a tie, to zero
            vec![3 | minus, 0],               // a tie of subnormals
            vec![1, 2, 3, 0x7f, 0x3ff, 9, 1], // subnormals
            vec![largest, largest],           // the sum overflows, the mean does not
            vec![largest, largest | minus],
            vec![one; 16],
            (0..16).map(|i| one + i).collect(),
        ];
        for values in specials {
            let inputs: Vec<Vec<u16>> = values.iter().map(|&code| vec![code; PIECE]).collect();
            let proved = check(&inputs, from);
            assert!(proved > 0 || values.contains(&largest), "{from:?} {values:x?}");
        }
    }
}

#[test]
fn what_is_not_finite_is_left() {
    for from in NARROW {
        let inf = code(f64::INFINITY, from);
        for bad in [inf, inf | 1, inf | 0x8000, 0xffff] {
            let mut codes = vec![vec![code(0.5, from); 3 * PIECE]; 3];
            codes[1][PIECE + 100] = bad;
            let bytes: Vec<Vec<u8>> =
                codes.iter().map(|c| c.iter().flat_map(|c| c.to_le_bytes()).collect()).collect();
            let inputs: Vec<&[u8]> = bytes.iter().map(|bytes| &bytes[..]).collect();
            assert_eq!(all(&inputs, from, Float::F32).1, [1], "{from:?} {bad:x}");
        }
    }
}

#[test]
fn every_code_of_a_pair_is_exact() {
    // All magnitudes beside neighbours of many distances: every rounding of every exponent.
    for from in NARROW {
        let end = code(f64::INFINITY, from);
        for (distance, sign) in [(0, 0), (1, 0), (1, 0x8000), (7, 0), (130, 0), (0x180, 0x8000)] {
            let a: Vec<u16> = (0..end).collect();
            let b: Vec<u16> = a.iter().map(|c| (c + distance).min(end - 1) | sign).collect();
            let c: Vec<u16> = a.iter().map(|c| c ^ 0x8001).collect();
            assert!(check(&[a.clone(), b.clone()], from) > 100);
            assert!(check(&[a, b, c], from) > 100);
        }
    }
}

/// Codes whose exponents lie within some distance.
fn codes() -> impl Strategy<Value = Vec<u16>> {
    let seed = proptest::collection::vec(any::<u16>(), PIECE);
    (0u16..200, 0u16..12, seed).prop_map(|(lowest, distance, seed)| {
        let near = |bits: u16| {
            let exponent = (lowest + (bits >> 7 & 0xff) % (distance + 1)).min(254);
            bits & 0x807f | exponent << 7
        };
        seed.into_iter().map(near).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn means_are_exact_for_any_number_of_inputs(
        base in codes(),
        seeds in proptest::collection::vec(proptest::collection::vec(any::<u16>(), PIECE), MOST_INPUTS),
        n in 1..=MOST_INPUTS,
        keep in prop_oneof![Just(0x007f), Just(0x00ff), Just(0x03ff), Just(0x807f), Just(0xffff)],
    ) {
        for from in NARROW {
            // The base with some of its bits changed, input by input.
            let inputs: Vec<Vec<u16>> = (seeds[..n].iter())
                .map(|seed| base.iter().zip(seed).map(|(b, s)| b ^ (s & keep)).collect())
                .collect();
            check(&inputs, from);
        }
    }
}
