use super::layout::HEAD;
use super::*;
use crate::average::totals::Scratch;
use proptest::prelude::*;

fn block(rows: &[Vec<f64>]) -> Block {
    let mut block = Block::default();
    block.clear(rows[0].len());
    add(&mut block, rows, true);
    block
}

fn add(block: &mut Block, rows: &[Vec<f64>], mut is_first: bool) {
    for row in rows {
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
        block.add(&bytes, Float::F64, is_first, true, &mut vec![]);
        is_first = false;
    }
}

fn bytes(block: &mut Block) -> Vec<u8> {
    let mut out = vec![];
    block.write(&mut out);
    out
}

fn means(block: &Block, count: u64) -> Vec<f64> {
    let totals = block.totals();
    let mut out = vec![0; 8 * block.small.len().max(block.big.as_ref().map_or(0, Vec::len))];
    totals.means(count, Float::F64, &mut out, &mut Scratch::default());
    out.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
}

#[test]
fn far_apart_exponents_are_exact_and_take_what_they_need() {
    let p = |e: i32| 2f64.powi(e);
    let rows: Vec<Vec<f64>> =
        [p(100), 1.0, p(-60), -p(100), -1.0].into_iter().map(|x| vec![x]).collect();
    let mut sum = block(&rows);
    // All but 2^-60 cancels.
    let mut expected = [(-60i16).to_le_bytes(), 1u16.to_le_bytes()].concat();
    expected.push(1);
    assert_eq!(bytes(&mut sum), expected);
    assert_eq!(means(&sum, 5), [p(-60) / 5.0]);
    let mut wide = block(&rows[..3]);
    let found = bytes(&mut wide);
    assert_eq!(found.len(), HEAD + 161 / 8 + 1);
    let mut again = Block::default();
    again.read(&mut &found[..], 1).unwrap();
    add(&mut again, &rows[3..], false);
    assert_eq!(bytes(&mut again), bytes(&mut sum));
    let mut widest = block(&[vec![f64::MAX, f64::from_bits(1)], vec![f64::MAX, 0.0]]);
    let found = bytes(&mut widest);
    again.read(&mut &found[..], 2).unwrap();
    assert_eq!(means(&again, 2), [f64::MAX, 0.0]);
}

#[test]
fn ordinary_weights_take_less_than_eight_bytes() {
    // A normal distribution by the central limit, as many digits as f32 has.
    let mut state = 1u64;
    let mut next = || {
        let mut sum = 0.0;
        for _ in 0..12 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            sum += (state >> 40) as f64 / (1u64 << 24) as f64;
        }
        f64::from(((sum - 6.0) * 0.02) as f32)
    };
    let rows: Vec<Vec<f64>> = (0..300).map(|_| (0..BLOCK).map(|_| next()).collect()).collect();
    assert!(bytes(&mut block(&rows)).len() <= HEAD + 8 * BLOCK);
}

#[test]
fn zeros_have_signs_and_what_is_not_finite_stays_so() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let rows = [
        vec![-0.0, -0.0, 1.0, inf, inf, -inf, nan, 0.0, 1.0],
        vec![-0.0, 0.0, -1.0, 1.0, -inf, -inf, 1.0, -0.0, nan],
    ];
    let mut sum = block(&rows);
    let first = bytes(&mut sum);
    let found = means(&sum, 2);
    let bits = |x: f64| x.to_bits();
    assert_eq!(bits(found[0]), bits(-0.0));
    for zero in [1, 2, 7] {
        assert_eq!(bits(found[zero]), 0, "{zero}");
    }
    assert_eq!((found[3], found[5]), (inf, -inf));
    assert!([4, 6, 8].iter().all(|&i| found[i].is_nan()));
    let mut again = Block::default();
    again.read(&mut &first[..], 9).unwrap();
    assert_eq!(bytes(&mut again), first);
    // Nothing is left of the marks once all are numbers.
    let mut gone = block(&[vec![-0.0, 1.0]]);
    assert_eq!(bytes(&mut gone).len(), HEAD + 2 + 2);
    add(&mut gone, &[vec![0.0, 1.0]], false);
    assert_eq!(bytes(&mut gone).len(), HEAD + 2);
}

#[test]
fn what_is_no_block_is_refused() {
    let whole = bytes(&mut block(&[vec![1.0, -3.0, 0.5]]));
    for end in 0..whole.len() {
        assert!(Block::default().read(&mut &whole[..end], 3).is_none());
    }
    for (head, values) in [
        ([0x00u8, 0x80, 1, 0], 1), // an exponent that no sum has
        ([0, 0, 0xff, 0x7f], 1),
        ([0, 0, 1, 0x80], 1),
    ] {
        let bytes = [&head[..], &[9; 40]].concat();
        assert!(Block::default().read(&mut &bytes[..], values).is_none());
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f32>().prop_map(f64::from),
        any::<f64>(),
        (-16i32..16, -160i32..140).prop_map(|(m, e)| m as f64 * 2f64.powi(e)),
        Just(-0.0),
        Just(0.0),
        Just(f64::from_bits(1)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever the order, and however often it was written and read in between.
    #[test]
    fn the_bytes_are_those_of_the_sums(
        rows in proptest::collection::vec(proptest::collection::vec(value(), 5), 1..7),
        cut in 0usize..7,
    ) {
        let expected = bytes(&mut block(&rows));
        let back: Vec<_> = rows.iter().rev().cloned().collect();
        prop_assert_eq!(&bytes(&mut block(&back)), &expected);
        let cut = cut.clamp(1, rows.len());
        let first = bytes(&mut block(&rows[..cut]));
        let mut again = Block::default();
        again.read(&mut &first[..], 5).unwrap();
        prop_assert_eq!(&bytes(&mut again), &first);
        again.read(&mut &first[..], 5).unwrap();
        add(&mut again, &rows[cut..], false);
        prop_assert_eq!(&bytes(&mut again), &expected);
    }
}
