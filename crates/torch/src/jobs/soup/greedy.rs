//! The order of a greedy soup (Wortsman et al. 2022, "Model soups", algorithm 1 "Recipe 1: GreedySoup").

use swa_tools::Result;

/// What became of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step<T> {
    /// Its position among the candidates.
    pub candidate: usize,
    /// What the soup with it did; None of the first, which is the soup at the beginning.
    pub trial: Option<T>,
    /// Whether it is in the soup.
    pub accepted: bool,
}

/// Visits the candidates once, the best first, of equal ones in their order. A candidate stays in the soup if with it
/// no fewer images are right. `alone`: what each candidate does; `right`: how many images that are right; `trial`: what
/// the mean of some candidates does, which are in their order.
pub(super) fn greedy<T>(
    alone: &[T],
    right: impl Fn(&T) -> usize,
    mut trial: impl FnMut(&[usize], &T) -> Result<T>,
) -> Result<Vec<Step<T>>>
where
    T: Clone,
{
    let mut order: Vec<usize> = (0..alone.len()).collect();
    order.sort_by_key(|&candidate| std::cmp::Reverse(right(&alone[candidate])));
    let Some((&first, others)) = order.split_first() else { return Ok(vec![]) };
    let mut steps = vec![Step { candidate: first, trial: None, accepted: true }];
    let (mut soup, mut best) = (vec![first], alone[first].clone());
    for &candidate in others {
        let mut members = soup.clone();
        members.push(candidate);
        members.sort_unstable();
        let found = trial(&members, &best)?;
        let accepted = right(&found) >= right(&best);
        if accepted {
            (soup, best) = (members, found.clone());
        }
        steps.push(Step { candidate, trial: Some(found), accepted });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of each trial, and who was accepted, in the order of the visits.
    fn run(alone: &[usize], results: &[usize]) -> (Vec<Vec<usize>>, Vec<(usize, bool)>) {
        let (mut trials, mut results) = (vec![], results.iter());
        let steps = greedy(
            alone,
            |&right| right,
            |members, _| {
                trials.push(members.to_vec());
                Ok(*results.next().unwrap())
            },
        )
        .unwrap();
        assert_eq!(results.next(), None);
        (trials, steps.iter().map(|step| (step.candidate, step.accepted)).collect())
    }

    /// By hand: 2 is the best, then 0, then 3, then 1. With 0 it is 91, no worse than 90: kept. With 3 it falls to 90:
    /// rejected. With 1 it is 91 again, no worse: kept.
    #[test]
    fn one_pass_the_best_first_and_no_worse_is_enough() {
        let (trials, steps) = run(&[88, 70, 90, 80], &[91, 90, 91]);
        assert_eq!(trials, [vec![0, 2], vec![0, 2, 3], vec![0, 1, 2]]);
        assert_eq!(steps, [(2, true), (0, true), (3, false), (1, true)]);
    }

    #[test]
    fn equal_candidates_come_in_their_order() {
        let (trials, steps) = run(&[5, 5, 5], &[4, 4]);
        assert_eq!(trials, [vec![0, 1], vec![0, 2]]);
        assert_eq!(steps, [(0, true), (1, false), (2, false)]);
    }

    #[test]
    fn a_single_candidate_is_the_soup() {
        assert_eq!(run(&[3], &[]), (vec![], vec![(0, true)]));
        assert_eq!(run(&[], &[]), (vec![], vec![]));
    }

    #[test]
    fn a_rejected_candidate_is_not_tried_again() {
        let (trials, steps) = run(&[9, 8, 7, 6], &[0, 0, 0]);
        assert_eq!(trials, [vec![0, 1], vec![0, 2], vec![0, 3]]);
        assert!(steps[1..].iter().all(|(_, accepted)| !accepted));
    }
}
