//! The pass that adds checkpoints to a state and writes what comes of it: each input, and the old state, is read
//! once; the new state and the output are written once.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use twox_hash::XxHash3_128;

use super::block::{BLOCK, Block};
use super::file::{CHUNK, StateFile, Writer, values};
use crate::average::infinities;
use crate::average::totals::{Met, Scratch};
use crate::average::{Float, Rule, count_nonfinite, too_large};
use crate::checkpoint::checksum::Checksum;
use crate::checkpoint::{Checkpoint, Dtype, TensorInfo, digest, same};
use crate::output::{Destination, Layout, Scatter, Sink};
use crate::sync::lock;
use crate::{Error, Kind, Result, setting};

/// Threads at work: as one at a time writes to a file, more would mostly wait.
const MOST_THREADS: usize = 8;

/// Where the output's tensors go.
pub(super) struct Destinations<'p> {
    pub layout: &'p dyn Layout,
    pub sink: &'p dyn Sink,
    /// For each tensor of the state its number in the layout.
    pub places: Vec<usize>,
}

/// What is read, and what is written.
pub(super) struct Pass<'p> {
    /// None: nothing was counted before.
    pub old: Option<&'p StateFile>,
    pub infos: &'p [TensorInfo],
    /// Of each tensor, with its type in the output.
    pub rules: &'p [(Rule, Dtype)],
    pub inputs: &'p [Checkpoint],
    /// For each input the numbers of the tensors in it.
    pub numbers: &'p [Vec<usize>],
    /// The input that is the last of all now; None if that is one that was counted before.
    pub last: Option<usize>,
    /// For messages: the path of the last of all.
    pub last_path: &'p std::path::Path,
    /// How many are counted with these.
    pub count: u64,
    pub allow_nonfinite: bool,
    pub verify: bool,
    pub state: Option<&'p Writer<'p>>,
    pub output: Option<Destinations<'p>>,
    pub progress: &'p (dyn Fn(u64) + Sync),
}

/// What the pass found.
pub(super) struct Found {
    /// Of each tensor of the output, the checksum that its layout wants.
    pub sums: Vec<u128>,
    /// Of each input.
    pub digests: Vec<String>,
    /// Tensors with means that are not finite, and how many.
    pub nonfinite: Vec<(usize, u64)>,
}

/// A run of values of one tensor.
struct Job {
    number: usize,
    tensor: usize,
    values: Range<usize>,
}

/// What a thread reuses.
#[derive(Default)]
struct Worker {
    old: Vec<u8>,
    input: Vec<u8>,
    blocks: Vec<Block>,
    decoded: Vec<f64>,
    scratch: Scratch,
    state: Vec<u8>,
    ends: Vec<usize>,
    out: Vec<u8>,
    hashers: Vec<XxHash3_128>,
}

/// What is gathered of all tensors.
struct Gathered {
    output: Vec<u128>,
    /// By input, then tensor: the digest's sum over blocks.
    digests: Vec<Vec<u128>>,
    /// Likewise what the input's own checksums are compared with.
    checksums: Vec<Vec<u128>>,
    nonfinite: Vec<u64>,
}

/// Lets nobody wait for a thread that panics.
struct Released<'w>(Option<&'w Writer<'w>>);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|state| state.fail());
        }
    }
}

impl Pass<'_> {
    /// Type of the values of a tensor that is averaged.
    fn float(&self, tensor: usize) -> Option<Float> {
        match self.rules[tensor].0 {
            Rule::Mean(from) => Some(from),
            Rule::Convert(_) | Rule::Last => None,
        }
    }

    /// Bytes a value in the inputs and in the output.
    fn widths(&self, tensor: usize) -> (usize, usize) {
        let size = |dtype: Dtype| match dtype {
            Dtype::C64 => 4,
            dtype => dtype.bitsize() / 8,
        };
        (size(self.infos[tensor].dtype), size(self.rules[tensor].1))
    }

    /// Whole blocks of the digests, of the inputs and of the output.
    fn values_a_job(&self, tensor: usize) -> usize {
        let (from, to) = self.widths(tensor);
        (digest::BLOCK as usize / from.min(to)).max(CHUNK)
    }

    /// Bytes that will be read from the inputs.
    pub fn bytes_to_read(&self) -> u64 {
        self.inputs.len() as u64 * self.infos.iter().map(TensorInfo::size).sum::<u64>()
    }

    /// Does it. Of several errors the one of the first job counts.
    pub fn run(&self) -> Result<Found> {
        if self.verify {
            self.inputs.iter().try_for_each(Checkpoint::verify_apart)?;
        }
        let mut firsts = Vec::with_capacity(self.infos.len());
        let mut count = 0usize;
        for (tensor, info) in self.infos.iter().enumerate() {
            firsts.push(count);
            count += values(info).div_ceil(self.values_a_job(tensor));
        }
        let zeros = || vec![vec![0; self.infos.len()]; self.inputs.len()];
        let gathered = Mutex::new(Gathered {
            output: vec![0; self.infos.len()],
            digests: zeros(),
            checksums: zeros(),
            nonfinite: vec![0; self.infos.len()],
        });
        let (scatter, next, failed) =
            (Scatter::default(), AtomicUsize::new(0), AtomicBool::new(false));
        let error: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        rayon::broadcast(|thread| {
            if thread.index() >= MOST_THREADS {
                return;
            }
            let mut worker = Worker::default();
            let _released = Released(self.state);
            while !failed.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                // The last one that begins at or before it: empty tensors have no job.
                let tensor = firsts.partition_point(|&first| first <= number) - 1;
                let per_job = self.values_a_job(tensor);
                let start = (number - firsts[tensor]) * per_job;
                let end = values(&self.infos[tensor]).min(start + per_job);
                let job = Job { number, tensor, values: start..end };
                if let Err(e) = self.job(&job, &mut worker, &gathered, &scatter) {
                    failed.store(true, Ordering::Relaxed);
                    self.state.iter().for_each(|state| state.fail());
                    let mut first = lock(&error);
                    if first.as_ref().is_none_or(|(other, _)| number < *other) {
                        *first = Some((number, e));
                    }
                }
            }
        });
        if let Some((_, error)) =
            error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
        {
            return Err(error);
        }
        let gathered = gathered.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.finish(gathered)
    }

    fn finish(&self, gathered: Gathered) -> Result<Found> {
        let Gathered { output: sums, digests, checksums, nonfinite } = gathered;
        for (i, input) in self.inputs.iter().enumerate() {
            if self.verify {
                for (tensor, &number) in self.numbers[i].iter().enumerate() {
                    input.compare(number, checksums[i][tensor])?;
                }
            }
            input.check_unchanged()?;
        }
        // Counters do not make another checkpoint, unless there is nothing else.
        let has_weights = self.infos.iter().any(same::is_weight);
        let counts = |info: &TensorInfo| !has_weights || same::is_weight(info);
        let of_input = |sums: Vec<u128>| {
            let tensors = sums.into_iter().zip(self.infos).filter(|(_, info)| counts(info));
            let digests =
                tensors.flat_map(|(sum, info)| digest::of_tensor(sum, info).to_le_bytes());
            digest::hex(XxHash3_128::oneshot(&digests.collect::<Vec<u8>>()))
        };
        let nonfinite = nonfinite.into_iter().enumerate().filter(|(_, n)| *n > 0).collect();
        Ok(Found { sums, digests: digests.into_iter().map(of_input).collect(), nonfinite })
    }

    fn job(
        &self,
        job: &Job,
        worker: &mut Worker,
        gathered: &Mutex<Gathered>,
        scatter: &Scatter,
    ) -> Result<()> {
        let (tensor, (from, to)) = (job.tensor, self.widths(job.tensor));
        worker.state.clear();
        worker.ends.clear();
        worker.out.clear();
        worker.hashers.clear();
        let mut digests = vec![0u128; self.inputs.len()];
        let mut checksums = digests.clone();
        let mut met = Met::default();
        for start in job.values.clone().step_by(CHUNK) {
            let part = start..job.values.end.min(start + CHUNK);
            match self.float(tensor) {
                Some(float) => self.average(
                    job,
                    part,
                    float,
                    worker,
                    &mut met,
                    (&mut digests, &mut checksums),
                )?,
                None => self.copy(job, part, worker, &mut met, (&mut digests, &mut checksums))?,
            }
            worker.ends.push(worker.state.len());
        }
        if met.overflows > 0 {
            let what = format!("{} or more means are", met.overflows);
            return Err(too_large(&what, self.rules[tensor].1, &self.infos[tensor].name));
        }
        {
            let mut gathered = lock(gathered);
            gathered.nonfinite[tensor] += met.nonfinite;
            for (i, (&digest, &sum)) in digests.iter().zip(&checksums).enumerate() {
                let all = &mut gathered.digests[i][tensor];
                *all = all.wrapping_add(digest);
                if let Some(kind) = self.inputs[i].checksum(self.numbers[i][tensor]) {
                    let all = &mut gathered.checksums[i][tensor];
                    *all = kind.add(*all, sum);
                }
            }
        }
        if let Some(state) = self.state {
            state.write(job.number, &worker.state, &worker.ends)?;
        }
        self.write(job, &worker.out, to, gathered, scatter)?;
        (self.progress)((job.values.len() * from * self.inputs.len()) as u64);
        Ok(())
    }

    /// Writes a part of the output.
    fn write(
        &self,
        job: &Job,
        out: &[u8],
        width: usize,
        gathered: &Mutex<Gathered>,
        scatter: &Scatter,
    ) -> Result<()> {
        let Some(Destinations { layout, sink, places }) = &self.output else { return Ok(()) };
        let (at, place) = ((job.values.start * width) as u64, places[job.tensor]);
        if let Some(kind) = layout.checksum() {
            let size = values(&self.infos[job.tensor]) * width;
            let part = kind.of_part(at, out, size as u64);
            let sum = &mut lock(gathered).output[place];
            *sum = kind.add(*sum, part);
        }
        match layout.destination(place) {
            Destination::Row(offset) => sink.write_at(0, out, offset + at),
            Destination::Scattered(gather) => scatter.put(*sink, 0, place, gather, at, out),
            Destination::Pieces(gather, file) => {
                gather.pieces(file, at, out, &mut |offset, piece| sink.write_at(0, piece, offset))
            }
        }
    }

    /// Reads a part of an input, and adds it to the digests. With the last part of the job these are complete.
    fn load<'w>(
        &self,
        job: &Job,
        part: &Range<usize>,
        input: usize,
        buffer: &'w mut Vec<u8>,
        hashers: &mut Vec<XxHash3_128>,
        (digests, checksums): (&mut [u128], &mut [u128]),
    ) -> Result<&'w [u8]>
    where
        Self: 'w,
    {
        let (width, number) = (self.widths(job.tensor).0, self.numbers[input][job.tensor]);
        let bytes = (part.start * width) as u64..(part.end * width) as u64;
        let length = (bytes.end - bytes.start) as usize;
        let loaded = self.inputs[input].load(number, bytes.clone(), buffer)?;
        debug_assert_eq!(loaded.len(), length);
        if hashers.len() <= input {
            hashers.push(XxHash3_128::with_seed(bytes.start / digest::BLOCK));
        }
        let mut sum = 0u128;
        let mut at = bytes.start;
        let mut rest = loaded;
        while !rest.is_empty() {
            let here = (digest::BLOCK - at % digest::BLOCK).min(rest.len() as u64);
            let (own, next) = rest.split_at(here as usize);
            hashers[input].write(own);
            (at, rest) = (at + here, next);
            let is_end = at == (job.values.end * width) as u64;
            if at % digest::BLOCK == 0 || is_end {
                sum = sum.wrapping_add(hashers[input].finish_128());
                hashers[input] = XxHash3_128::with_seed(at / digest::BLOCK);
            }
        }
        digests[input] = digests[input].wrapping_add(sum);
        match self.inputs[input].checksum(number) {
            Some(Checksum::Digest) => checksums[input] = digests[input],
            Some(kind) if self.verify => {
                let part = kind.of_part(bytes.start, loaded, self.infos[job.tensor].size());
                checksums[input] = kind.add(checksums[input], part);
            }
            _ => {}
        }
        Ok(loaded)
    }

    /// A chunk of sums: read, added to, written, and its means.
    fn average(
        &self,
        job: &Job,
        part: Range<usize>,
        float: Float,
        worker: &mut Worker,
        met: &mut Met,
        (digests, checksums): (&mut [u128], &mut [u128]),
    ) -> Result<()> {
        let Worker { old, input: buffer, blocks, decoded, scratch, state, out, hashers, .. } =
            worker;
        let n = part.len().div_ceil(BLOCK);
        blocks.resize_with(n.max(blocks.len()), Block::default);
        let length = |i: usize| BLOCK.min(part.len() - i * BLOCK);
        let blocks = &mut blocks[..n];
        match self.old {
            Some(file) => {
                let mut rest = file.chunk(job.tensor, part.start / CHUNK, old)?;
                for (i, block) in blocks.iter_mut().enumerate() {
                    block.read(&mut rest, length(i)).ok_or_else(|| file.broken(job.tensor))?;
                }
                if !rest.is_empty() {
                    return Err(file.broken(job.tensor));
                }
            }
            None => blocks.iter_mut().enumerate().for_each(|(i, block)| block.clear(length(i))),
        }
        let may_be_infinite = self.may_be_infinite(job.tensor);
        for input in 0..self.inputs.len() {
            let sums = (&mut *digests, &mut *checksums);
            let bytes = self.load(job, &part, input, buffer, hashers, sums)?;
            let is_first = self.old.is_none() && input == 0;
            let mut is_sound = true;
            for (block, bytes) in blocks.iter_mut().zip(bytes.chunks(BLOCK * float.size())) {
                is_sound &= block.add(bytes, float, is_first, may_be_infinite, decoded);
            }
            if !is_sound && !self.allow_nonfinite {
                return Err(self.nonfinite(input, job.tensor, float));
            }
        }
        let to = Float::of(self.rules[job.tensor].1).expect("planned as a float");
        for block in blocks {
            block.write(state);
            if self.output.is_some() {
                let start = out.len();
                let totals = block.totals();
                out.resize(start + totals.len() * to.size(), 0);
                let found = totals.means(self.count, to, &mut out[start..], scratch);
                // Without leave they are masks.
                met.nonfinite += if self.allow_nonfinite { found.nonfinite } else { 0 };
                met.overflows += found.overflows;
            }
        }
        Ok(())
    }

    /// Whether a tensor may be infinite as a whole. Of more than one block, the others are not seen.
    fn may_be_infinite(&self, tensor: usize) -> bool {
        let info = &self.infos[tensor];
        info.len() <= BLOCK && infinities::may_be_infinite(info)
    }

    fn nonfinite(&self, input: usize, tensor: usize, float: Float) -> Error {
        let n = match self.inputs[input].bytes(self.numbers[input][tensor]) {
            Ok(bytes) => count_nonfinite(&bytes, float),
            Err(e) => return e,
        };
        let what = match n {
            0 => "is finite where others are not".into(),
            n => format!("{n} of its values are not finite"),
        };
        Error::new(Kind::NotFinite, what)
            .at(self.inputs[input].path())
            .tensor(&self.infos[tensor].name)
            .remedy(concat!(
                "leave out checkpoints from a training that diverged, or ",
                setting!("allow_nonfinite"),
                " from the beginning"
            ))
    }

    /// A chunk of what comes from the last checkpoint.
    fn copy(
        &self,
        job: &Job,
        part: Range<usize>,
        worker: &mut Worker,
        met: &mut Met,
        (digests, checksums): (&mut [u128], &mut [u128]),
    ) -> Result<()> {
        let Worker { old, input: buffer, blocks, decoded, scratch, state, out, hashers, .. } =
            worker;
        let start = state.len();
        // All are read, for their digests.
        for input in 0..self.inputs.len() {
            let sums = (&mut *digests, &mut *checksums);
            let bytes = self.load(job, &part, input, buffer, hashers, sums)?;
            if self.last == Some(input) {
                state.extend_from_slice(bytes);
            }
        }
        // What is replaced is read as well: a state that is damaged anywhere is not added to.
        if let Some(file) = self.old {
            let bytes = file.chunk(job.tensor, part.start / CHUNK, old)?;
            if bytes.len() != part.len() * self.widths(job.tensor).0 {
                return Err(file.broken(job.tensor));
            }
            if self.last.is_none() {
                state.extend_from_slice(bytes);
            }
        }
        let bytes = &state[start..];
        if self.output.is_none() {
            return Ok(());
        }
        let Rule::Convert(from) = self.rules[job.tensor].0 else {
            out.extend_from_slice(bytes);
            return Ok(());
        };
        let to = Float::of(self.rules[job.tensor].1).expect("planned as a float");
        blocks.resize_with(blocks.len().max(1), Block::default);
        let may_be_infinite = self.may_be_infinite(job.tensor);
        for bytes in bytes.chunks(BLOCK * from.size()) {
            let block = &mut blocks[0];
            block.clear(bytes.len() / from.size());
            if !block.add(bytes, from, true, may_be_infinite, decoded) && !self.allow_nonfinite {
                let what = "some of its values are not finite";
                return Err(Error::new(Kind::NotFinite, what)
                    .at(self.last_path)
                    .tensor(&self.infos[job.tensor].name));
            }
            let start = out.len();
            let totals = block.totals();
            out.resize(start + totals.len() * to.size(), 0);
            let found = totals.means(1, to, &mut out[start..], scratch);
            met.nonfinite += if self.allow_nonfinite { found.nonfinite } else { 0 };
            met.overflows += found.overflows;
        }
        Ok(())
    }
}
