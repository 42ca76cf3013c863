//! How fast a pass over the data goes, and what limits it.

use std::fmt;
use std::time::{Duration, Instant};

use swa_data::loader::Waited;
use swa_tools::{Progress, Unit};

/// The progress of a pass, timed. Made before the first batch is asked for.
pub(crate) struct Pace<'a> {
    progress: &'a dyn Progress,
    started: Instant,
    waited: Waited,
}

/// How fast a pass was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Images of this process a second.
    pub images_per_second: f64,
    /// Of the time that decoding and network waited for each other, the share in which it was the
    /// network that waited; from 0 to 1.
    pub for_decoding: f64,
}

impl<'a> Pace<'a> {
    /// `stage`: what is done to the images, `done` of which were done before.
    pub fn start(
        progress: &'a dyn Progress,
        stage: &str,
        images: usize,
        done: usize,
        waited: Waited,
    ) -> Self {
        progress.begin(stage, images as u64, done as u64, Unit::Images);
        Pace { progress, started: Instant::now(), waited }
    }

    /// `images` more are done.
    pub fn step(&self, images: usize) {
        self.progress.advance(images as u64);
        self.progress.detail(&format!("limit: {}", self.speed(0).limit()));
    }

    /// Ends the stage; `images` were done in all.
    pub fn finish(self, images: usize) -> Speed {
        self.progress.end();
        self.speed(images)
    }

    fn speed(&self, images: usize) -> Speed {
        let (for_decoding, for_network) = (self.waited.for_batches(), self.waited.for_caller());
        Speed::new(images, self.started.elapsed(), for_decoding, for_network)
    }
}

impl Speed {
    fn new(images: usize, all: Duration, for_decoding: Duration, for_network: Duration) -> Self {
        let seconds = |time: Duration| time.as_secs_f64().max(1e-9);
        Speed {
            images_per_second: images as f64 / seconds(all),
            for_decoding: for_decoding.as_secs_f64() / seconds(for_decoding + for_network),
        }
    }

    /// What would have to be faster for the pass to be: `decoding` or `network`.
    pub fn limit(&self) -> &'static str {
        if self.for_decoding > 0.5 { "decoding" } else { "network" }
    }
}

/// "27.4 images/s, limited by the network (97 % of the waiting)".
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, share) = match self.limit() {
            "decoding" => ("decoding", self.for_decoding),
            _ => ("the network", 1.0 - self.for_decoding),
        };
        let rate = self.images_per_second;
        let digits = if rate < 100.0 { 1 } else { 0 };
        let share = 100.0 * share;
        write!(f, "{rate:.digits$} images/s, limited by {what} ({share:.0} % of the waiting)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_was_waited_for_longer() {
        let second = Duration::from_secs(1);
        let decoding = Speed::new(50, 2 * second, second * 3 / 2, second / 2);
        assert_eq!((decoding.limit(), decoding.images_per_second), ("decoding", 25.0));
        assert_eq!(
            decoding.to_string(),
            "25.0 images/s, limited by decoding (75 % of the waiting)"
        );
        let network = Speed::new(4000, 2 * second, second / 4, second);
        assert_eq!(
            network.to_string(),
            "2000 images/s, limited by the network (80 % of the waiting)"
        );
        assert_eq!(network.for_decoding, 0.2);
        let nothing = Speed::new(0, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        assert_eq!((nothing.images_per_second, nothing.limit()), (0.0, "network"));
    }
}
