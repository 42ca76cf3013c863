//! What verifying came to.

use schemars::JsonSchema;
use serde::Serialize;

use crate::jobs::Verified;
use crate::text::{counted, printable};

/// What `swa-avg --verify` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// Paths of the checkpoints whose bytes match the checksums in them, in natural order.
    pub verified: Vec<String>,
    /// Bytes of tensors in all of them.
    pub bytes: u64,
    /// For each checkpoint, how many tensors it has.
    pub tensors: Vec<usize>,
    /// For each checkpoint, how many of its tensors have no checksum: nothing is known of these.
    pub without_checksum: Vec<usize>,
}

impl VerifyReport {
    /// Of an outcome.
    pub fn of(outcome: &Verified) -> Self {
        let files = || outcome.files.iter();
        VerifyReport {
            verified: files().map(|file| file.path.display().to_string()).collect(),
            bytes: outcome.bytes,
            tensors: files().map(|file| file.tensors).collect(),
            without_checksum: files().map(|file| file.tensors - file.with_checksum).collect(),
        }
    }

    /// For people: a line a checkpoint.
    pub fn text(&self) -> String {
        let counts = self.tensors.iter().zip(&self.without_checksum);
        let lines = self.verified.iter().zip(counts).map(|(path, (&tensors, &without))| {
            let path = printable(path);
            match without {
                0 if tensors == 1 => format!("{path}: 1 tensor is as it was written"),
                0 => format!("{path}: {tensors} tensors are as they were written"),
                _ => format!(
                    "{path}: {} of {} are as they were written; {without} have no checksum",
                    tensors - without,
                    counted(tensors, "tensor")
                ),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
