//! Storages within a pickle: plain pickle saves each as `torch.save` did before PyTorch 1.6, and its bytes as the
//! argument of a function that loads them. So the same rule holds for the pickles in these.

use super::{MAX_PICKLE, globals, machine};
use crate::Result;
use crate::formats::strangers::is_tar;

/// What loads them.
pub const LOADER: &str = "torch.storage._load_from_bytes";

/// How deep they may be within each other.
const DEPTH: u32 = 2;

/// A magic number, the protocol, the writer's system, the storage and the keys.
const PICKLES: usize = 5;

/// The protocol.
const PROTOCOL: i64 = 1001;

/// The magic number of files from before PyTorch 1.6, as the pickle at their start has it.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether a file begins as those from before PyTorch 1.6 do. Protocol 4 puts a frame before the number.
pub fn is_legacy(head: &[u8]) -> bool {
    head.first() == Some(&0x80)
        && [2, 11].iter().any(|&at| head.get(at..).is_some_and(|tail| tail.starts_with(MAGIC)))
}

/// Fails if a pickle in some bytes asks for an act, or if they are not what a storage is saved as: what loads them would
/// take a zip or a tar file as well.
pub fn check(mut bytes: &[u8], depth: u32) -> Result<()> {
    if depth > DEPTH {
        return Err(globals::called(&format!("`{LOADER}` within itself")));
    }
    let other = || globals::called(&format!("`{LOADER}` of what is no storage"));
    if !is_legacy(bytes) || is_tar(bytes) {
        return Err(other());
    }
    for number in 0..PICKLES {
        let pickle = machine::run(bytes, MAX_PICKLE, depth)?;
        if number == 1 && pickle.int(pickle.root()) != Some(PROTOCOL) {
            return Err(other());
        }
        bytes = &bytes[pickle.length..];
    }
    Ok(())
}
