//! How far long work is.

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of the inputs.
    Bytes,
    /// Images that went through the networks.
    Images,
}

impl Unit {
    /// `bytes` or `images`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Images => "images",
        }
    }
}

/// Is told how far a job is, from any thread. What is said is never needed for the result.
pub trait Progress: Sync {
    /// A stage begins, in which there are `total` to do, `done` of them done before.
    fn begin(&self, stage: &str, total: u64, done: u64, unit: Unit) {
        let _ = (stage, total, done, unit);
    }

    /// So many more are done.
    fn advance(&self, count: u64) {
        let _ = count;
    }

    /// What is being done, in a few words, in place of the stage's name.
    fn detail(&self, text: &str) {
        let _ = text;
    }

    /// The stage is over.
    fn end(&self) {}

    /// A remark for people, in a line, before the job is over.
    fn note(&self, line: &str) {
        let _ = line;
    }
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
