//! Carrying out a plan: chunk by chunk, N inputs → sums → one rounding → the outputs.
//!
//! Threads take jobs in order, so that at any time only as many tensors are in flight as there are
//! threads, files are read front to back, and memory does not depend on their size.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::copy_or_map::{CopyOrMap, Way};
use super::exact;
use super::infinities;
use super::input_checksums::InputChecksums;
use super::means::{self, Found, Job, Mean, Terms, Worker};
use super::output_state::{Gathered, OutputState, Place};
use super::plan::{Member, Sources};
use super::write_queue::{Unwritten, WriteQueue};
use super::{Float, OutputPlan, Plan, Rule, kernel, too_large};
use crate::checkpoint::digest;
use crate::sync::lock;
use crate::{Error, Kind, Result, setting};

/// Bytes that a job reads of each input, or writes, whichever has the narrowest type: a block of the
/// digests, and enough for the calls that go with it to cost nothing.
const JOB: u64 = digest::BLOCK;

/// From here on a part of an input is announced to the kernel before it is read.
const WORTH_ANNOUNCING: u64 = 1 << 16;

/// Inputs of more bytes than this give back their page tables (32 MiB by then) as they pass by.
const LARGE: u64 = 16 << 30;

/// Threads at work, each with up to [`memory_a_thread`]: as one at a time writes to a file, more would
/// mostly wait.
pub(super) const MOST_THREADS: usize = 8;

/// Bytes of memory that a thread takes: what it reads into, and of each output a chunk at hand and two that wait
/// for their file.
pub(super) fn memory_a_thread(plan: &Plan) -> u64 {
    let groups = plan.groups();
    let of_outputs = (0..groups.len()).map(|group| {
        let rules = groups.members(group).iter().filter_map(|member| {
            let output = plan.output(member);
            let planned = &output.tensors()[member.tensor()];
            Some((output, planned, planned.rule.float()?, Float::of(planned.dtype)?))
        });
        let bytes = rules.map(|(output, planned, from, to)| {
            let chunk = means::chunk(from) as u64;
            chunk * (3 * to.size() as u64 + means::sums_a_value(output, planned.inputs as usize))
        });
        bytes.sum::<u64>()
    });
    (4 << 20) + of_outputs.max().unwrap_or(0)
}

/// The pass over the inputs that makes all outputs.
pub(super) struct Stream<'p, 'a> {
    plan: &'p Plan<'a>,
    /// None: everything is computed and nothing written.
    queue: Option<WriteQueue<'p>>,
    outputs: Vec<OutputState<'p, 'a>>,
    progress: &'p (dyn Fn(u64) + Sync),
    is_large: bool,
    copy_or_map: CopyOrMap,
    checksums: InputChecksums,
    /// Which values of each tensor are wanted of the only output, where not all are.
    wanted: Option<&'p [Range<u64>]>,
}

impl<'p, 'a> Stream<'p, 'a> {
    /// `places`: of each output, or none if nothing is to be written. Of several, each takes all values.
    pub fn new(
        plan: &'p Plan<'a>,
        places: &'p [Place<'p>],
        progress: &'p (dyn Fn(u64) + Sync),
    ) -> Self {
        let mut files = 0;
        let state = |(number, output): (usize, &'p OutputPlan<'a>)| {
            let (place, first_file) = (places.get(number), files);
            files += place.map_or(0, |place| place.files);
            OutputState::new(output, place, first_file)
        };
        let outputs = plan.outputs().iter().enumerate().map(state).collect();
        let sinks: Vec<_> = places.iter().map(|place| (place.sink, place.files)).collect();
        Stream {
            plan,
            queue: (!places.is_empty()).then(|| WriteQueue::new(&sinks)),
            outputs,
            progress,
            is_large: plan.bytes_to_read() > LARGE,
            copy_or_map: CopyOrMap::new(),
            checksums: InputChecksums::default(),
            wanted: match places {
                [only] => only.wanted.as_deref(),
                _ => None,
            },
        }
    }

    /// Does all jobs, or those that can be begun before the deadline. Of several errors the one of the
    /// first job counts, so that the message does not depend on the threads.
    pub fn run(&self, deadline: Option<Instant>) -> Result<()> {
        // Job j works on part j − firsts[g] of group g, counted from the first part that is wanted.
        let groups = self.plan.groups();
        let mut firsts = Vec::with_capacity(groups.len());
        let mut count = 0usize;
        for group in 0..groups.len() {
            firsts.push(count);
            count += self.parts(group).len();
        }
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let error: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        rayon::broadcast(|thread| {
            if thread.index() >= MOST_THREADS {
                return;
            }
            let mut worker = Worker::default();
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
                let group = firsts.partition_point(|&first| first <= j) - 1;
                let per_job = self.values_a_job(group);
                let all = self.values(group);
                let start = (self.parts(group).start + j - firsts[group]) * per_job;
                let values = start..all.min(start + per_job);
                let job = Job { group, values, count: all.div_ceil(per_job) };
                if let Err(e) = self.job(&job, &mut worker) {
                    fail(j, e);
                }
            }
            if let (Some(queue), false) = (&self.queue, failed.load(Ordering::Relaxed))
                && let Err(e) = queue.finish(&mut worker.unwritten)
            {
                fail(count, e);
            }
        });
        match error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// What was gathered of each output.
    pub fn finish(self) -> Vec<Gathered> {
        self.outputs.into_iter().map(OutputState::finish).collect()
    }

    fn rule(&self, member: &Member) -> Rule {
        self.outputs[member.output()].plan.tensors()[member.tensor()].rule
    }

    /// Bytes a value in the inputs, and the fewest that it has anywhere. What is only copied goes by bytes.
    fn widths(&self, group: usize) -> (usize, usize) {
        let members = self.plan.groups().members(group);
        let from = members.iter().find_map(|member| self.rule(member).float());
        let Some(from) = from.map(Float::size) else { return (1, 1) };
        let to = members.iter().map(|member| match self.rule(member) {
            Rule::Last => from,
            Rule::Mean(_) | Rule::Convert(_) => self.outputs[member.output()].to(member).size(),
        });
        (from, to.fold(from, usize::min))
    }

    /// Values of a group's tensors: complex ones count twice.
    fn values(&self, group: usize) -> usize {
        self.size(group) as usize / self.widths(group).0
    }

    /// Which of a group's values are wanted.
    fn wanted(&self, group: usize) -> Range<usize> {
        let all = self.values(group);
        let Some(wanted) = self.wanted else { return 0..all };
        let member = &self.plan.groups().members(group)[0];
        // Complex numbers are two values, and what is only copied goes by bytes.
        let of_tensor = self.outputs[member.output()].plan.info(member.tensor()).len();
        let each = all.checked_div(of_tensor).unwrap_or(0);
        let Range { start, end } = &wanted[member.tensor()];
        *start as usize * each..*end as usize * each
    }

    /// The parts of a group, by number, that have values that are wanted.
    fn parts(&self, group: usize) -> Range<usize> {
        let (wanted, per_job) = (self.wanted(group), self.values_a_job(group));
        match wanted.is_empty() {
            true => 0..0,
            false => wanted.start / per_job..wanted.end.div_ceil(per_job),
        }
    }

    fn values_a_job(&self, group: usize) -> usize {
        JOB as usize / self.widths(group).1
    }

    /// Bytes of a tensor of the group in an input.
    fn size(&self, group: usize) -> u64 {
        let member = self.plan.groups().members(group)[0];
        self.outputs[member.output()].plan.info(member.tensor()).size()
    }

    fn job(&self, job: &Job, worker: &mut Worker) -> Result<()> {
        let (plan, inputs) = (self.plan, self.plan.inputs());
        let members = plan.groups().members(job.group);
        let sources = plan.sources(job.group);
        let rules: Vec<Rule> = members.iter().map(|member| self.rule(member)).collect();
        let (width, _) = self.widths(job.group);
        let bytes = (job.values.start * width) as u64..(job.values.end * width) as u64;
        let length = bytes.end - bytes.start;
        let started = Instant::now();
        let from = rules.iter().find_map(|rule| rule.float());
        let has_mean = rules.iter().any(|rule| matches!(rule, Rule::Mean(_)));
        // F64 takes the exact path, which reads what is mapped.
        let (way, is_trial) = match from {
            Some(Float::F64) => (Way::Mapped, false),
            Some(_) if has_mean && length >= JOB => (self.copy_or_map.way(), true),
            _ => (Way::Copied, false),
        };
        for &(input, number) in &sources.all {
            if length >= WORTH_ANNOUNCING
                && let Some((file, range)) = inputs[input].locate(number, bytes.clone())
                && (way == Way::Mapped || !file.is_copied(&range))
            {
                file.populate(range);
            }
        }
        worker.crcs.clear();
        if plan.verify && InputChecksums::sums_as_it_reads(&rules, inputs, &sources.all) {
            worker.crcs.resize(sources.all.len(), crc32fast::Hasher::new());
        }
        if rules.contains(&Rule::Last) {
            self.copy(&sources, members, &rules, bytes.clone(), &mut worker.scratch)?;
        }
        if let Some(from) = from {
            let terms = Terms { inputs, sources: &sources.all, way, from };
            self.means(job, &terms, &sources, worker, is_trial.then_some(started))?;
        }
        let wanted = self.wanted(job.group);
        // The checksum of a whole tensor says nothing of a piece.
        if plan.verify && wanted.len() == self.values(job.group) {
            let part = (bytes.clone(), self.size(job.group));
            self.checksums.add(job, inputs, &sources.all, part, worker)?;
        }
        if self.is_large && length >= WORTH_ANNOUNCING {
            for &(input, number) in &sources.all {
                if let Some((file, range)) = inputs[input].locate(number, bytes.clone()) {
                    file.release(range);
                }
            }
        }
        // What is read at the ends beside what is wanted does not count.
        let Range { start, end } = job.values;
        let counted = end.min(wanted.end).saturating_sub(start.max(wanted.start)) * width;
        (self.progress)((counted * sources.all.len()) as u64);
        Ok(())
    }

    /// Copies a part of the members that are the last input's, each source read once.
    fn copy(
        &self,
        sources: &Sources,
        members: &[Member],
        rules: &[Rule],
        bytes: Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let is_from =
            |m: usize, source: usize| rules[m] == Rule::Last && sources.of[m][0] == source;
        for (source, &(input, number)) in sources.all.iter().enumerate() {
            if !(0..members.len()).any(|m| is_from(m, source)) {
                continue;
            }
            let copy = self.plan.inputs()[input].load(number, bytes.clone(), scratch)?;
            let Some(queue) = &self.queue else { continue };
            for m in (0..members.len()).filter(|&m| is_from(m, source)) {
                let (output, tensor) = (&self.outputs[members[m].output()], members[m].tensor());
                output.sum(tensor, bytes.start, copy);
                output.put(queue, tensor, bytes.start, copy)?;
            }
        }
        Ok(())
    }

    /// Computes a part of the members that are means. `trial`: when a job that is timed began.
    fn means(
        &self,
        job: &Job,
        terms: &Terms,
        sources: &Sources,
        worker: &mut Worker,
        trial: Option<Instant>,
    ) -> Result<()> {
        let members = self.plan.groups().members(job.group);
        let averaged: Vec<_> = (members.iter().zip(&sources.of))
            .filter(|(member, _)| self.rule(member).float().is_some())
            .map(|(member, of)| (&self.outputs[member.output()], member, of))
            .collect();
        let mut means = Vec::with_capacity(averaged.len());
        let mut checksums = Vec::with_capacity(averaged.len());
        for &(output, member, of) in &averaged {
            let (coefficients, divisor) = match self.rule(member) {
                Rule::Mean(_) if output.plan.is_complete(member.tensor()) => {
                    (Cow::Borrowed(output.plan.coefficients()), Cow::Borrowed(&output.divisor))
                }
                rule => {
                    let coefficients = match rule {
                        Rule::Mean(_) => output.plan.coefficients_of(member.tensor())?,
                        Rule::Convert(_) | Rule::Last => super::mean(1)?,
                    };
                    let divisor = exact::divisor(coefficients.weights());
                    (Cow::Owned(coefficients), Cow::Owned(divisor))
                }
            };
            let (to, found) = (output.to(member), Found::default());
            means.push(Mean { of, coefficients, divisor, to, out: vec![], found });
            let at = (job.values.start * to.size()) as u64;
            checksums.push(output.checksum(member.tensor(), at));
        }
        let mut putting = Duration::ZERO;
        let mut put =
            |m: usize, mean: &mut Mean, values: &Range<usize>, unwritten: &mut Unwritten| {
                let started = Instant::now();
                let (output, member, _) = averaged[m];
                let (length, at) =
                    (values.len() * mean.to.size(), (values.start * mean.to.size()) as u64);
                let buffer = std::mem::take(&mut mean.out);
                if let Some(checksum) = &mut checksums[m] {
                    checksum.add(&buffer[..length]);
                }
                match &self.queue {
                    None => unwritten.reuse(buffer),
                    Some(queue) => {
                        output.write(queue, member.tensor(), at, (buffer, length), unwritten)?;
                    }
                }
                putting += started.elapsed();
                Ok(())
            };
        terms.average(job.values.clone(), &mut means, worker, &mut put)?;
        if let Some(started) = trial {
            let read = job.values.len() * terms.from.size() * terms.sources.len();
            let took = started.elapsed().saturating_sub(putting);
            self.copy_or_map.took(terms.way, read as u64, took);
        }
        let found: Vec<Found> = means.into_iter().map(|mean| mean.found).collect();
        for ((&(output, member, of), found), checksum) in averaged.iter().zip(found).zip(checksums)
        {
            self.check(output, member.tensor(), of, found, terms)?;
            if let Some(checksum) = checksum {
                output.add_checksum(member.tensor(), checksum.finish());
            }
        }
        Ok(())
    }

    /// Refuses what may not be written.
    fn check(
        &self,
        output: &OutputState,
        tensor: usize,
        of: &[usize],
        found: Found,
        terms: &Terms,
    ) -> Result<()> {
        if found.nonfinite_inputs && !self.plan.allow_nonfinite {
            let sources: Vec<_> = of.iter().map(|&source| terms.sources[source]).collect();
            if output.plan.coefficients().is_positive()
                && infinities::are_meant(self.plan.inputs(), &sources, terms.from)?
            {
                return Ok(());
            }
            return Err(self.nonfinite_inputs(output.plan.name(tensor), &sources, terms.from));
        }
        if found.overflows > 0 {
            let (dtype, n) = (output.plan.tensors()[tensor].dtype, found.overflows);
            let what = format!("{n} or more means are");
            return Err(too_large(&what, dtype, output.plan.name(tensor)));
        }
        if found.nonfinite > 0 {
            output.count_nonfinite(tensor, found.nonfinite);
        }
        Ok(())
    }

    /// Names the inputs whose values are not finite, and how many.
    fn nonfinite_inputs(&self, name: &str, sources: &[(usize, usize)], from: Float) -> Error {
        let inputs = self.plan.inputs();
        let count = |&(input, number): &(usize, usize)| -> Result<(usize, usize)> {
            let bytes = inputs[input].bytes(number)?;
            Ok((input, kernel::count_nonfinite(&bytes, from)))
        };
        let counts: Result<Vec<_>> = sources.iter().map(count).collect();
        let counts = match counts {
            Ok(counts) => counts.into_iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>(),
            Err(e) => return e,
        };
        let (first, n) = counts.first().copied().unwrap_or((sources[0].0, 0));
        let others: Vec<String> = (counts.iter().skip(1))
            .map(|&(input, n)| format!("`{}`: {n} as well", inputs[input].path().display()))
            .collect();
        Error::new(Kind::NotFinite, format!("{n} of its values are not finite"))
            .at(inputs[first].path())
            .tensor(name)
            .remedy(concat!(
                "leave out checkpoints from a training that diverged, or ",
                setting!("allow_nonfinite")
            ))
            .list(others)
    }
}
