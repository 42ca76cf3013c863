//! Storages within a pickle: plain pickle saves each as `torch.save` did before PyTorch 1.6, and its bytes as the
//! argument of a function that loads them. So the same rule holds for the pickles in these.

use super::{MAX_PICKLE, globals, machine};
use crate::Result;

/// What loads them.
pub const LOADER: &str = "torch.storage._load_from_bytes";

/// How deep they may be within each other.
const DEPTH: u32 = 2;

/// A magic number, the protocol, the writer's system, the storage and the keys.
const PICKLES: usize = 5;

/// Fails if a pickle in some bytes asks for an act, or if they are not what a storage is saved as.
pub fn check(mut bytes: &[u8], depth: u32) -> Result<()> {
    if depth > DEPTH {
        return Err(globals::called(&format!("`{LOADER}` within itself")));
    }
    for _ in 0..PICKLES {
        let pickle = machine::run(bytes, MAX_PICKLE, depth)?;
        bytes = &bytes[pickle.length..];
    }
    Ok(())
}
