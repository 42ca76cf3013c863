//! Planes and lines through weight vectors.

use super::vectors::{distance_to, dot_from, norm};

/// A plane through three weight vectors A, B, C, or the line through A and B.
///
/// The origin is A. With d = ‖B − A‖ the first axis is û = (B − A)/d. With p = ⟨C − A, û⟩ the second is v̂ = (C − A −
/// p·û)/h, where h = ‖C − A − p·û‖. So A is at (0, 0), B at (d, 0), C at (p, h), and the point at (x, y) is
/// A + x·û + y·v̂, which is a·A + b·B + c·C with c = y/h, b = (x − c·p)/d, a = 1 − b − c.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// d.
    along: f64,
    /// p and h.
    third: Option<[f64; 2]>,
}

/// Where a weight vector lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Projected {
    pub at: [f64; 2],
    /// Its distance from the plane or the line.
    pub off: f64,
}

/// Of a third point: its distance from the line must be more than this share of its distance from the first one.
const FLAT: f64 = 1e-6;

/// And more than this share of its length, or it is the rounding of f32 alone.
const ROUNDING: f64 = 2.4e-7;

impl Span {
    /// Through the two or three vectors; the position of the first that lies on what those before it span, if there is
    /// one.
    pub fn of(points: &[&[f32]]) -> Result<Self, usize> {
        let along = dot_from(points[0], points[1], points[1]).sqrt();
        if along == 0.0 {
            return Err(1);
        }
        let Some(c) = points.get(2) else { return Ok(Span { along, third: None }) };
        let length = dot_from(points[0], c, c).sqrt();
        let p = dot_from(points[0], c, points[1]) / along;
        let b = p / along;
        let h = distance_to(c, &[(1.0 - b, points[0]), (b, points[1])]);
        if h <= FLAT * length.max(along) || h <= ROUNDING * norm(c) {
            return Err(2);
        }
        Ok(Span { along, third: Some([p, h]) })
    }

    /// Where the vectors that it goes through are.
    pub fn corners(&self) -> Vec<[f64; 2]> {
        let two = [[0.0, 0.0], [self.along, 0.0]];
        two.into_iter().chain(self.third).collect()
    }

    /// By how much each of the vectors counts at a point; the sum is 1.
    pub fn coefficients(&self, [x, y]: [f64; 2]) -> Vec<f64> {
        match self.third {
            None => {
                let b = x / self.along;
                vec![1.0 - b, b]
            }
            Some([p, h]) => {
                let c = y / h;
                let b = (x - c * p) / self.along;
                vec![1.0 - b - c, b, c]
            }
        }
    }

    /// The point nearest to a weight vector; `points` are those that it goes through.
    pub fn project(&self, points: &[&[f32]], w: &[f32]) -> Projected {
        let x = dot_from(points[0], w, points[1]) / self.along;
        let y = self.third.map_or(0.0, |[p, h]| {
            // ⟨w − A, v̂⟩ = (⟨w − A, C − A⟩ − p·x) / h.
            (dot_from(points[0], w, points[2]) - p * x) / h
        });
        let parts: Vec<(f64, &[f32])> =
            self.coefficients([x, y]).into_iter().zip(points.iter().copied()).collect();
        Projected { at: [x, y], off: distance_to(w, &parts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f32; 4] = [1.0, 1.0, 1.0, 0.0];
    const B: [f32; 4] = [4.0, 5.0, 1.0, 0.0];
    /// A + 2·û + 3·v̂ with û = (0.6, 0.8, 0, 0) and v̂ = (0, 0, 1, 0).
    const C: [f32; 4] = [2.2, 2.6, 4.0, 0.0];

    fn close(found: &[f64], expected: &[f64]) {
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6;
        assert!(found.len() == expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(near), "{found:?} {expected:?}");
    }

    #[test]
    fn the_three_points_lie_where_they_were_put() {
        let span = Span::of(&[&A, &B, &C]).unwrap();
        close(&span.corners().concat(), &[0.0, 0.0, 5.0, 0.0, 2.0, 3.0]);
        close(&span.coefficients([0.0, 0.0]), &[1.0, 0.0, 0.0]);
        close(&span.coefficients([5.0, 0.0]), &[0.0, 1.0, 0.0]);
        close(&span.coefficients([2.0, 3.0]), &[0.0, 0.0, 1.0]);
        // A − 5·û: A + (A − B).
        close(&span.coefficients([-5.0, 0.0]), &[2.0, -1.0, 0.0]);
        // (3.5, 1.5) is halfway between B and C.
        close(&span.coefficients([3.5, 1.5]), &[0.0, 0.5, 0.5]);
        // Corners are the vectors themselves, to the last bit.
        let corners = span.corners();
        assert_eq!(span.coefficients(corners[0]), [1.0, 0.0, 0.0]);
        assert_eq!(span.coefficients(corners[1]), [0.0, 1.0, 0.0]);
        assert_eq!(span.coefficients(corners[2]), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn others_are_projected_and_their_distance_is_known() {
        let points: [&[f32]; 3] = [&A, &B, &C];
        let span = Span::of(&points).unwrap();
        // A + 1·û − 2·v̂ + 7·(0, 0, 0, 1).
        let found = span.project(&points, &[1.6, 1.8, -1.0, 7.0]);
        close(&[found.at[0], found.at[1], found.off], &[1.0, -2.0, 7.0]);
        // On the line through A and B: 3 along; off by √(6² + 7²) of the rest.
        let line = Span::of(&points[..2]).unwrap();
        close(&line.coefficients([1.0, 0.0]), &[0.8, 0.2]);
        let found = line.project(&points[..2], &[2.8, 3.4, 7.0, 7.0]);
        close(&[found.at[0], found.at[1], found.off], &[3.0, 0.0, 85f64.sqrt()]);
    }

    #[test]
    fn what_spans_nothing_is_told_by_its_position() {
        assert_eq!(Span::of(&[&A, &A, &B]), Err(1));
        assert_eq!(Span::of(&[&A, &A]), Err(1));
        let beyond = A.iter().zip(B).map(|(a, b)| a + 1.7 * (b - a)).collect::<Vec<f32>>();
        assert_eq!(Span::of(&[&A, &B, &beyond]), Err(2));
        assert_eq!(Span::of(&[&A, &B, &A]), Err(2));
        // Halfway between two that are close to each other, rounded.
        let close: Vec<f32> = A.iter().map(|a| a * 1.000_001 + 1e-6).collect();
        let middle: Vec<f32> = A.iter().zip(&close).map(|(a, b)| (a + b) / 2.0).collect();
        assert_eq!(Span::of(&[&A, &close, &middle]), Err(2));
    }
}
