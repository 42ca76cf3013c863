//! Where a grid of values is above a level: marching squares (Lorensen & Cline 1987, in two dimensions).

use std::collections::BTreeMap;

/// Values on a grid of places.
pub(super) struct Grid<'a> {
    /// Ascending.
    pub x: &'a [f64],
    /// Ascending.
    pub y: &'a [f64],
    /// Row by row, a row for each y. Not finite: above every level.
    pub values: &'a [f64],
}

/// An edge between neighbouring nodes of the grid: its lower left node, and whether it goes up.
type Edge = (usize, usize, bool);

impl Grid<'_> {
    /// A node with a ring of nodes around the grid, which lie on its border and below every level: so lines around an
    /// area are closed.
    fn node(&self, i: usize, j: usize) -> ([f64; 2], Option<f64>) {
        let inner = |n: usize, count: usize| n.saturating_sub(1).min(count - 1);
        let (column, row) = (inner(i, self.x.len()), inner(j, self.y.len()));
        let is_ring = i == 0 || j == 0 || i > self.x.len() || j > self.y.len();
        let value = self.values[row * self.x.len() + column];
        let value = if value.is_finite() { value } else { f64::INFINITY };
        ([self.x[column], self.y[row]], (!is_ring).then_some(value))
    }

    /// The closed lines around where values are at least `level`, between the nodes by linear interpolation: the area
    /// lies to their left.
    pub fn above(&self, level: f64) -> Vec<Vec<[f64; 2]>> {
        let mut next: BTreeMap<Edge, Edge> = BTreeMap::new();
        for j in 0..=self.y.len() {
            for i in 0..=self.x.len() {
                self.cell(i, j, level, &mut next);
            }
        }
        let mut lines = vec![];
        while let Some((&first, _)) = next.iter().next() {
            let (mut line, mut edge) = (vec![], first);
            while let Some(following) = next.remove(&edge) {
                let point = self.crossing(edge, level);
                if line.last() != Some(&point) {
                    line.push(point);
                }
                edge = following;
            }
            if line.first() == line.last() {
                line.pop();
            }
            if line.len() > 2 {
                lines.push(line);
            }
        }
        lines
    }

    /// Adds the lines through a cell, each from the edge that it comes in by to the one that it leaves by.
    fn cell(&self, i: usize, j: usize, level: f64, next: &mut BTreeMap<Edge, Edge>) {
        // Against the clock: corners, and the edge after each.
        let corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)];
        let edges = [(i, j, false), (i + 1, j, true), (i, j + 1, false), (i, j, true)];
        let value = |corner: usize| self.node(corners[corner].0, corners[corner].1).1;
        let inside = [0, 1, 2, 3].map(|corner| value(corner).is_some_and(|v| v >= level));
        let leaves = |edge: &usize| inside[*edge] && !inside[(edge + 1) % 4];
        let enters = |edge: &usize| !inside[*edge] && inside[(edge + 1) % 4];
        // At a saddle the middle decides which corners belong together.
        let middle: Option<f64> = (0..4).map(value).sum::<Option<f64>>().map(|sum| sum / 4.0);
        let is_joined = middle.is_some_and(|middle| middle >= level);
        for start in (0..4).filter(leaves) {
            let mut others = (1..4).map(|step| match is_joined {
                true => (start + step) % 4,
                false => (start + 4 - step) % 4,
            });
            let end = others.find(|edge| enters(edge)).expect("a line that enters leaves");
            next.insert(edges[start], edges[end]);
        }
    }

    /// Where the level lies on an edge between a node above and one below.
    fn crossing(&self, (i, j, up): Edge, level: f64) -> [f64; 2] {
        let (a, from) = self.node(i, j);
        let (b, to) = if up { self.node(i, j + 1) } else { self.node(i + 1, j) };
        let (Some(from), Some(to)) = (from, to) else { return a };
        let share = match (from.is_finite(), to.is_finite()) {
            (true, true) => (level - from) / (to - from),
            // Close to the one that is known.
            (true, false) => 0.0,
            _ => 1.0,
        };
        [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(lines: &[Vec<[f64; 2]>]) -> f64 {
        let of = |line: &Vec<[f64; 2]>| -> f64 {
            let pairs = line.iter().zip(line.iter().cycle().skip(1));
            pairs.map(|(a, b)| (a[0] * b[1] - b[0] * a[1]) / 2.0).sum()
        };
        lines.iter().map(of).sum()
    }

    #[test]
    fn a_slope_is_cut_where_the_level_lies() {
        let axis = [0.0, 1.0, 2.0];
        let values: Vec<f64> = axis.iter().flat_map(|_| axis).collect();
        let grid = Grid { x: &axis, y: &axis, values: &values };
        assert_eq!(area(&grid.above(0.5)), 1.5 * 2.0);
        assert_eq!(area(&grid.above(1.75)), 0.25 * 2.0);
        assert_eq!(area(&grid.above(0.0)), 4.0);
        assert!(grid.above(2.5).is_empty());
        let line = &grid.above(0.5)[0];
        assert!(line.contains(&[0.5, 0.0]) && line.contains(&[0.5, 2.0]), "{line:?}");
    }

    #[test]
    fn a_basin_is_a_hole() {
        let axis: Vec<f64> = (-20..=20).map(|i| i as f64 / 10.0).collect();
        let values: Vec<f64> =
            axis.iter().flat_map(|y| axis.iter().map(move |x| x * x + y * y)).collect();
        let grid = Grid { x: &axis, y: &axis, values: &values };
        let lines = grid.above(1.0);
        assert_eq!(lines.len(), 2);
        // The square without the unit circle.
        assert!((area(&lines) - (16.0 - std::f64::consts::PI)).abs() < 0.01);
    }

    #[test]
    fn at_a_saddle_the_middle_decides() {
        let grid = |middle: [f64; 4]| {
            let axis = [0.0, 1.0];
            let grid = Grid { x: &axis, y: &axis, values: &middle };
            grid.above(1.0).len()
        };
        assert_eq!(grid([4.0, 0.0, 0.0, 4.0]), 1);
        assert_eq!(grid([1.5, 0.0, 0.0, 1.5]), 2);
    }

    #[test]
    fn what_is_not_finite_is_above() {
        let axis = [0.0, 1.0];
        let grid = Grid { x: &axis, y: &axis, values: &[0.0, f64::NAN, 0.0, f64::INFINITY] };
        assert_eq!(area(&grid.above(1.0)), 1.0);
        let all = Grid { x: &axis, y: &axis, values: &[f64::NAN; 4] };
        assert_eq!(area(&all.above(1.0)), 1.0);
    }

    /// Whatever the values are, every line is closed and areas shrink as the level rises.
    #[test]
    fn any_values_give_closed_areas() {
        let mut state = 7u32;
        let mut draw = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            f64::from(state >> 29)
        };
        let axis: Vec<f64> = (0..9).map(f64::from).collect();
        for _ in 0..200 {
            let values: Vec<f64> = (0..81).map(|_| draw()).collect();
            let grid = Grid { x: &axis, y: &axis, values: &values };
            let areas: Vec<f64> =
                [0.0, 0.5, 1.5, 3.5, 6.5].iter().map(|&level| area(&grid.above(level))).collect();
            assert_eq!(areas[0], 64.0);
            assert!(areas.windows(2).all(|pair| pair[1] < pair[0]), "{areas:?}");
        }
    }
}
