//! Where SWAD begins and ends to average (Cha et al. 2021, "SWAD: Domain Generalization by Seeking Flat Minima",
//! algorithm 1): from where the loss has reached its valley to before it leaves it.

/// The rule's settings, counted in evaluations. The defaults are the paper's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swad {
    /// N_s: averaging starts at a loss that is the least of so many, itself and those after it.
    pub converge: usize,
    /// N_e: it ends before so many losses in a row that are all above the threshold.
    pub overfit: usize,
    /// The threshold is 1 + this times the mean of the losses at the start.
    pub tolerance: f64,
}

impl Default for Swad {
    fn default() -> Self {
        Swad { converge: 3, overfit: 6, tolerance: 0.3 }
    }
}

/// What to average: evaluations by position, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Valley {
    /// t_s.
    pub start: usize,
    /// t_e.
    pub end: usize,
    /// The mean of the losses at the start.
    pub level: f64,
    /// The loss that the end is decided by.
    pub threshold: f64,
    /// Whether the losses left the valley; else all are averaged to the last.
    pub left: bool,
}

impl Swad {
    /// The valley in losses in order; None if none is the least of `converge` in a row. A loss that is not finite is
    /// above any threshold, and none is found that starts with it among its `converge`.
    pub(super) fn valley(&self, losses: &[f64]) -> Option<Valley> {
        let Swad { converge, overfit, tolerance } = *self;
        let finite = |loss: &f64| loss.is_finite();
        // The first that is no larger than those after it; equal ones count as the least.
        let is_start = |window: &[f64]| {
            window.iter().all(finite) && window.iter().all(|loss| window[0] <= *loss)
        };
        let start = losses.windows(converge).position(is_start)?;
        let level = losses[start..][..converge].iter().sum::<f64>() / converge as f64;
        let threshold = (1.0 + tolerance) * level;
        let above = |loss: &f64| !finite(loss) || *loss > threshold;
        // i in the paper runs on from the last loss that decided about the start. A window that reaches back to the
        // start is never above: its loss is at most the mean.
        let after = start + converge;
        let leaves = |&i: &usize| i + 1 >= overfit && losses[i + 1 - overfit..=i].iter().all(above);
        let left = (after..losses.len()).find(leaves);
        let end = left.map_or(losses.len() - 1, |i| i - overfit);
        Some(Valley { start, end, level, threshold, left: left.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn ends(swad: Swad, losses: &[f64]) -> Option<(usize, usize)> {
        swad.valley(losses).map(|valley| (valley.start, valley.end))
    }

    /// By hand: 3 is the first loss with none below it in [3, 4, 5]; level 4, threshold 5.2. The first six in a row
    /// above 5.2 are at 9..=14, so the end is 8.
    #[test]
    fn the_valley_of_the_paper() {
        let losses =
            [9.0, 7.0, 5.0, 3.0, 4.0, 5.0, 6.0, 6.0, 5.1, 6.0, 5.3, 7.0, 8.0, 9.0, 5.21, 1.0];
        let valley = Swad::default().valley(&losses).unwrap();
        assert_eq!((valley.start, valley.end, valley.left), (3, 8, true));
        assert_eq!(valley.level, 4.0);
        assert!((valley.threshold - 5.2).abs() < 1e-12);
        // 5.1 in the place of 5.3 breaks the row: never six above, all to the last.
        let mut kept = losses;
        kept[10] = 5.1;
        let valley = Swad::default().valley(&kept).unwrap();
        assert_eq!((valley.start, valley.end, valley.left), (3, 15, false));
    }

    #[test]
    fn other_settings_are_other_valleys() {
        let losses = [3.0, 2.0, 2.5, 1.0, 4.0, 4.0, 4.0, 0.5];
        // With windows of one, the first loss is the start; the threshold 3 × 1.
        assert_eq!(ends(Swad { converge: 1, overfit: 1, tolerance: 0.0 }, &losses), Some((0, 3)));
        // 2.0 is the least of [2, 2.5]; level 2.25, threshold 2.25.
        assert_eq!(ends(Swad { converge: 2, overfit: 3, tolerance: 0.0 }, &losses), Some((1, 3)));
        assert_eq!(ends(Swad { converge: 2, overfit: 4, tolerance: 0.0 }, &losses), Some((1, 7)));
        assert_eq!(ends(Swad { converge: 2, overfit: 3, tolerance: 1.0 }, &losses), Some((1, 7)));
    }

    #[test]
    fn a_loss_that_falls_to_the_end_has_no_valley() {
        let falling: Vec<f64> = (0..20).map(|i| 20.0 - i as f64).collect();
        assert_eq!(ends(Swad::default(), &falling), None);
        assert_eq!(ends(Swad::default(), &[1.0, 2.0]), None);
        // Equal ones are a minimum: the first of them.
        assert_eq!(ends(Swad::default(), &[2.0, 1.0, 1.0, 1.0]), Some((1, 3)));
    }

    #[test]
    fn a_loss_that_is_not_finite_is_above_and_starts_nothing() {
        let nan = f64::NAN;
        assert_eq!(ends(Swad::default(), &[1.0, nan, 2.0, 0.5, 0.6, 0.7]), Some((3, 5)));
        let mut losses = vec![1.0, 1.1, 1.2];
        losses.extend([nan, f64::INFINITY, nan, 9.0, 9.0, 9.0]);
        assert_eq!(ends(Swad::default(), &losses), Some((0, 2)));
    }

    /// The end is never before the start.
    #[test]
    fn the_start_itself_is_averaged() {
        let losses = [1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0];
        let swad = Swad { converge: 3, overfit: 6, tolerance: 0.0 };
        // Level 19/3: the six from 1 to 6 are above it.
        assert_eq!(ends(swad, &losses), Some((0, 0)));
    }

    /// The authors' code keeps the last losses in two queues, one loss at a time. This does what it does, in other
    /// words: where it converges, and the loss at which the valley is dead.
    fn with_queues(swad: Swad, losses: &[f64]) -> Option<(usize, Option<usize>)> {
        let (mut converge, mut smooth) = (VecDeque::new(), VecDeque::new());
        let mut found: Option<(usize, f64)> = None;
        for (i, &loss) in losses.iter().enumerate() {
            for (queue, size) in [(&mut converge, swad.converge), (&mut smooth, swad.overfit)] {
                queue.push_back((i, loss));
                if queue.len() > size {
                    queue.pop_front();
                }
            }
            match found {
                None if converge.len() < swad.converge => {}
                None => {
                    let least =
                        converge.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
                    let (first, loss) = converge[0];
                    if loss == least {
                        let mean = converge.iter().map(|(_, loss)| loss).sum::<f64>()
                            / converge.len() as f64;
                        found = Some((first, mean * (1.0 + swad.tolerance)));
                    }
                }
                Some((start, _)) if smooth[0].0 < start => {}
                Some((start, threshold)) => {
                    let least = smooth.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
                    if least > threshold {
                        return Some((start, Some(i)));
                    }
                }
            }
        }
        found.map(|(start, _)| (start, None))
    }

    proptest! {
        #[test]
        fn the_ends_are_those_of_the_authors_code(
            losses in prop::collection::vec(1u32..40, 0..40),
            converge in 1usize..6,
            overfit in 1usize..9,
            tolerance in 0u32..4,
        ) {
            // Quarters: sums and means of few of them are exact, so that ties are ties.
            let losses: Vec<f64> = losses.into_iter().map(|loss| loss as f64 / 4.0).collect();
            let swad = Swad { converge, overfit, tolerance: tolerance as f64 / 8.0 };
            let found = swad.valley(&losses).map(|v| (v.start, v.left.then_some(v.end + overfit)));
            prop_assert_eq!(found, with_queues(swad, &losses));
        }
    }
}
