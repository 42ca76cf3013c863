//! When to look at a folder again, where there is no inotify: after a while.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Stop;

/// Watches nothing: looks decide.
pub(super) struct Watch;

impl Watch {
    pub fn new() -> Self {
        Watch
    }

    /// Nothing is told of a folder.
    pub fn cover(&mut self, _: &Path) {}

    /// How long to wait at most, if two looks are to be `pause` apart.
    pub fn patience(&self, pause: Duration, _: &[PathBuf]) -> Duration {
        pause
    }

    /// Waits until the time is over, or until the job is to end.
    pub fn wait(&mut self, time: Duration, stop: &Stop) {
        stop.wait(time, None);
    }

    /// There is nothing to read.
    pub fn read(&mut self) {}

    /// Nobody knows whether a path was renamed into its place.
    pub fn was_renamed(&mut self, _: &Path) -> bool {
        false
    }
}
