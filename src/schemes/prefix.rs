//! The means of the first 1, 2, … N snapshots: where the running average of SWA was after each of them (Izmailov et
//! al. 2018, §3), so how many are worth averaging.

use crate::Result;
use crate::average::Column;

pub(super) fn columns(n: usize) -> Result<Vec<Column>> {
    (1..=n).map(|m| Column::new((0..n).map(|j| (j < m).then_some(1.0)))).collect()
}
