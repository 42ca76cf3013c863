//! The file of a part: safetensors, with the checksums that all files of the tools have.
//!
//! Metadata: `swa.part` is the identity of the pass, compact JSON; `swa.part.progress` is a [`Progress`]
//! and `format`, 1. The tensors are the content's.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::identity::Identity;
use super::part::{Content, Part, Progress};
use swa_base::{Error, Kind, Result};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};
use swa_tools::output::write_safetensors;

const IDENTITY: &str = "swa.part";
const PROGRESS: &str = "swa.part.progress";

/// Raised when the meaning of anything in it changes.
const FORMAT: u64 = 1;

impl<C: Content> Part<C> {
    /// Writes the file, whole or not at all.
    pub fn write(&self, path: &Path, force: bool) -> Result<()> {
        let mut progress = serde_json::to_value(&self.progress).expect("plain fields");
        progress["format"] = json!(FORMAT);
        let metadata = BTreeMap::from([
            (IDENTITY.to_string(), self.identity.text().to_string()),
            (PROGRESS.to_string(), progress.to_string()),
        ]);
        write_safetensors(&self.content.tensors(), &metadata, path, force)
    }
}

/// A part's file, opened: its bytes match their checksums, its content is not read yet.
#[derive(Debug)]
pub(super) struct Opened {
    pub identity: Identity,
    pub progress: Progress,
    pub checkpoint: Checkpoint,
}

/// Opens a part's file.
///
/// # Errors
/// `Input` if it is not one, `Unsupported` if it is of another format, `Damaged`; those of reading.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let checkpoint = Checkpoint::open(path)?;
    let metadata = checkpoint.metadata();
    let (Some(identity), Some(progress)) = (metadata.get(IDENTITY), metadata.get(PROGRESS)) else {
        return Err(Error::input("is neither a part nor the state of a pass")
            .at(path)
            .remedy("give what swa-bn-update, swa-eval or swa-landscape saved"));
    };
    checkpoint.verify(&|_| {})?;
    let broken = || Error::new(Kind::Damaged, "its metadata are not those of a part").at(path);
    let identity = Identity::parse(identity.clone()).ok_or_else(broken)?;
    let value: Value = serde_json::from_str(progress).map_err(|_| broken())?;
    if value["format"] != json!(FORMAT) {
        let what = format!("is of format {}, not {FORMAT}", value["format"]);
        return Err(Error::new(Kind::Unsupported, what)
            .at(path)
            .remedy("make it again with this version"));
    }
    let progress: Progress = serde_json::from_value(value).map_err(|_| broken())?;
    let Progress { shard, done, .. } = progress;
    if shard.index >= shard.of || done > shard.share(identity.batches()) {
        return Err(broken());
    }
    Ok(Opened { identity, progress, checkpoint })
}

/// The bytes of one tensor of a part's content.
///
/// # Errors
/// `Mismatch` if there is no tensor of that name, type and shape; those of reading.
pub(crate) fn read_tensor(
    file: &Checkpoint,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<Vec<u8>> {
    let wrong = |found: String| {
        Error::new(Kind::Mismatch, format!("expected {dtype:?} {shape:?}, found {found}"))
            .at(file.path())
            .tensor(name)
            .remedy("it is not a part of this pass")
    };
    let position = file.position(name).ok_or_else(|| wrong("none".into()))?;
    let TensorInfo { dtype: found, shape: of, .. } = &file.tensors()[position];
    if *found != dtype || of != shape {
        return Err(wrong(format!("{found:?} {of:?}")));
    }
    Ok(file.bytes(position)?.into_owned())
}
