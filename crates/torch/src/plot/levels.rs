//! Which levels divide a surface into bands.

/// Levels close together near the least value, where the optimum is, and wide apart far from it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Levels {
    /// Ascending: the least value, the borders between bands, the end of the last one.
    pub bounds: Vec<f64>,
    /// Whether there are values above the last bound.
    pub clipped: bool,
}

/// How many bands there are, besides that of the clipped values.
const BANDS: usize = 7;

impl Levels {
    /// Those of the SWA authors' pictures (dnn-mode-connectivity, `plane_plot.py`): with the values clipped at `most`
    /// and a = `log_first`, level k of 7 is min + exp(a + k·(ln(max − min) − a)/7), and level 0 the minimum. Where all
    /// values are above `most`, twice their minimum takes its place; where they lie closer together than exp(a + 1), a
    /// is ln(max − min) − 3. Values that are not finite count as clipped.
    pub fn of(values: &[f64], most: f64, log_first: f64) -> Self {
        let finite = || values.iter().copied().filter(|v| v.is_finite());
        let least = finite().fold(f64::INFINITY, f64::min);
        let largest = finite().fold(f64::NEG_INFINITY, f64::max);
        if least > largest {
            return Levels { bounds: vec![0.0, 1.0], clipped: true };
        }
        let most = if most > least { most } else { 2.0 * least.abs() };
        let end = largest.min(most);
        let clipped = largest > end || values.iter().any(|v| !v.is_finite());
        if end <= least {
            return Levels { bounds: vec![least, least + 1.0], clipped };
        }
        let log_width = (end - least).ln();
        let first = if log_first > log_width - 1.0 { log_width - 3.0 } else { log_first };
        let step = (log_width - first) / BANDS as f64;
        let mut bounds: Vec<f64> =
            (0..=BANDS).map(|k| least + (first + step * k as f64).exp()).collect();
        (bounds[0], bounds[BANDS]) = (least, end);
        Levels { bounds, clipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NumPy 2.4: min + np.exp(a + (np.log(max - min) - a) / 7 * np.arange(8)), ends as in plane_plot.py.
    #[test]
    fn levels_are_those_of_the_authors() {
        let levels = Levels::of(&[6.0, 90.0, 7.5], 40.0, -1.0);
        let expected = [
            6.0,
            6.702_312_324_001_94,
            7.340_772_397_811_55,
            8.559_645_561_236_61,
            10.886_575_387_330_7,
            15.328_877_160_840_1,
            23.809_599_194_495_2,
            40.0,
        ];
        assert!(levels.clipped && levels.bounds.len() == 8);
        for (found, expected) in levels.bounds.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn every_surface_has_levels() {
        let flat = Levels::of(&[0.2, 0.2], 5.0, -5.0);
        assert_eq!((flat.bounds, flat.clipped), (vec![0.2, 1.2], false));
        let near = Levels::of(&[0.2, 0.2001], 5.0, -5.0);
        assert!(near.bounds.is_sorted_by(|a, b| a < b) && near.bounds[7] == 0.2001);
        let high = Levels::of(&[50.0, 70.0, 99.0], 40.0, -1.0);
        assert!(high.bounds[7] == 99.0 && !high.clipped && high.bounds.is_sorted());
        let nothing = Levels::of(&[f64::NAN], 40.0, -1.0);
        assert!(nothing.clipped && nothing.bounds == [0.0, 1.0]);
        assert!(Levels::of(&[1.0, f64::INFINITY, 2.0], 5.0, -5.0).clipped);
    }
}
