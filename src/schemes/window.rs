//! The mean of the last N snapshots: latest weight averaging (Kaddour 2022, "Stop Wasting My Time! Saving Days of
//! ImageNet and BERT Training with Latest Weight Averaging").

use std::num::NonZeroUsize;

use crate::average::Column;
use crate::{Error, Result, setting};

pub(super) fn column(size: NonZeroUsize, n: usize) -> Result<Column> {
    let size = size.get();
    if size > n {
        let what = format!(
            "{} window:{size} takes {size} checkpoints, and there are {n}",
            setting!("scheme")
        );
        return Err(Error::usage(what).remedy("give more of them, or a smaller window"));
    }
    Column::new((0..n).map(|j| (j + size >= n).then_some(1.0)))
}
