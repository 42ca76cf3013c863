//! The progress of long work.

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of the inputs.
    Bytes,
    /// Images that went through the networks.
    Images,
    /// Files of a dataset.
    Files,
}

impl Unit {
    /// `bytes`, `images` or `files`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Images => "images",
            Unit::Files => "files",
        }
    }
}

/// Receives the progress of a job, from any thread. The result never depends on it.
pub trait Progress: Sync {
    /// A stage of `total` units begins; `done` of them were done before.
    fn begin(&self, stage: &str, total: u64, done: u64, unit: Unit) {
        let _ = (stage, total, done, unit);
    }

    /// `count` more units are done.
    fn advance(&self, count: u64) {
        let _ = count;
    }

    /// What the stage is doing at the moment, in a few words.
    fn detail(&self, text: &str) {
        let _ = text;
    }

    /// The stage is over.
    fn end(&self) {}

    /// A note for people, in one line, while the job runs.
    fn note(&self, line: &str) {
        let _ = line;
    }
}

/// Ignores all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
