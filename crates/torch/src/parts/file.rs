//! The file of a part: safetensors, with the digests that all files of the tools have.
//!
//! Metadata: `swa.part` is the identity of the pass, compact JSON; `swa.part.progress` is a [`Progress`]
//! and `format`, 1. The tensors are the content's.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Content, Identity, Part, Progress};
use swa_base::{Error, Result};
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

/// A part's file, opened: its content not yet read, its bytes compared with their digests.
#[derive(Debug)]
pub struct Opened {
    pub identity: Identity,
    pub progress: Progress,
    pub checkpoint: Checkpoint,
}

/// Opens a part's file.
///
/// # Errors
/// `Input` where it is none, or damaged.
pub fn open(path: &Path) -> Result<Opened> {
    let checkpoint = Checkpoint::open(path)?;
    let metadata = checkpoint.metadata();
    let (Some(identity), Some(progress)) = (metadata.get(IDENTITY), metadata.get(PROGRESS)) else {
        return Err(Error::input("is neither a part nor the state of a pass")
            .at(path)
            .remedy("give what swa-bn-update or swa-eval saved"));
    };
    checkpoint.verify(&|_| {})?;
    let broken = || Error::input("its metadata are not those of a part").at(path);
    let identity = Identity::parse(identity.clone()).ok_or_else(broken)?;
    let value: Value = serde_json::from_str(progress).map_err(|_| broken())?;
    if value["format"] != json!(FORMAT) {
        return Err(Error::input(format!("is of format {}, not {FORMAT}", value["format"]))
            .at(path)
            .remedy("make it anew with this version"));
    }
    let progress: Progress = serde_json::from_value(value).map_err(|_| broken())?;
    let Progress { shard, done, .. } = progress;
    if shard.index >= shard.of || done > shard.share(batches(&identity)) {
        return Err(broken());
    }
    Ok(Opened { identity, progress, checkpoint })
}

/// Batches in the whole pass.
pub(super) fn batches(identity: &Identity) -> usize {
    identity.get("batches").as_u64().unwrap_or(0) as usize
}

/// The bytes of one of a content's tensors.
///
/// # Errors
/// `Input` where there is no tensor of that name, type and shape.
pub fn tensor(file: &Checkpoint, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Vec<u8>> {
    let wrong = |found: String| {
        Error::input(format!("expected {dtype:?} {shape:?}, found {found}"))
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
