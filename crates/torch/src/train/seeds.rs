//! One seed of a run, many of its parts.

use swa_data::random::SplitMix64;

/// Keeps the seeds of epochs apart from the run's own uses of its seed.
const EPOCHS: u64 = 0x7363_6870_655f;

/// The seed of order, pixels and noise in an epoch.
pub(crate) fn of_epoch(run: u64, epoch: usize) -> u64 {
    SplitMix64::of_image(run ^ EPOCHS, epoch).bits()
}

/// The seed of the pass that recomputes the average's statistics: the run's own, so that swa-bn-update can be told
/// the same.
pub(crate) fn of_run(run: u64) -> u64 {
    run
}
