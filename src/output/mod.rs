//! Writing: a file that appears whole or not at all, and the formats that go into it.

pub mod atomic;
pub mod safetensors;
pub mod signals;

pub use atomic::AtomicFile;
