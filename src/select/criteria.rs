//! Which of the checkpoints to use.

use std::collections::HashMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::metrics::{self, ByResults, Chosen};
use super::numbers::{check_numbered, different_words, numbers};
use super::order;
use crate::{Error, Kind, Result, setting};

/// Narrows the inputs down; all that is given must hold. Numbers are those in the names (`epoch_3`), or positions in
/// natural order.
#[derive(Debug, Clone, Default)]
pub struct Criteria {
    /// The smallest number to use.
    pub start: Option<u64>,
    /// Only every so many-th, counted from `start`, or else from the smallest number there is.
    pub every: Option<NonZeroU64>,
    /// Only so many from the end, after everything else.
    pub last: Option<NonZeroUsize>,
    /// The smallest and largest number to use.
    pub range: Option<RangeInclusive<u64>>,
    /// Finds the number in the path: by its first group, or else all that it matches.
    pub number: Option<Regex>,
    /// Use positions in natural order, from 1, whatever the names say.
    pub by_position: bool,
    /// Of those that are left after everything else, the ones that a trainer's results choose.
    pub results: Option<ByResults>,
    /// Checkpoints that are the same file, or have the same weights, count as often as they are named.
    pub allow_duplicates: bool,
}

impl Criteria {
    /// The paths, in natural order, that meet all criteria, and what results had to do with it.
    pub(super) fn narrow(
        &self,
        all: Vec<PathBuf>,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<PathBuf>, Option<Chosen>)> {
        let needs_numbers = self.start.is_some() || self.every.is_some() || self.range.is_some();
        let mut paths = match needs_numbers && !all.is_empty() {
            true => self.by_number(all.clone(), notes)?,
            false => all.clone(),
        };
        if (needs_numbers || self.last.is_some()) && !self.by_position && self.number.is_none() {
            notes.extend(different_words(&all).map(|[a, b]| {
                format!(
                    "`{}` and `{}` have different words before their numbers: if these count different things, name one kind",
                    a.display(),
                    b.display()
                )
            }));
        }
        if let Some(last) = self.last {
            if !self.by_position && self.number.is_none() {
                check_numbered(&paths)?;
            }
            paths = self.last_of(paths, last.get())?;
        }
        let Some(results) = self.results.as_ref().filter(|_| !paths.is_empty()) else {
            return Ok((paths, None));
        };
        // Positions are those among all.
        let numbers = |paths: &[PathBuf]| -> Result<(Vec<u64>, bool)> {
            let (numbers, is_named) = self.numbers(&all)?;
            let of_all: HashMap<&PathBuf, u64> = all.iter().zip(numbers).collect();
            Ok((paths.iter().map(|path| of_all[path]).collect(), is_named))
        };
        let (paths, chosen) = metrics::choose(paths, results, numbers, notes)?;
        Ok((paths, Some(chosen)))
    }

    /// The last so many: by the numbers that an expression finds, else by their order.
    fn last_of(&self, mut paths: Vec<PathBuf>, count: usize) -> Result<Vec<PathBuf>> {
        let surplus = paths.len().saturating_sub(count);
        let numbers = match &self.number {
            Some(number) if !self.by_position => numbers(&paths, Some(number))?,
            _ => None,
        };
        let Some(numbers) = numbers else {
            if surplus > 0 && !self.by_position {
                order::check(&paths)?;
            }
            paths.drain(..surplus);
            return Ok(paths);
        };
        let mut places: Vec<usize> = (0..paths.len()).collect();
        places.sort_by_key(|&place| (numbers[place], place));
        let mut kept = places.split_off(surplus);
        kept.sort();
        Ok(kept.into_iter().map(|place| std::mem::take(&mut paths[place])).collect())
    }

    /// The number of each path, and whether it stands in its name; else it is its position.
    fn numbers(&self, paths: &[PathBuf]) -> Result<(Vec<u64>, bool)> {
        let named = if self.by_position { None } else { numbers(paths, self.number.as_ref())? };
        let is_named = named.is_some();
        Ok((named.unwrap_or_else(|| (1..=paths.len() as u64).collect()), is_named))
    }

    /// Whether anything is left out.
    pub(crate) fn is_narrow(&self) -> bool {
        self.start.is_some()
            || self.every.is_some()
            || self.range.is_some()
            || self.last.is_some()
            || self.results.is_some()
    }

    fn by_number(&self, paths: Vec<PathBuf>, notes: &mut Vec<String>) -> Result<Vec<PathBuf>> {
        let (numbers, is_named) = self.numbers(&paths)?;
        let what = if is_named { "numbers" } else { "positions" };
        if !is_named && !self.by_position {
            notes.push("no name has a number: counted by position in natural order".into());
        }
        notes.extend(repetition(&paths, &numbers));
        let (all, smallest) = (paths.len(), *numbers.iter().min().expect("there are inputs"));
        let first = self.start.unwrap_or(smallest);
        let counts = |n: u64| {
            n >= first
                && self.every.is_none_or(|every| (n - first) % every == 0)
                && self.range.as_ref().is_none_or(|range| range.contains(&n))
        };
        let left: Vec<PathBuf> =
            paths.into_iter().zip(&numbers).filter(|(_, n)| counts(**n)).map(|(p, _)| p).collect();
        if left.is_empty() {
            let largest = numbers.iter().max().expect("there are inputs");
            let given = [
                (setting!("start"), self.start.is_some()),
                (setting!("every"), self.every.is_some()),
                (setting!("range"), self.range.is_some()),
            ];
            let given: Vec<_> = given.iter().filter(|(_, is)| *is).map(|(flag, _)| *flag).collect();
            return Err(Error::new(
                Kind::NoMatch,
                format!("no checkpoint is left of {all} with {what} {smallest} to {largest}"),
            )
            .remedy(format!("check {}", given.join(", "))));
        }
        Ok(left)
    }
}

/// A note if several checkpoints have one number.
fn repetition(paths: &[PathBuf], numbers: &[u64]) -> Option<String> {
    let mut names: HashMap<u64, &Path> = HashMap::new();
    let (mut first, mut more) = (None, 0);
    for (path, number) in paths.iter().zip(numbers) {
        match names.get(number) {
            None => {
                names.insert(*number, path);
            }
            Some(earlier) if first.is_none() => first = Some((path, earlier.display(), number)),
            Some(_) => more += 1,
        }
    }
    let (path, earlier, number) = first?;
    let more = if more > 0 { format!("; {more} more repeat one too") } else { String::new() };
    Some(format!("`{earlier}` and `{}` have the same number, {number}{more}", path.display()))
}

/// Reads `A..B`, both included; one of them may be left out.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let end = |text: &str, open: u64| match text {
        "" => Some(open),
        _ => text.parse().ok(),
    };
    let parts = text.split_once("..").filter(|parts| *parts != ("", ""));
    let ends = parts.and_then(|(a, b)| Some((end(a, 0)?, end(b, u64::MAX)?)));
    match ends {
        None => Err("expected two whole numbers A..B, such as 10..20 (both included)".into()),
        Some((a, b)) if a > b => Err(format!("nothing lies in it: did you mean {b}..{a}?")),
        Some((a, b)) => Ok(a..=b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::{fails, positions};

    fn narrowed(numbers: &[u64], criteria: Criteria) -> Vec<u64> {
        let names: Vec<String> = numbers.iter().map(|n| format!("/r/epoch_{n}")).collect();
        let kept =
            crate::select::select(&names.iter().map(PathBuf::from).collect::<Vec<_>>(), &criteria)
                .unwrap();
        assert_eq!(kept.left_out, numbers.len() - kept.paths.len());
        assert_eq!(kept.notes, [""; 0]);
        kept.paths.iter().map(|p| p.to_str().unwrap()[9..].parse().unwrap()).collect()
    }

    fn every(k: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(k)
    }

    fn last(n: usize) -> Option<NonZeroUsize> {
        NonZeroUsize::new(n)
    }

    #[test]
    fn without_criteria_all_count() {
        assert_eq!(narrowed(&[10, 9, 2], Criteria::default()), [2, 9, 10]);
    }

    #[test]
    fn the_last_are_those_with_the_largest_numbers_that_an_expression_finds() {
        let number = Some(Regex::new(r"epoch_(\d+)").unwrap());
        let criteria = Criteria { number, last: last(2), ..Criteria::default() };
        // A run that was taken up in another folder.
        let paths = ["/new/epoch_4", "/new/epoch_5", "/old/epoch_2", "/old/epoch_3"];
        assert_eq!(positions(&paths, &criteria).0, [1, 2]);
        let without = Criteria { number: None, ..criteria };
        assert_eq!(positions(&paths, &without).0, [3, 4]);
    }

    #[test]
    fn start_is_included() {
        let criteria = Criteria { start: Some(3), ..Criteria::default() };
        assert_eq!(narrowed(&[1, 2, 3, 4, 10], criteria), [3, 4, 10]);
    }

    #[test]
    fn every_counts_from_start() {
        let criteria = Criteria { start: Some(161), every: every(5), ..Criteria::default() };
        assert_eq!(narrowed(&[156, 160, 161, 165, 166, 171, 172], criteria), [161, 166, 171]);
        // Also where no checkpoint has that number.
        let criteria = Criteria { start: Some(4), every: every(3), ..Criteria::default() };
        assert_eq!(narrowed(&[1, 5, 7, 8, 10], criteria), [7, 10]);
    }

    #[test]
    fn every_counts_from_the_smallest_of_all_inputs() {
        let criteria = Criteria { every: every(100), ..Criteria::default() };
        assert_eq!(narrowed(&[50, 100, 150, 200, 250], criteria), [50, 150, 250]);
        // Not from the range's beginning.
        let criteria = Criteria { every: every(2), range: Some(2..=5), ..Criteria::default() };
        assert_eq!(narrowed(&[1, 2, 3, 4, 5, 6], criteria), [3, 5]);
    }

    #[test]
    fn every_beyond_the_span_keeps_the_first() {
        let criteria = Criteria { every: every(u64::MAX), ..Criteria::default() };
        assert_eq!(narrowed(&[3, 4, 5], criteria), [3]);
    }

    #[test]
    fn ends_of_a_range_are_included() {
        let criteria = Criteria { range: Some(9..=11), ..Criteria::default() };
        assert_eq!(narrowed(&[8, 9, 10, 11, 12], criteria), [9, 10, 11]);
        let criteria = Criteria { range: Some(0..=u64::MAX), ..Criteria::default() };
        assert_eq!(narrowed(&[0, u64::MAX], criteria), [0, u64::MAX]);
    }

    #[test]
    fn last_applies_after_the_others() {
        let numbers: Vec<u64> = (1..=20).collect();
        let criteria = Criteria {
            start: Some(3),
            every: every(4),
            last: last(2),
            range: Some(1..=18),
            ..Criteria::default()
        };
        assert_eq!(narrowed(&numbers, criteria), [11, 15]);
        let criteria = Criteria { last: last(100), ..Criteria::default() };
        assert_eq!(narrowed(&numbers, criteria), numbers);
    }

    #[test]
    fn last_needs_no_numbers() {
        let criteria = Criteria { last: last(2), ..Criteria::default() };
        let (kept, notes) = positions(&["/r/a", "/r/b", "/r/c"], &criteria);
        assert_eq!((kept, notes), (vec![2, 3], vec![]));
        // Which number it is does not matter.
        let (kept, _) = positions(&["/r/a_1_2", "/r/a_1_3", "/r/c_3_4"], &criteria);
        assert_eq!(kept, [2, 3]);
        // But whether there is one does: `last` stands behind all numbers, whatever it is.
        let error = fails(&["/r/e_1", "/r/e_2", "/r/last"], &criteria);
        assert!(error.starts_with("`/r/last`: has no number in its name; leave"), "{error}");
        let criteria = Criteria { by_position: true, ..criteria };
        let (kept, _) = positions(&["/r/e_1", "/r/e_2", "/r/last"], &criteria);
        assert_eq!(kept, [2, 3]);
    }

    #[test]
    fn positions_count_from_one_whatever_the_names_say() {
        let criteria = Criteria { every: every(2), by_position: true, ..Criteria::default() };
        let (kept, notes) = positions(&["/r/a", "/r/b_7", "/r/c_1_2", "/r/d"], &criteria);
        assert_eq!((kept, notes), (vec![1, 3], vec![]));
        let criteria = Criteria { start: Some(5), ..criteria };
        let error = fails(&["/r/a", "/r/b_7"], &criteria);
        assert_eq!(
            error,
            "no checkpoint is left of 2 with positions 1 to 2; check `start`, `every`"
        );
    }

    #[test]
    fn nothing_left_tells_the_span() {
        let criteria =
            Criteria { start: Some(4), every: every(9), range: Some(5..=8), ..Criteria::default() };
        let error = fails(&["/r/e_10", "/r/e_2", "/r/e_6"], &criteria);
        assert_eq!(
            error,
            "no checkpoint is left of 3 with numbers 2 to 10; check `start`, `every`, `range`"
        );
        let criteria = Criteria { range: Some(3..=5), ..Criteria::default() };
        let error = fails(&["/r/e_10", "/r/e_2", "/r/e_6"], &criteria);
        assert!(error.ends_with("; check `range`"), "{error}");
    }

    #[test]
    fn repeated_numbers_are_noted() {
        let criteria = Criteria { start: Some(2), ..Criteria::default() };
        let paths = ["/a/e_1", "/a/e_2", "/b/e_1", "/b/e_2"];
        let (kept, notes) = positions(&paths, &criteria);
        assert_eq!(kept, [2, 4]);
        assert_eq!(notes, ["`/a/e_1` and `/b/e_1` have the same number, 1; 1 more repeat one too"]);
        let (_, notes) = positions(&paths[1..], &criteria);
        assert_eq!(notes, ["`/a/e_2` and `/b/e_2` have the same number, 2"]);
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("10..20"), Ok(10..=20));
        assert_eq!(parse_range("7..7"), Ok(7..=7));
        assert!(parse_range("20..10").unwrap_err().contains("10..20"));
        assert_eq!(parse_range("..20"), Ok(0..=20));
        assert_eq!(parse_range("7.."), Ok(7..=u64::MAX));
        for bad in ["", "..", "1-2", "1..=2", "1...2", "a..b", "-1..2", "5"] {
            assert!(parse_range(bad).unwrap_err().contains("A..B"), "{bad}");
        }
        assert!(parse_range("0..99999999999999999999").is_err());
    }
}
