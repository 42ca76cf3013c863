//! Writing the output's parts. File systems let one thread at a time write to a file, and the others wait,
//! spinning: here they go on reading in the meantime.

use std::sync::{Mutex, MutexGuard, TryLockError};

use super::stream::lock;
use crate::Result;
use crate::output::Sink;

/// Parts that a thread keeps while others write.
const MOST: usize = 2;

/// The output's files, each with a lock that says whether someone writes to it.
pub(super) struct Writer<'s> {
    sink: &'s dyn Sink,
    files: Vec<Mutex<()>>,
}

/// What a thread has computed and not yet written, and buffers to use again.
#[derive(Default)]
pub(super) struct Pending {
    parts: Vec<Part>,
    spare: Vec<Vec<u8>>,
}

struct Part {
    file: usize,
    offset: u64,
    length: usize,
    buffer: Vec<u8>,
}

impl Pending {
    /// A buffer of at least so many bytes, of any content.
    pub fn buffer(&mut self, length: usize) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        buffer
    }

    /// Takes a buffer back.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }
}

impl<'s> Writer<'s> {
    pub fn new(sink: &'s dyn Sink, files: usize) -> Self {
        Writer { sink, files: (0..files).map(|_| Mutex::new(())).collect() }
    }

    /// Writes at once.
    pub fn write(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()> {
        let _writing = lock(&self.files[file]);
        self.sink.write_at(file, bytes, offset)
    }

    /// Lets something read and write a file while nobody else writes to it.
    pub fn alone<T>(&self, file: usize, work: impl FnOnce(&dyn Sink) -> T) -> T {
        let _writing = lock(&self.files[file]);
        work(self.sink)
    }

    /// Writes the first bytes of a buffer, now or later.
    pub fn write_later(
        &self,
        file: usize,
        (buffer, length): (Vec<u8>, usize),
        offset: u64,
        pending: &mut Pending,
    ) -> Result<()> {
        pending.parts.push(Part { file, offset, length, buffer });
        while let Some(part) = pending.parts.first() {
            let Some(_writing) = self.try_lock(part.file, pending.parts.len() > MOST) else {
                break;
            };
            self.write_first(pending)?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(&self, pending: &mut Pending) -> Result<()> {
        while let Some(part) = pending.parts.first() {
            let _writing = lock(&self.files[part.file]);
            self.write_first(pending)?;
        }
        Ok(())
    }

    fn try_lock(&self, file: usize, wait: bool) -> Option<MutexGuard<'_, ()>> {
        match self.files[file].try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::WouldBlock) if !wait => None,
            Err(_) => Some(lock(&self.files[file])),
        }
    }

    fn write_first(&self, pending: &mut Pending) -> Result<()> {
        let Part { file, offset, length, buffer } = pending.parts.remove(0);
        self.sink.write_at(file, &buffer[..length], offset)?;
        pending.reuse(buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what was written, by file.
    struct Memory(Vec<Mutex<Vec<u8>>>);

    impl Sink for Memory {
        fn write_at(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()> {
            lock(&self.0[file])[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn read_at(&self, file: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
            bytes.copy_from_slice(&lock(&self.0[file])[offset as usize..][..bytes.len()]);
            Ok(())
        }
    }

    #[test]
    fn a_thread_goes_on_while_another_writes_and_nothing_is_lost() {
        let memory = Memory((0..2).map(|_| Mutex::new(vec![0; 8])).collect());
        let writer = Writer::new(&memory, 2);
        let mut pending = Pending::default();
        let content = |file: usize| lock(&memory.0[file]).clone();
        let later = |value: u8, at: u64, file: usize, pending: &mut Pending| {
            let mut buffer = pending.buffer(3);
            buffer[..2].fill(value);
            writer.write_later(file, (buffer, 2), at, pending).unwrap();
        };
        {
            let _another = lock(&writer.files[0]);
            later(1, 0, 0, &mut pending);
            later(2, 2, 0, &mut pending);
            assert_eq!((content(0), pending.parts.len()), (vec![0; 8], 2));
            writer.write(1, &[9], 7).unwrap();
        }
        later(3, 4, 0, &mut pending);
        assert_eq!((content(0), pending.parts.len()), (vec![1, 1, 2, 2, 3, 3, 0, 0], 0));
        let another = lock(&writer.files[0]);
        later(4, 6, 0, &mut pending);
        drop(another);
        writer.finish(&mut pending).unwrap();
        assert_eq!(content(0), [1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(content(1), [0, 0, 0, 0, 0, 0, 0, 9]);
        // No more buffers than were needed at once.
        assert_eq!(pending.spare.len(), 3);
    }
}
