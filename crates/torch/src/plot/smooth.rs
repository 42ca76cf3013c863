//! A finer grid, so that contours of few points are not angular.

/// New points between neighbours.
const PARTS: usize = 4;

/// The same axis with new points between the old ones.
pub(super) fn finer(axis: &[f64]) -> Vec<f64> {
    let between = |pair: &[f64]| {
        let (from, to) = (pair[0], pair[1]);
        (0..PARTS).map(move |k| from + (to - from) * k as f64 / PARTS as f64)
    };
    let mut all: Vec<f64> = axis.windows(2).flat_map(between).collect();
    all.extend(axis.last());
    all
}

/// The values on the finer grid, row by row: at the old points they are the same, between them cubic (Catmull & Rom
/// 1974), or linear where a neighbour is not finite.
pub(super) fn values(columns: usize, values: &[f64]) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = values.chunks_exact(columns).map(line).collect();
    let width = rows[0].len();
    let columns: Vec<Vec<f64>> =
        (0..width).map(|i| line(&rows.iter().map(|row| row[i]).collect::<Vec<_>>())).collect();
    (0..columns[0].len()).flat_map(|j| columns.iter().map(move |column| column[j])).collect()
}

fn line(values: &[f64]) -> Vec<f64> {
    let last = values.len() - 1;
    let mut all = Vec::with_capacity(last * PARTS + 1);
    for i in 0..last {
        let (from, to) = (values[i], values[i + 1]);
        // Beyond the ends the line goes on straight.
        let before = if i > 0 { values[i - 1] } else { 2.0 * from - to };
        let after = if i + 1 < last { values[i + 2] } else { 2.0 * to - from };
        let is_known = before.is_finite() && after.is_finite();
        for k in 0..PARTS {
            let t = k as f64 / PARTS as f64;
            all.push(match (from.is_finite() && to.is_finite(), is_known) {
                _ if k == 0 => from,
                (false, _) => f64::NAN,
                (true, false) => from + t * (to - from),
                (true, true) => {
                    let slope = [(to - before) / 2.0, (after - from) / 2.0];
                    let rest = [
                        3.0 * (to - from) - 2.0 * slope[0] - slope[1],
                        2.0 * (from - to) + slope[0] + slope[1],
                    ];
                    from + t * (slope[0] + t * (rest[0] + t * rest[1]))
                }
            });
        }
    }
    all.push(values[last]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parabolas_stay_and_points_keep_their_values() {
        let axis: Vec<f64> = (-3..=3).map(f64::from).collect();
        let f = |x: f64, y: f64| 1.0 + x * x + 2.0 * y * y - x * y;
        let of = |axis: &[f64]| -> Vec<f64> {
            axis.iter().flat_map(|&y| axis.iter().map(move |&x| f(x, y))).collect()
        };
        let (fine, found) = (finer(&axis), values(7, &of(&axis)));
        assert_eq!((fine.len(), found.len()), (6 * PARTS + 1, (6 * PARTS + 1).pow(2)));
        for (j, &y) in fine.iter().enumerate() {
            for (i, &x) in fine.iter().enumerate() {
                let value = found[j * fine.len() + i];
                let is_point = i % PARTS == 0 && j % PARTS == 0;
                let is_inner = x.abs() <= 2.0 && y.abs() <= 2.0;
                assert!(!is_point || value == f(x, y));
                assert!(!is_inner || (value - f(x, y)).abs() < 1e-9, "{x} {y} {value}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_where_it_is() {
        let found = line(&[1.0, 2.0, f64::NAN, 4.0, 5.0, 6.0]);
        assert_eq!(found[..5], [1.0, 1.25, 1.5, 1.75, 2.0]);
        assert!(
            found[5..12].iter().all(|v| v.is_nan()) && found[12..].iter().all(|v| v.is_finite())
        );
    }
}
