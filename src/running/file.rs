//! The file of a state. All integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `SWASTATE` |
//! | 4 | the format's number, 1 |
//! | 4 | zero |
//! | 8 | length of the sums, *s* |
//! | 8 | length of the table, *t* |
//! | 8 | length of the directory, *d* |
//! | 16 | XXH3-128 of table and directory |
//! | 8 | the first half of XXH3-128 of the 56 bytes before |
//! | *s* | the chunks: for each tensor, in the order of their names, one for each 65,536 values |
//! | *t* | for each chunk its length (4 bytes) and its XXH3-128 (16 bytes) |
//! | *d* | JSON: a [`Directory`] |
//!
//! A chunk of a tensor that is averaged is [`Block`](super::block::Block)s; of one that comes from the last checkpoint, its bytes.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use twox_hash::XxHash3_128;

use super::directory::{Directory, broken};
use crate::checkpoint::{MAX_HEADER, TensorInfo};
use crate::output::AtomicFile;
use crate::sync::lock;
use crate::{Error, Kind, Result, locks, look, setting};

const MAGIC: &[u8; 8] = b"SWASTATE";

/// Raised when the meaning of anything in it changes.
const FORMAT: u32 = 1;

const HEAD: usize = 64;

/// Bytes of a chunk in the table.
const ENTRY: usize = 20;

/// Values of a chunk.
pub(super) const CHUNK: usize = 1 << 16;

/// Values of a tensor: complex ones are two.
pub(super) fn values(info: &TensorInfo) -> usize {
    let parts = if info.dtype == crate::checkpoint::Dtype::C64 { 2 } else { 1 };
    info.len() * parts
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    start: u64,
    length: u32,
    digest: u128,
}

/// An open state: everything but the sums is read and checked, and these are when they are read.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    file: File,
    size: u64,
    pub directory: Directory,
    pub infos: Vec<TensorInfo>,
    chunks: Vec<Chunk>,
    /// Number of each tensor's first chunk.
    firsts: Vec<usize>,
}

/// How often to try to lock it, and how long to wait in between: the lock of a process that has just ended, or of a
/// child between fork and exec, lasts a moment longer.
const TRIES: (u32, Duration) = (20, Duration::from_millis(50));

/// Opens a state and locks it, so that no other run adds to it. None if there is none.
pub(super) fn open_locked(path: &Path) -> Result<Option<StateFile>> {
    let mut tries = 0;
    loop {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, "open", e)),
        };
        if !locks::try_lock(&file).map_err(|e| Error::io(path, "lock", e))? {
            if tries == TRIES.0 {
                return Err(Error::usage("is in use: another run adds to it").at(path).remedy(
                    concat!("wait for it, or give each run a ", setting!("state"), " of its own"),
                ));
            }
            tries += 1;
            std::thread::sleep(TRIES.1);
            continue;
        }
        // It may have been replaced between the opening and the locking.
        if look::is_at(&file, path)? {
            return StateFile::read(path, file).map(Some);
        }
    }
}

/// Whether a file says that it is a state.
pub(super) fn is_state(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut magic, 0));
    read.is_ok() && magic == *MAGIC
}

impl StateFile {
    /// Reads what an open file says about itself.
    ///
    /// # Errors
    /// `NotACheckpoint` if it is no state, `Unsupported` if it is of another format, `Truncated`, `Damaged`, `Limit`.
    pub fn read(path: &Path, file: File) -> Result<Self> {
        Self::parse(path, file).map_err(|e| e.at(path))
    }

    fn parse(path: &Path, file: File) -> Result<Self> {
        let size = file.metadata().map_err(|e| Error::io(path, "stat", e))?.len();
        let bytes_at = |start: u64, length: usize| {
            let mut bytes = vec![0; length];
            let read = file.read_exact_at(&mut bytes, start);
            read.map_err(|e| Error::io(path, "read", e)).map(|()| bytes)
        };
        let head = bytes_at(0, HEAD.min(size as usize))?;
        if !head.starts_with(MAGIC) {
            return Err(Error::new(Kind::NotACheckpoint, "is not the state of a running average")
                .remedy(concat!(
                    "name another ",
                    setting!("state"),
                    "; one that does not exist is begun"
                )));
        }
        let remedy = "copy it again, or begin a new one from the checkpoints";
        let truncated = || Error::new(Kind::Truncated, "ends too early").remedy(remedy);
        if head.len() < HEAD {
            return Err(truncated());
        }
        let u64_at =
            |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("in the head"));
        if u64_at(56) != digest_of_head(&head) {
            return Err(damaged());
        }
        let format = u64_at(8);
        if format != u64::from(FORMAT) {
            return Err(Error::new(
                Kind::Unsupported,
                format!("is of format {format}, not {FORMAT}"),
            )
            .remedy("continue it with the version that wrote it"));
        }
        let [sums, table, directory] = [16, 24, 32].map(u64_at);
        let expected =
            [sums, table, directory].iter().try_fold(HEAD as u64, |a, &b| a.checked_add(b));
        if expected.is_some_and(|expected| size < expected) {
            return Err(truncated());
        }
        if expected != Some(size) || table % ENTRY as u64 != 0 {
            return Err(damaged());
        }
        let most = MAX_HEADER as u64;
        if directory > most || table > 10 * most {
            let what = format!("its table and directory have {table} and {directory} bytes");
            return Err(Error::limit(format!("{what}, at most {} and {most} are read", 10 * most)));
        }
        let last = bytes_at(HEAD as u64 + sums, (table + directory) as usize)?;
        let digest = u128::from_le_bytes(*head[40..].first_chunk().expect("in the head"));
        if XxHash3_128::oneshot(&last) != digest {
            return Err(damaged());
        }
        let (table, directory) = last.split_at(table as usize);
        let directory: Directory = serde_json::from_slice(directory).map_err(|_| broken())?;
        let infos = directory.infos()?;
        let mut start = HEAD as u64;
        let chunk = |entry: &[u8]| {
            let length = u32::from_le_bytes(*entry.first_chunk().expect("an entry"));
            let digest = u128::from_le_bytes(*entry[4..].first_chunk().expect("an entry"));
            let chunk = Chunk { start, length, digest };
            start += u64::from(length);
            chunk
        };
        let chunks: Vec<Chunk> = table.chunks_exact(ENTRY).map(chunk).collect();
        let mut count = 0;
        let firsts = infos.iter().map(|info| {
            let first = count;
            count += values(info).div_ceil(CHUNK);
            first
        });
        let firsts = firsts.collect();
        if start != HEAD as u64 + sums || count != chunks.len() {
            return Err(broken());
        }
        Ok(StateFile { path: path.to_path_buf(), file, size, directory, infos, chunks, firsts })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads a chunk of a tensor and compares it with its digest.
    pub fn chunk<'b>(
        &self,
        tensor: usize,
        chunk: usize,
        into: &'b mut Vec<u8>,
    ) -> Result<&'b [u8]> {
        let Chunk { start, length, digest } = self.chunks[self.firsts[tensor] + chunk];
        // A part of the file: no length that it claims can be larger.
        into.resize(length as usize, 0);
        self.file.read_exact_at(into, start).map_err(|e| Error::io(&self.path, "read", e))?;
        match XxHash3_128::oneshot(into) == digest {
            true => Ok(into),
            false => Err(damaged().at(&self.path).tensor(&self.infos[tensor].name)),
        }
    }

    /// What is wrong if a chunk is not what its tensor needs.
    pub fn broken(&self, tensor: usize) -> Error {
        broken().at(&self.path).tensor(&self.infos[tensor].name)
    }

    /// Whether the path still leads to it.
    pub fn is_in_place(&self) -> Result<bool> {
        look::is_at(&self.file, &self.path)
    }
}

fn damaged() -> Error {
    Error::new(Kind::Damaged, "its bytes do not match their digest: the file is damaged")
        .remedy("copy it again, or begin a new one from the checkpoints")
}

fn digest_of_head(head: &[u8]) -> u64 {
    XxHash3_128::oneshot(&head[..HEAD - 8]) as u64
}

/// Writes the chunks of a state one after the other, whichever thread has them first.
pub(super) struct Writer<'f> {
    file: &'f AtomicFile,
    turn: Mutex<Turn>,
    next: Condvar,
}

struct Turn {
    /// Whose turn it is; none's after an error.
    job: Option<usize>,
    at: u64,
    table: Vec<u8>,
}

impl<'f> Writer<'f> {
    pub fn new(file: &'f AtomicFile) -> Self {
        let turn = Turn { job: Some(0), at: HEAD as u64, table: vec![] };
        Writer { file, turn: Mutex::new(turn), next: Condvar::new() }
    }

    /// Waits for the jobs before this one, then writes its chunks, which lie one after the other and end there.
    /// Nothing happens after [`Writer::fail`].
    pub fn write(&self, job: usize, bytes: &[u8], ends: &[usize]) -> Result<()> {
        let mut table = Vec::with_capacity(ENTRY * ends.len());
        let mut start = 0;
        for &end in ends {
            let chunk = &bytes[start..end];
            table.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
            table.extend_from_slice(&XxHash3_128::oneshot(chunk).to_le_bytes());
            start = end;
        }
        let mut turn = lock(&self.turn);
        while turn.job.is_some_and(|now| now != job) {
            turn = self.next.wait(turn).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if turn.job.is_none() {
            return Ok(());
        }
        let at = turn.at;
        turn.at += bytes.len() as u64;
        turn.table.append(&mut table);
        turn.job = Some(job + 1);
        drop(turn);
        self.next.notify_all();
        self.file.write_at(bytes, at)
    }

    /// Lets nobody wait any more.
    pub fn fail(&self) {
        lock(&self.turn).job = None;
        self.next.notify_all();
    }

    /// Writes what follows the chunks, and the head. Returns the size of the file.
    pub fn finish(self, directory: &Directory) -> Result<u64> {
        let Turn { at, table, .. } =
            self.turn.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let length = table.len();
        let mut last = table;
        last.append(&mut serde_json::to_vec(directory).expect("names and numbers"));
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&u64::from(FORMAT).to_le_bytes());
        for n in [at - HEAD as u64, length as u64, (last.len() - length) as u64] {
            head.extend_from_slice(&n.to_le_bytes());
        }
        head.extend_from_slice(&XxHash3_128::oneshot(&last).to_le_bytes());
        head.resize(HEAD, 0);
        let digest = digest_of_head(&head);
        head[HEAD - 8..].copy_from_slice(&digest.to_le_bytes());
        self.file.write_at(&last, at)?;
        self.file.write_at(&head, 0)?;
        let size = at + last.len() as u64;
        self.file.truncate(size)?;
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average::{Options, Target};
    use crate::checkpoint::{Checkpoint, Take};
    use crate::running::{RunningAverage, held};
    use proptest::prelude::*;

    /// A small state, and a checkpoint to add to it.
    fn state(dir: &Path) -> (Vec<u8>, PathBuf) {
        let path = |name: &str| dir.join(name);
        for i in 0..3u8 {
            let values: Vec<u8> =
                (0..3).flat_map(|k| (f32::from(i) * 0.3 - k as f32).to_le_bytes()).collect();
            let view = |dtype, shape: Vec<usize>, bytes| {
                safetensors::tensor::TensorView::new(dtype, shape, bytes).unwrap()
            };
            let tensors = [
                ("w", view(safetensors::Dtype::F32, vec![3], &values)),
                ("n", view(safetensors::Dtype::U8, vec![4], &values[..4])),
            ];
            std::fs::write(path(&format!("c{i}")), safetensors::serialize(tensors, None).unwrap())
                .unwrap();
        }
        let mut running =
            RunningAverage::open(&path("s"), &Options::default(), &Take::default()).unwrap();
        let inputs = Checkpoint::open_all(&[path("c0"), path("c1")], &Take::default()).unwrap();
        running.add(inputs, &Target::safetensors(path("o")), true, (None, true), &|_| {}).unwrap();
        (std::fs::read(path("s")).unwrap(), path("c2"))
    }

    /// The digests of what a state says, made right again: as if someone had written it so.
    fn seal(bytes: &mut [u8]) {
        let u64_at = |bytes: &[u8], at: usize| {
            u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
        };
        let (sums, table) = (u64_at(bytes, 16), u64_at(bytes, 24));
        let mut start = HEAD;
        for entry in 0..table / ENTRY {
            let at = HEAD + sums + entry * ENTRY;
            let length = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
            let Some(chunk) = bytes.get(start..start + length) else { continue };
            let digest = XxHash3_128::oneshot(chunk).to_le_bytes();
            bytes[at + 4..at + ENTRY].copy_from_slice(&digest);
            start += length;
        }
        let digest = XxHash3_128::oneshot(&bytes[HEAD + sums..]).to_le_bytes();
        bytes[40..56].copy_from_slice(&digest);
        let digest = digest_of_head(bytes).to_le_bytes();
        bytes[56..HEAD].copy_from_slice(&digest);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Digests guard against accidents. Someone who computes them anew gets an error, or an average of what he wrote.
        #[test]
        fn a_state_that_lies_with_the_right_digests_ends_nothing(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut bytes, new) = state(dir.path());
            for (at, value) in changes {
                // Not the lengths, by which the parts are found.
                let at = HEAD + at.index(bytes.len() - HEAD);
                bytes[at] = value;
            }
            seal(&mut bytes);
            let path = dir.path().join("s");
            std::fs::write(&path, &bytes).unwrap();
            let _ = held(&path).map_err(|e| e.to_string());
            if let Ok(mut running) = RunningAverage::open(&path, &Options::default(), &Take::default()) {
                let inputs = Checkpoint::open_all(&[new], &Take::default()).unwrap();
                let target = Target::safetensors(dir.path().join("o"));
                let _ = running.add(inputs, &target, true, (None, true), &|_| {}).map_err(|e| e.to_string());
            }
        }
    }
}
