//! A small dense system, solved as LAPACK does: elimination with the largest pivot of the column.

/// What came of it.
pub(super) struct Solved {
    pub solution: Vec<f64>,
    /// ‖A‖₁·‖A⁻¹‖₁; infinite if the matrix is singular.
    pub condition: f64,
}

/// x of A x = b.
pub(super) fn solve(mut matrix: Vec<Vec<f64>>, b: Vec<f64>) -> Solved {
    let n = b.len();
    let norm = norm(&matrix);
    // b and the columns of the identity are the right-hand sides.
    let mut right: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let mut row = vec![0.0; n + 1];
            (row[0], row[1 + i]) = (b[i], 1.0);
            row
        })
        .collect();
    for column in 0..n {
        let size = |row: &usize| matrix[*row][column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b))).unwrap_or(column);
        if matrix[pivot][column] == 0.0 {
            return Solved { solution: vec![f64::NAN; n], condition: f64::INFINITY };
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..n {
            let factor = matrix[row][column] / matrix[column][column];
            let (above, below) = matrix.split_at_mut(row);
            subtract(&mut below[0][column..], &above[column][column..], factor);
            let (above, below) = right.split_at_mut(row);
            subtract(&mut below[0], &above[column], factor);
        }
    }
    for column in (0..n).rev() {
        let pivot = matrix[column][column];
        right[column].iter_mut().for_each(|value| *value /= pivot);
        for row in 0..column {
            let factor = matrix[row][column];
            let (above, below) = right.split_at_mut(column);
            subtract(&mut above[row], &below[0], factor);
        }
    }
    let solution = right.iter().map(|row| row[0]).collect();
    let inverse: Vec<Vec<f64>> = right.iter().map(|row| row[1..].to_vec()).collect();
    Solved { solution, condition: norm * self::norm(&inverse) }
}

fn subtract(from: &mut [f64], what: &[f64], factor: f64) {
    from.iter_mut().zip(what).for_each(|(from, what)| *from -= factor * what);
}

/// The largest sum of a column's magnitudes.
fn norm(matrix: &[Vec<f64>]) -> f64 {
    let sum = |column: usize| matrix.iter().map(|row| row[column].abs()).sum::<f64>();
    (0..matrix.len()).map(sum).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_systems_are_solved() {
        // The largest pivot is not the first.
        let a = vec![vec![0.0, 2.0, 1.0], vec![4.0, 1.0, -1.0], vec![-2.0, 1.0, 3.0]];
        let solved = solve(a, vec![7.0, 3.0, 9.0]);
        let expected = [1.0, 2.0, 3.0];
        assert!(solved.solution.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-14));
        // By hand: inverse of [[2, 1], [1, 1]] is [[1, -1], [-1, 2]].
        let solved = solve(vec![vec![2.0, 1.0], vec![1.0, 1.0]], vec![1.0, 0.0]);
        assert_eq!((solved.solution, solved.condition), (vec![1.0, -1.0], 9.0));
        let singular = solve(vec![vec![1.0, 1.0], vec![1.0, 1.0]], vec![1.0, 1.0]);
        assert_eq!(singular.condition, f64::INFINITY);
    }
}
