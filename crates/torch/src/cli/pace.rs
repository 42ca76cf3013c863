//! How fast a pass over the data goes, and what limits it.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::Common;
use swa_data::loader::Waited;

/// The progress of a pass and its figures. Made before the first batch is asked for.
pub struct Pace {
    bar: ProgressBar,
    doing: &'static str,
    started: Instant,
    waited: Waited,
}

/// What was measured over a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub images_per_second: f64,
    /// Of the time that decoding and network waited for each other, the share in which it was the
    /// network that waited; from 0 to 1.
    pub for_decoding: f64,
}

impl Pace {
    /// `doing`: what the progress bar says; `done` of the images were done before.
    pub fn start(
        common: &Common,
        doing: &'static str,
        images: usize,
        done: usize,
        waited: Waited,
    ) -> Self {
        let bar = common.progress(images as u64, "images").with_message(doing);
        bar.set_position(done as u64);
        bar.reset_eta();
        Pace { bar, doing, started: Instant::now(), waited }
    }

    /// `images` more are done.
    pub fn step(&self, images: usize) {
        self.bar.inc(images as u64);
        if !self.bar.is_hidden() {
            let limit = self.figures(0).limit();
            self.bar.set_message(format!("{} (limit: {limit})", self.doing));
        }
    }

    /// Clears the bar; `images` were done in all.
    pub fn finish(self, images: usize) -> Figures {
        self.bar.finish_and_clear();
        self.figures(images)
    }

    fn figures(&self, images: usize) -> Figures {
        let (for_decoding, for_network) = (self.waited.for_batches(), self.waited.for_caller());
        Figures::new(images, self.started.elapsed(), for_decoding, for_network)
    }
}

impl Figures {
    fn new(images: usize, all: Duration, for_decoding: Duration, for_network: Duration) -> Self {
        let seconds = |time: Duration| time.as_secs_f64().max(1e-9);
        Figures {
            images_per_second: images as f64 / seconds(all),
            for_decoding: for_decoding.as_secs_f64() / seconds(for_decoding + for_network),
        }
    }

    /// What would have to be faster for the pass to be: `decoding` or `network`.
    pub fn limit(&self) -> &'static str {
        if self.for_decoding > 0.5 { "decoding" } else { "network" }
    }

    pub fn json(&self) -> Value {
        json!({
            "images_per_second": self.images_per_second,
            "limit": self.limit(),
            "waiting": { "decoding": self.for_decoding, "network": 1.0 - self.for_decoding },
        })
    }
}

/// "27.4 images/s, limited by the network (97 % of the waiting)".
impl fmt::Display for Figures {
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
        let decoding = Figures::new(50, 2 * second, second * 3 / 2, second / 2);
        assert_eq!((decoding.limit(), decoding.images_per_second), ("decoding", 25.0));
        assert_eq!(
            decoding.to_string(),
            "25.0 images/s, limited by decoding (75 % of the waiting)"
        );
        let network = Figures::new(4000, 2 * second, second / 4, second);
        assert_eq!(
            network.to_string(),
            "2000 images/s, limited by the network (80 % of the waiting)"
        );
        assert_eq!(network.json()["waiting"]["decoding"], 0.2);
        let nothing = Figures::new(0, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        assert_eq!((nothing.images_per_second, nothing.limit()), (0.0, "network"));
    }
}
