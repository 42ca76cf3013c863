//! Writing the outputs' parts. File systems let one thread at a time write to a file, and the others wait,
//! spinning: here they go on reading in the meantime.

use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::Result;
use crate::output::Sink;
use crate::sync::lock;

/// Parts of an output that a thread keeps while others write.
const MOST: usize = 2;

/// The files of all outputs, each with a lock that says whether someone writes to it.
pub(super) struct WriteQueue<'s> {
    files: Vec<OutputFile<'s>>,
    outputs: usize,
}

struct OutputFile<'s> {
    writing: Mutex<()>,
    sink: &'s dyn Sink,
    /// Its number in the sink.
    number: usize,
}

/// What a thread has computed and not yet written, and buffers to use again.
#[derive(Default)]
pub(super) struct Unwritten {
    parts: Vec<UnwrittenPart>,
    spare: Vec<Vec<u8>>,
}

struct UnwrittenPart {
    file: usize,
    offset: u64,
    length: usize,
    buffer: Vec<u8>,
}

impl Unwritten {
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

impl<'s> WriteQueue<'s> {
    /// Of the files of some outputs, numbered through: each output is a sink of so many.
    pub fn new(outputs: &[(&'s dyn Sink, usize)]) -> Self {
        let files_of = |&(sink, files): &(&'s dyn Sink, usize)| {
            (0..files).map(move |number| OutputFile { writing: Mutex::new(()), sink, number })
        };
        WriteQueue { files: outputs.iter().flat_map(files_of).collect(), outputs: outputs.len() }
    }

    /// Lets something read and write a file, of this number in the sink, while nobody else writes to it.
    pub fn alone<T>(&self, file: usize, work: impl FnOnce(&dyn Sink, usize) -> T) -> T {
        let file = &self.files[file];
        let _writing = lock(&file.writing);
        work(file.sink, file.number)
    }

    /// Writes the first bytes of a buffer, now or later.
    pub fn write_later(
        &self,
        file: usize,
        (buffer, length): (Vec<u8>, usize),
        offset: u64,
        unwritten: &mut Unwritten,
    ) -> Result<()> {
        unwritten.parts.push(UnwrittenPart { file, offset, length, buffer });
        // Outputs do not wait for each other: a part goes before those of files that are busy.
        let mut next = 0;
        while let Some(part) = unwritten.parts.get(next) {
            let is_full = unwritten.parts.len() > MOST * self.outputs;
            match self.try_lock(part.file, next == 0 && is_full) {
                Some(_writing) => self.write_part(next, unwritten)?,
                None => next += 1,
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn finish(&self, unwritten: &mut Unwritten) -> Result<()> {
        while let Some(part) = unwritten.parts.first() {
            let _writing = lock(&self.files[part.file].writing);
            self.write_part(0, unwritten)?;
        }
        Ok(())
    }

    fn try_lock(&self, file: usize, wait: bool) -> Option<MutexGuard<'_, ()>> {
        let writing = &self.files[file].writing;
        match writing.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::WouldBlock) if !wait => None,
            Err(_) => Some(lock(writing)),
        }
    }

    fn write_part(&self, number: usize, unwritten: &mut Unwritten) -> Result<()> {
        let UnwrittenPart { file, offset, length, buffer } = unwritten.parts.remove(number);
        let OutputFile { sink, number, .. } = &self.files[file];
        sink.write_at(*number, &buffer[..length], offset)?;
        unwritten.reuse(buffer);
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
        let queue = WriteQueue::new(&[(&memory, 2)]);
        let mut unwritten = Unwritten::default();
        let content = |file: usize| lock(&memory.0[file]).clone();
        let later = |value: u8, at: u64, file: usize, unwritten: &mut Unwritten| {
            let mut buffer = unwritten.buffer(3);
            buffer[..2].fill(value);
            queue.write_later(file, (buffer, 2), at, unwritten).unwrap();
        };
        {
            let _another = lock(&queue.files[0].writing);
            later(1, 0, 0, &mut unwritten);
            later(2, 2, 0, &mut unwritten);
            assert_eq!((content(0), unwritten.parts.len()), (vec![0; 8], 2));
            queue.alone(1, |sink, file| sink.write_at(file, &[9], 7)).unwrap();
        }
        later(3, 4, 0, &mut unwritten);
        assert_eq!((content(0), unwritten.parts.len()), (vec![1, 1, 2, 2, 3, 3, 0, 0], 0));
        let another = lock(&queue.files[0].writing);
        later(4, 6, 0, &mut unwritten);
        drop(another);
        queue.finish(&mut unwritten).unwrap();
        assert_eq!(content(0), [1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(content(1), [0, 0, 0, 0, 0, 0, 0, 9]);
        // No more buffers than were needed at once.
        assert_eq!(unwritten.spare.len(), 3);
    }
}
