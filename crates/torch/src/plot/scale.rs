//! From values to pixels, and which values an axis names.

/// A range of values, and the pixels that it lies on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub values: [f64; 2],
    pub pixels: [f64; 2],
}

impl Scale {
    pub fn at(&self, value: f64) -> f64 {
        let [from, to] = self.values;
        let [first, last] = self.pixels;
        first + (value - from) / (to - from) * (last - first)
    }
}

/// The round values, at steps of 1, 2 or 5 times a power of ten, that lie in the range: as many as there can be, but
/// not more than so many. Each with its text.
pub(super) fn ticks([from, to]: [f64; 2], most: usize) -> Vec<(f64, String)> {
    let width = to - from;
    if !(width > 0.0 && width.is_finite()) {
        return vec![];
    }
    let mut power = (width / most as f64).log10().floor() as i32;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            let step =
                if power < 0 { factor / 10f64.powi(-power) } else { factor * 10f64.powi(power) };
            // A value at the edge counts in spite of rounding.
            let (first, last) = ((from / step - 1e-9).ceil(), (to / step + 1e-9).floor());
            if last - first < most as f64 {
                let digits = (-power).max(0) as usize;
                let one = |i: i64| (i as f64 * step, format!("{:.digits$}", i as f64 * step));
                return (first as i64..=last as i64).map(one).collect();
            }
        }
        power += 1;
    }
}

/// A number with so many digits that count: 0.0312, 6.28, 41.3, 1230.
pub(super) fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let place = value.abs().log10().floor() as i32;
    let after = (digits - 1 - place).max(0) as usize;
    format!("{value:.after$}")
}

/// The least range that holds all finite values, widened by a share on both sides; 0 to 1 without any.
pub(super) fn range(values: impl Iterator<Item = f64>, margin: f64) -> [f64; 2] {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    values.filter(|v| v.is_finite()).for_each(|v| (low, high) = (low.min(v), high.max(v)));
    match high - low {
        width if width > 0.0 => [low - margin * width, high + margin * width],
        _ if low.is_finite() => [low - 0.5, low + 0.5],
        _ => [0.0, 1.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_name_round_values() {
        let text = |range, most| -> Vec<String> {
            ticks(range, most).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(text([-3.2, 19.7], 6), ["0", "5", "10", "15"]);
        assert_eq!(text([0.0, 1.0], 6), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(text([0.0, 0.7], 8), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]);
        assert_eq!(text([1200.0, 9000.0], 5), ["2000", "4000", "6000", "8000"]);
        assert_eq!(text([7.28, 7.31], 4), ["7.28", "7.29", "7.30", "7.31"]);
        assert!(text([1.0, 1.0], 5).is_empty() && text([0.0, f64::NAN], 5).is_empty());
        for i in 1..200 {
            let range = [-0.37 * i as f64, 0.91 * (i * i) as f64];
            let found = ticks(range, 6);
            assert!((2..=6).contains(&found.len()), "{range:?} {found:?}");
        }
    }

    #[test]
    fn numbers_keep_the_digits_that_count() {
        let text = |value| significant(value, 3);
        assert_eq!(
            [text(0.03124), text(5.283), text(41.27), text(1234.0), text(0.0)],
            ["0.0312", "5.28", "41.3", "1234", "0"]
        );
    }

    #[test]
    fn ranges_hold_what_is_finite() {
        assert_eq!(range([3.0, f64::NAN, 1.0, f64::INFINITY].into_iter(), 0.5), [0.0, 4.0]);
        assert_eq!(range([2.0].into_iter(), 0.1), [1.5, 2.5]);
        assert_eq!(range([].into_iter(), 0.1), [0.0, 1.0]);
    }
}
