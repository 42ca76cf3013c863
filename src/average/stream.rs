//! Carrying out a plan: chunk by chunk, N inputs → sums → one rounding → the output.
//!
//! Threads take jobs in order, so that at any time only as many tensors are in flight as there are
//! threads, files are read front to back, and memory does not depend on their size.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::access::{Access, Way};
use super::block::{Terms, Worker};
use super::checking::Checking;
use super::plan::{Plan, Rule};
use super::writer::Writer;
use super::{Float, exact, kernel};
use crate::output::{Destination, Scatter, Sink};
use crate::tensors::checksum::Checksum;
use crate::tensors::digest;
use crate::{Error, Result};

/// Bytes that a job reads of each input, or writes, whichever has the narrower type: a block of the
/// digests, and enough for the calls that go with it to cost nothing.
const JOB: u64 = digest::BLOCK;

/// From here on a part of an input is announced to the kernel before it is read.
const WORTH_ANNOUNCING: u64 = 1 << 16;

/// Inputs of more bytes than this give back their page tables (32 MiB by then) as they pass by.
const LARGE: u64 = 16 << 30;

/// Threads at work, each with up to 7 MiB: as one at a time writes to a file, more would mostly wait.
pub(super) const MOST_THREADS: usize = 8;

/// Where the output's bytes go, and what is gathered on the way.
pub(super) struct Stream<'p, 'a> {
    pub plan: &'p Plan<'a>,
    /// None: everything is computed and nothing written.
    writer: Option<Writer<'p>>,
    /// For each tensor.
    pub outputs: &'p [Output<'p>],
    pub progress: &'p (dyn Fn(u64) + Sync),
    is_large: bool,
    access: Access,
    /// Checksums of each tensor's bytes in the output.
    pub sums: Mutex<Vec<u128>>,
    scatter: Scatter,
    /// How many values that are not finite a tensor has.
    pub nonfinite: Mutex<HashMap<usize, u64>>,
    /// Checksums of inputs that have some, of tensors in flight.
    pub checking: Mutex<HashMap<usize, Checking>>,
}

/// Where a tensor goes.
pub(super) struct Output<'p> {
    pub file: usize,
    pub to: Destination<'p>,
    pub checksum: Option<Checksum>,
}

/// A run of values of one tensor.
pub(super) struct Job {
    pub tensor: usize,
    /// Of values.
    pub start: usize,
    pub end: usize,
    /// How many the tensor has.
    pub count: usize,
}

/// Bytes a value in the inputs and in the output.
fn widths(plan: &Plan, tensor: usize) -> (u64, u64) {
    let planned = &plan.tensors[tensor];
    match planned.rule {
        Rule::Mean(from) | Rule::Convert(from) => {
            (from.size() as u64, Float::of(planned.dtype).map_or(0, Float::size) as u64)
        }
        Rule::Last => (1, 1),
    }
}

/// Values of a tensor: complex ones count twice, and what is only copied goes by bytes.
fn values(plan: &Plan, tensor: usize) -> u64 {
    plan.info(tensor).size() / widths(plan, tensor).0
}

fn values_a_job(plan: &Plan, tensor: usize) -> u64 {
    let (from, to) = widths(plan, tensor);
    JOB / from.min(to)
}

impl<'p, 'a> Stream<'p, 'a> {
    pub fn new(
        plan: &'p Plan<'a>,
        sink: Option<&'p dyn Sink>,
        outputs: &'p [Output<'p>],
        progress: &'p (dyn Fn(u64) + Sync),
    ) -> Self {
        let files = outputs.iter().map(|output| output.file + 1).max().unwrap_or(0);
        Stream {
            plan,
            writer: sink.map(|sink| Writer::new(sink, files)),
            outputs,
            progress,
            is_large: plan.bytes_to_read() > LARGE,
            access: Access::new(),
            sums: Mutex::new(vec![0; plan.tensors.len()]),
            scatter: Scatter::default(),
            nonfinite: Mutex::default(),
            checking: Mutex::default(),
        }
    }

    /// Does all jobs, or those that can be begun before the deadline. Of several errors the one of the
    /// first job counts, so that the message does not depend on the threads.
    pub fn run(&self, deadline: Option<Instant>) -> Result<()> {
        // Job j works on part j − firsts[t] of tensor t.
        let mut firsts = Vec::with_capacity(self.plan.tensors.len());
        let mut count = 0usize;
        for tensor in 0..self.plan.tensors.len() {
            firsts.push(count);
            let jobs = values(self.plan, tensor).div_ceil(values_a_job(self.plan, tensor));
            count += jobs as usize;
        }
        let exact = exact::divisor(self.plan.coefficients.weights());
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let error: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        rayon::broadcast(|thread| {
            if thread.index() >= MOST_THREADS {
                return;
            }
            let mut worker = Worker::new(&self.plan.coefficients, exact.clone());
            let fail = |j: usize, e: Error| {
                failed.store(true, Ordering::Relaxed);
                let mut first = lock(&error);
                if first.as_ref().is_none_or(|(other, _)| j < *other) {
                    *first = Some((j, e));
                }
            };
            while !failed.load(Ordering::Relaxed) && deadline.is_none_or(|end| Instant::now() < end)
            {
                let j = next.fetch_add(1, Ordering::Relaxed);
                if j >= count {
                    break;
                }
                // The last one that begins at or before j: empty tensors have no job.
                let tensor = firsts.partition_point(|&first| first <= j) - 1;
                let per_job = values_a_job(self.plan, tensor) as usize;
                let all = values(self.plan, tensor) as usize;
                let start = (j - firsts[tensor]) * per_job;
                let job = Job {
                    tensor,
                    start,
                    end: all.min(start + per_job),
                    count: all.div_ceil(per_job),
                };
                if let Err(e) = self.job(&job, &mut worker) {
                    fail(j, e);
                }
            }
            if let (Some(writer), false) = (&self.writer, failed.load(Ordering::Relaxed))
                && let Err(e) = writer.finish(&mut worker.pending)
            {
                fail(count, e);
            }
        });
        match error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn job(&self, job: &Job, worker: &mut Worker) -> Result<()> {
        let plan = self.plan;
        let planned = &plan.tensors[job.tensor];
        let sources: Vec<(usize, usize)> = match planned.rule {
            Rule::Mean(_) => (0..plan.inputs.len())
                .filter_map(|input| Some((input, plan.number(input, job.tensor)?)))
                .collect(),
            Rule::Convert(_) | Rule::Last => vec![plan.last(job.tensor)],
        };
        let (width, _) = widths(plan, job.tensor);
        let bytes = job.start as u64 * width..job.end as u64 * width;
        let length = bytes.end - bytes.start;
        let started = Instant::now();
        // F64 takes the exact path, which reads what is mapped.
        let (way, is_trial) = match planned.rule {
            Rule::Mean(Float::F64) | Rule::Convert(Float::F64) => (Way::Mapped, false),
            Rule::Mean(_) if length >= JOB => (self.access.way(), true),
            _ => (Way::Copied, false),
        };
        for &(input, number) in &sources {
            if length >= WORTH_ANNOUNCING
                && let Some((file, range)) = plan.inputs[input].locate(number, bytes.clone())
                && (way == Way::Mapped || !file.is_copied(&range))
            {
                file.populate(range);
            }
        }
        worker.crcs.clear();
        if !plan.options.no_verify && self.sums_as_it_reads(planned.rule, &sources) {
            worker.crcs.resize(sources.len(), crc32fast::Hasher::new());
        }
        match planned.rule {
            Rule::Last => {
                let (input, number) = sources[0];
                let copy = plan.inputs[input].load(number, bytes.clone(), &mut worker.scratch)?;
                if let Some(writer) = &self.writer {
                    self.sum(job, bytes.start, copy);
                    let Output { file, to, .. } = &self.outputs[job.tensor];
                    match to {
                        Destination::Row(offset) => {
                            writer.write(*file, copy, offset + bytes.start)?;
                        }
                        Destination::Scattered(gather) => writer.alone(*file, |sink| {
                            self.scatter.put(sink, *file, job.tensor, gather, bytes.start, copy)
                        })?,
                    }
                }
            }
            Rule::Mean(from) | Rule::Convert(from) => {
                let to = Float::of(planned.dtype).expect("planned as a float");
                let other;
                let (coefficients, divisor) = match planned.rule {
                    Rule::Mean(_) if sources.len() == plan.inputs.len() => {
                        (&plan.coefficients, worker.divisor.clone())
                    }
                    rule => {
                        other = match rule {
                            Rule::Convert(_) => super::mean(1),
                            _ => plan.coefficients_of(job.tensor)?,
                        };
                        (&other, exact::divisor(other.weights()))
                    }
                };
                let (inputs, sources, divisor) = (plan.inputs, &sources[..], &divisor);
                let terms = Terms { inputs, sources, way, coefficients, divisor, from, to };
                self.mean(job, &terms, worker, is_trial.then_some(started))?;
            }
        }
        if !plan.options.no_verify {
            self.check(job, &sources, bytes.clone(), worker)?;
        }
        if self.is_large && length >= WORTH_ANNOUNCING {
            for &(input, number) in &sources {
                if let Some((file, range)) = plan.inputs[input].locate(number, bytes.clone()) {
                    file.release(range);
                }
            }
        }
        (self.progress)(length * sources.len() as u64);
        Ok(())
    }

    /// `trial`: when a job that is timed began.
    fn mean(
        &self,
        job: &Job,
        terms: &Terms,
        worker: &mut Worker,
        trial: Option<Instant>,
    ) -> Result<()> {
        let width = terms.to.size();
        let size = (job.end - job.start) * width;
        let mut out = worker.pending.buffer(size);
        let found = terms.average(job.start..job.end, &mut out[..size], worker)?;
        if let Some(started) = trial {
            let read = (job.end - job.start) * terms.from.size() * terms.sources.len();
            self.access.took(terms.way, read as u64, started.elapsed());
        }
        if found.nonfinite_inputs && !self.plan.options.allow_nonfinite {
            return Err(self.nonfinite_inputs(job.tensor, terms.sources, terms.from));
        }
        if found.overflows > 0 {
            let dtype = self.plan.tensors[job.tensor].dtype;
            let (name, n) = (self.plan.name(job.tensor), found.overflows);
            return Err(Error::input(format!("{n} or more means are too large for {dtype:?}"))
                .tensor(name)
                .remedy("choose a --dtype with a wider range: bf16 or f32"));
        }
        if found.nonfinite > 0 {
            *lock(&self.nonfinite).entry(job.tensor).or_default() += found.nonfinite;
        }
        let Some(writer) = &self.writer else {
            worker.pending.reuse(out);
            return Ok(());
        };
        let at = (job.start * width) as u64;
        self.sum(job, at, &out[..size]);
        let Output { file, to, .. } = &self.outputs[job.tensor];
        match to {
            Destination::Row(offset) => {
                writer.write_later(*file, (out, size), offset + at, &mut worker.pending)
            }
            Destination::Scattered(gather) => {
                let part = &out[..size];
                let done = writer.alone(*file, |sink| {
                    self.scatter.put(sink, *file, job.tensor, gather, at, part)
                });
                worker.pending.reuse(out);
                done
            }
        }
    }

    /// Adds a part of an output tensor to its checksum.
    fn sum(&self, job: &Job, at: u64, bytes: &[u8]) {
        if let Some(kind) = self.outputs[job.tensor].checksum {
            let part = kind.of_part(at, bytes, self.plan.output_size(job.tensor));
            let sum = &mut lock(&self.sums)[job.tensor];
            *sum = kind.add(*sum, part);
        }
    }

    /// Names the inputs whose values are not finite, and how many.
    fn nonfinite_inputs(&self, tensor: usize, sources: &[(usize, usize)], from: Float) -> Error {
        let count = |&(input, number): &(usize, usize)| -> Result<(usize, usize)> {
            let bytes = self.plan.inputs[input].bytes(number)?;
            Ok((input, kernel::count_nonfinite(&bytes, from)))
        };
        let counts: Result<Vec<_>> = sources.iter().map(count).collect();
        let counts = match counts {
            Ok(counts) => counts.into_iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(),
            Err(e) => return e,
        };
        let (first, n) = counts.first().copied().unwrap_or((0, 0));
        let others: Vec<String> = (counts.iter().skip(1))
            .map(|&(input, n)| {
                format!("`{}`: {n} as well", self.plan.inputs[input].path().display())
            })
            .collect();
        Error::input(format!("{n} of its values are not finite"))
            .at(self.plan.inputs[first].path())
            .tensor(self.plan.name(tensor))
            .remedy("leave out checkpoints from a training that diverged, or --allow-nonfinite")
            .list(others)
    }
}

/// A panic elsewhere does not spoil what these hold.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
