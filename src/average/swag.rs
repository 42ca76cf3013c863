//! SWAG (Maddox et al. 2019, "A Simple Baseline for Bayesian Uncertainty in Deep Learning", algorithm 1): beside the
//! mean of the snapshots, the variance of every weight and how the last K snapshots deviate from the mean so far.
//!
//! Of one weight's values θ_1 … θ_N, oldest first: the mean m, the variance Σ(θ_i − m)² / N, and for each of the last
//! K snapshots the deviation θ_i − m_i, where m_i is the mean of the first i, θ_i included (as in the authors' code).
//! All are exact until they are rounded once, so the variance is never below zero.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::exact::{self, Values};
use super::{Float, OutputPlan, Plan, Rule, Written, kernel, too_large};
use crate::checkpoint::{Dtype, TensorInfo, digest, is_running_statistic};
use crate::output::{AtomicFile, SafetensorsLayout};
use crate::{Error, Kind, METADATA_KEY, Result, setting};

/// What the names of variances begin with.
pub const VARIANCE: &str = "swag.variance.";

/// What the names of deviations begin with. Their first dimension counts the snapshots, oldest first.
pub const DEVIATIONS: &str = "swag.deviations.";

/// Where everything goes in a file with SWAG's moments.
pub struct SwagLayout<'p, 'a> {
    plan: &'p Plan<'a>,
    deviations: usize,
    /// The mean's tensors, then the variances, then the deviations.
    infos: Vec<TensorInfo>,
    /// Of each tensor that has moments: its number, and the type of its values in the inputs.
    sampled: Vec<(usize, Float)>,
    layout: SafetensorsLayout,
}

impl<'p, 'a> SwagLayout<'p, 'a> {
    /// The moments of a plan's only output, which is the plain mean, with the deviations of so many snapshots or of
    /// all, if there are fewer. What is averaged has moments, batchnorm's running statistics excepted.
    ///
    /// # Errors
    /// `Usage` for fewer than two snapshots or deviations, and if not all inputs have a tensor; `Unsupported` for
    /// complex ones; `Limit` for too many names.
    pub fn new(plan: &'p Plan<'a>, deviations: NonZeroUsize) -> Result<Self> {
        let output = &plan.outputs()[0];
        let n = output.inputs().len();
        let fewer = |what: String| Error::usage(format!("SWAG: {what}"));
        if deviations.get() < 2 {
            return Err(fewer("one deviation has no covariance".into())
                .remedy("keep 2 or more, such as 20"));
        }
        if n < 2 {
            return Err(fewer(format!("{n} checkpoint has no variance")).remedy("give 2 or more"));
        }
        let deviations = deviations.get().min(n);
        let mut infos: Vec<TensorInfo> =
            (0..output.tensors().len()).map(|tensor| output.output_info(tensor)).collect();
        let mut sampled = vec![];
        for (tensor, planned) in output.tensors().iter().enumerate() {
            let Rule::Mean(from) = planned.rule else { continue };
            if is_running_statistic(output.name(tensor)) {
                continue;
            }
            if !output.is_complete(tensor) {
                return Err(fewer("not all checkpoints have it".into())
                    .tensor(output.name(tensor))
                    .remedy(concat!("choose ", setting!("keys", "intersection"))));
            }
            if output.info(tensor).dtype == Dtype::C64 {
                let what = "SWAG takes no complex numbers";
                return Err(Error::new(Kind::Unsupported, what).tensor(output.name(tensor)));
            }
            sampled.push((tensor, from));
        }
        for (prefix, count) in [(VARIANCE, None), (DEVIATIONS, Some(deviations))] {
            for &(tensor, _) in &sampled {
                let own = &infos[tensor];
                let shape = count.into_iter().chain(own.shape.iter().copied()).collect();
                let name = format!("{prefix}{}", own.name);
                infos.push(TensorInfo { name, dtype: moments(own.dtype).dtype(), shape });
            }
        }
        let layout = SafetensorsLayout::new(infos.iter(), &metadata(output, deviations))?;
        Ok(SwagLayout { plan, deviations, infos, sampled, layout })
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.layout.size()
    }

    /// Memory that writing takes, mapped files not counted, in bytes.
    pub fn memory(&self) -> u64 {
        let value = 3 * size_of::<f64>() + self.deviations * 2 * size_of::<f64>();
        (rayon::current_num_threads() * BLOCK * value) as u64
    }

    /// How many snapshots' deviations are in it.
    pub fn deviations(&self) -> usize {
        self.deviations
    }

    /// Writes the file in one pass over the inputs. It appears whole or not at all. Memory grows with the number of
    /// deviations, not with the size or the number of the inputs.
    ///
    /// # Errors
    /// As of [`Plan::write`]; `NotFinite` whatever the options allow.
    pub fn write(
        &self,
        path: &Path,
        force: bool,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Written> {
        if self.plan.verify {
            self.plan.counting().try_for_each(|input| input.verify(&|_| {}))?;
        }
        let file = AtomicFile::create(path, self.size(), force)?;
        let place = Place { layout: self, file: &file, progress };
        let output = &self.plan.outputs()[0];
        let mut kind = (0..output.tensors().len()).map(|tensor| (tensor, None)).collect::<Vec<_>>();
        for (number, &(tensor, _)) in self.sampled.iter().enumerate() {
            kind[tensor].1 = Some(number);
        }
        // One tensor after the other, its blocks on all cores.
        kind.into_iter().try_for_each(|(tensor, sampled)| place.tensor(tensor, sampled))?;
        let digest = |(tensor, info)| Ok((info, self.digest(&file, tensor, info)?));
        let sealed: Result<Vec<_>> = self.infos.iter().enumerate().map(digest).collect();
        self.layout.write_header(&file, &sealed?)?;
        self.plan.counting().try_for_each(|input| input.check_unchanged())?;
        file.commit()?;
        Ok(Written { bytes: self.size(), nonfinite: vec![], copied: vec![] })
    }

    /// The digest of a tensor's bytes, which are read again: rows of deviations do not begin where its blocks do.
    fn digest(&self, file: &AtomicFile, tensor: usize, info: &TensorInfo) -> Result<u128> {
        let size = info.size();
        let block = |number: u64| {
            let start = number * digest::BLOCK;
            let mut bytes = vec![0; (size - start).min(digest::BLOCK) as usize];
            file.read_at(&mut bytes, self.layout.offset(tensor) + start)?;
            Ok(digest::of_block(number, &bytes))
        };
        let blocks = (0..size.div_ceil(digest::BLOCK)).into_par_iter().map(block);
        blocks.try_reduce(|| 0, |a, b| Ok(a.wrapping_add(b)))
    }
}

/// The type of the moments of means of a type.
fn moments(dtype: Dtype) -> Float {
    if dtype == Dtype::F64 { Float::F64 } else { Float::F32 }
}

/// That of the mean, and what else there is.
fn metadata(output: &OutputPlan, deviations: usize) -> BTreeMap<String, String> {
    let mut metadata = output.metadata();
    let provenance = metadata.get(METADATA_KEY).and_then(|text| serde_json::from_str(text).ok());
    if let Some(Value::Object(mut provenance)) = provenance {
        provenance.insert("swag".into(), json!({ "deviations": deviations }));
        metadata.insert(METADATA_KEY.into(), Value::Object(provenance).to_string());
    }
    metadata
}

/// Values that a thread works on at a time.
const BLOCK: usize = 16 << 10;

/// A file on its way.
struct Place<'w, 'p, 'a> {
    layout: &'w SwagLayout<'p, 'a>,
    file: &'w AtomicFile,
    progress: &'w (dyn Fn(u64) + Sync),
}

impl Place<'_, '_, '_> {
    /// Writes a tensor of the mean; `sampled`: its number among those that have moments.
    fn tensor(&self, tensor: usize, sampled: Option<usize>) -> Result<()> {
        let output = &self.layout.plan.outputs()[0];
        let rule = output.tensors()[tensor].rule;
        let values = match rule.float() {
            Some(from) => output.info(tensor).size() as usize / from.size(),
            None => output.info(tensor).size() as usize,
        };
        let blocks = (0..values.div_ceil(BLOCK)).into_par_iter();
        blocks.try_for_each(|block| {
            let range = block * BLOCK..values.min((block + 1) * BLOCK);
            match rule.float() {
                Some(from) => self.means(tensor, sampled, range, from),
                None => self.copy(tensor, range),
            }
        })
    }

    /// Some bytes of a tensor that is the last input's.
    fn copy(&self, tensor: usize, range: std::ops::Range<usize>) -> Result<()> {
        let output = &self.layout.plan.outputs()[0];
        let (row, number) = output.sources(tensor)[0];
        let mut scratch = vec![];
        let bytes = range.start as u64..range.end as u64;
        let bytes = self.layout.plan.inputs()[row].read(number, bytes, &mut scratch)?;
        self.put(tensor, range.start as u64, bytes)?;
        (self.progress)(bytes.len() as u64);
        Ok(())
    }

    fn means(
        &self,
        tensor: usize,
        sampled: Option<usize>,
        range: std::ops::Range<usize>,
        from: Float,
    ) -> Result<()> {
        let SwagLayout { plan, deviations, infos, sampled: all, .. } = self.layout;
        let output = &plan.outputs()[0];
        let sources = output.sources(tensor);
        let bytes = (range.start * from.size()) as u64..(range.end * from.size()) as u64;
        let mut scratches = vec![vec![]; sources.len()];
        let mut inputs = Vec::with_capacity(sources.len());
        for (&(row, number), scratch) in sources.iter().zip(&mut scratches) {
            inputs.push(plan.inputs()[row].read(number, bytes.clone(), scratch)?);
        }
        let read = inputs.len() * (bytes.end - bytes.start) as usize;
        let to = Float::of(infos[tensor].dtype).expect("planned as a float");
        let wide = moments(infos[tensor].dtype);
        let (n, values) = (inputs.len(), range.len());
        // Batchnorm's statistics have a mean alone.
        let kept = if sampled.is_some() { *deviations } else { 0 };
        let mut block = Block::new(n, kept, values, to, wide);
        let mut row = vec![0.0; n];
        for i in 0..values {
            for (x, input) in row.iter_mut().zip(&inputs) {
                *x = from.decode(&input[i * from.size()..][..from.size()]);
            }
            if let Some(bad) = row.iter().position(|x| !x.is_finite()) {
                return Err(Error::new(Kind::NotFinite, "holds values that are not finite")
                    .at(plan.inputs()[sources[bad].0].path())
                    .tensor(output.name(tensor))
                    .remedy("leave out checkpoints from a training that diverged"));
            }
            block.add(i, &row);
        }
        block.finish();
        let name = output.name(tensor);
        if kernel::count_nonfinite(&block.means, to) > 0 {
            return Err(too_large("a mean is", to.dtype(), name));
        }
        self.put(tensor, (range.start * to.size()) as u64, &block.means)?;
        if let Some(number) = sampled {
            let first = output.tensors().len();
            if kernel::count_nonfinite(&block.variances, wide) > 0
                || block.deviations.iter().any(|d| kernel::count_nonfinite(d, wide) > 0)
            {
                return Err(too_large("a variance or deviation is", wide.dtype(), name));
            }
            let at = (range.start * wide.size()) as u64;
            self.put(first + number, at, &block.variances)?;
            let whole = output.info(tensor).len() * wide.size();
            for (k, bytes) in block.deviations.iter().enumerate() {
                self.put(first + all.len() + number, (k * whole) as u64 + at, bytes)?;
            }
        }
        (self.progress)(read as u64);
        Ok(())
    }

    /// Writes a part of a tensor of the file, from byte `at` on.
    fn put(&self, tensor: usize, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, self.layout.layout.offset(tensor) + at)
    }
}

/// The moments of a block of values.
struct Block {
    n: usize,
    to: Float,
    wide: Float,
    values: Values,
    sums: Vec<f64>,
    /// For each deviation kept, i times it.
    multiples: Vec<Vec<f64>>,
    /// Weights whose moments took big integers, with their values.
    far: Vec<(usize, Vec<f64>)>,
    means: Vec<u8>,
    variances: Vec<u8>,
    deviations: Vec<Vec<u8>>,
}

impl Block {
    fn new(n: usize, kept: usize, values: usize, to: Float, wide: Float) -> Self {
        Block {
            n,
            to,
            wide,
            values: Values::default(),
            sums: vec![0.0; values],
            multiples: vec![vec![0.0; values]; kept],
            far: vec![],
            means: vec![0; values * to.size()],
            variances: vec![0; if kept > 0 { values * wide.size() } else { 0 }],
            deviations: vec![vec![0; values * wide.size()]; kept],
        }
    }

    /// Takes the i-th weight, by its values in all snapshots.
    fn add(&mut self, i: usize, row: &[f64]) {
        let (kept, n) = (self.multiples.len(), self.n);
        let variance = match self.values.take(row) {
            true => {
                let (sum, spread) = self.values.sums();
                let negative = sum == 0.0 && row.iter().all(|x| *x == 0.0 && x.is_sign_negative());
                self.sums[i] = if negative { -0.0 } else { sum };
                let last = self.values.deviations().skip(n - kept.min(n));
                for (multiples, multiple) in self.multiples.iter_mut().zip(last) {
                    multiples[i] = multiple;
                }
                (kept > 0).then(|| exact::over_square(spread, n, self.wide))
            }
            false => {
                self.far.push((i, row.to_vec()));
                (kept > 0).then(|| exact::variance(row, self.wide))
            }
        };
        if let Some(code) = variance {
            write(&mut self.variances, i, code, self.wide);
        }
    }

    /// Divides and rounds.
    fn finish(&mut self) {
        let (kept, n) = (self.multiples.len(), self.n);
        kernel::finish_exact(&self.sums, n as f64, self.to, &mut self.means);
        let counts = n - kept + 1..=n;
        for ((multiples, out), i) in
            self.multiples.iter().zip(&mut self.deviations).zip(counts.clone())
        {
            kernel::finish_exact(multiples, i as f64, self.wide, out);
        }
        let divisor = exact::divisor(&vec![1.0; n]);
        for (place, row) in &self.far {
            let mean = exact::mean(row.iter().map(|&x| (1.0, x)), &divisor, self.to);
            write(&mut self.means, *place, mean, self.to);
            for (out, i) in self.deviations.iter_mut().zip(counts.clone()) {
                write(out, *place, exact::last_deviation(&row[..i], self.wide), self.wide);
            }
        }
    }
}

/// Writes the code of the i-th value.
fn write(out: &mut [u8], i: usize, code: u64, float: Float) {
    let size = float.size();
    out[i * size..][..size].copy_from_slice(&code.to_le_bytes()[..size]);
}
