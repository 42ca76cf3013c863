//! A part of a pass, and how fast it was.

use schemars::JsonSchema;
use serde::Serialize;

use crate::jobs::SavedPart;
use crate::session::Speed;

/// What `swa-bn-update` and `swa-eval` print when they save a part.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PartReport {
    /// The file.
    pub part: String,
    /// Which part it is: `I/N`, counted from 0.
    pub shard: String,
    /// Images in it.
    pub images: usize,
    /// Batches in it.
    pub batches: usize,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// How fast this process was.
    pub pace: PaceReport,
    /// Time that the job took.
    pub seconds: f64,
    #[serde(skip)]
    speed: Speed,
}

/// How fast a pass over data was, and what limited it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PaceReport {
    /// Images of this process a second.
    pub images_per_second: f64,
    /// What would have to be faster for the pass to be: `decoding` or `network`.
    pub limit: &'static str,
    /// Shares of the time that decoding and network waited for each other; they add up to 1.
    pub waiting: Waiting,
}

/// Shares of the time that decoding and network waited for each other.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Waiting {
    /// The network waited for decoded images.
    pub decoding: f64,
    /// Decoded images waited for the network.
    pub network: f64,
}

impl PaceReport {
    pub(super) fn of(speed: &Speed) -> Self {
        PaceReport {
            images_per_second: speed.images_per_second,
            limit: speed.limit(),
            waiting: Waiting { decoding: speed.for_decoding, network: 1.0 - speed.for_decoding },
        }
    }
}

impl PartReport {
    /// Of an outcome.
    pub fn of(part: &SavedPart) -> Self {
        PartReport {
            part: part.path.display().to_string(),
            shard: part.shard.to_string(),
            images: part.images,
            batches: part.batches,
            skipped: part.skipped.clone(),
            pace: PaceReport::of(&part.speed),
            seconds: part.seconds,
            speed: part.speed,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let PartReport { part, shard, images, batches, seconds, speed, .. } = self;
        format!(
            "wrote {part}: part {shard}, {images} images, {batches} batches, in {seconds:.1} s; {speed}"
        )
    }
}
