//! The best of the checkpoints by their results.

use std::cmp::Ordering;

use swa_base::Choice as _;

use super::matching::Matched;
use super::{ByResults, Direction};
use crate::{Error, Kind, Result};

/// The positions of the best, in natural order. Results that are not finite are never among them; of equal ones the
/// later checkpoint, which was trained for longer, is the better.
pub(super) fn best(
    matched: &Matched,
    direction: Direction,
    count: usize,
    by: &ByResults,
    notes: &mut Vec<String>,
) -> Result<Vec<usize>> {
    let all = (0..matched.keys.len()).filter_map(|i| Some((i, matched.value(i)?)));
    let (mut finite, other): (Vec<_>, Vec<_>) = all.partition(|(_, value)| value.is_finite());
    let (file, metric) = (by.file.display(), &by.metric);
    if !other.is_empty() {
        let n = other.len();
        notes.push(format!("`{file}`: `{metric}` of {n} checkpoint(s) is not finite: not taken"));
    }
    if finite.is_empty() {
        let what = format!("no checkpoint has a `{metric}` that is finite");
        return Err(Error::new(Kind::NoMatch, what).at(&by.file));
    }
    let better = |a: &(usize, f64), b: &(usize, f64)| {
        let order: Ordering = match direction {
            Direction::Max => b.1.partial_cmp(&a.1),
            Direction::Min => a.1.partial_cmp(&b.1),
        }
        .unwrap_or(Ordering::Equal);
        order.then(matched.keys[b.0].cmp(&matched.keys[a.0])).then(b.0.cmp(&a.0))
    };
    finite.sort_by(better);
    if let (Some(last), Some(next)) = (finite.get(count.wrapping_sub(1)), finite.get(count))
        && last.1 == next.1
    {
        let value = last.1;
        notes.push(format!(
            "`{file}`: several checkpoints have `{metric}` {value}: the later ones were taken"
        ));
    }
    if finite.len() < count {
        let (n, direction) = (finite.len(), direction.name());
        notes.push(format!(
            "`{file}`: only {n} checkpoint(s) have a `{metric}` to choose {count} by ({direction})"
        ));
    }
    let mut taken: Vec<usize> = finite.into_iter().take(count).map(|(i, _)| i).collect();
    taken.sort_unstable();
    Ok(taken)
}
