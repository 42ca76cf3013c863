//! A file in memory, for what is used at once and kept nowhere.

use std::sync::Mutex;

use super::layout::Sink;
use crate::Result;
use crate::sync::lock;

/// The bytes of one file.
#[derive(Debug)]
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// Of so many bytes, all zero.
    pub fn new(size: u64) -> Self {
        Memory(Mutex::new(vec![0; size as usize]))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Sink for Memory {
    fn write_at(&self, _file: usize, bytes: &[u8], offset: u64) -> Result<()> {
        lock(&self.0)[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, _file: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
        bytes.copy_from_slice(&lock(&self.0)[offset as usize..][..bytes.len()]);
        Ok(())
    }
}
