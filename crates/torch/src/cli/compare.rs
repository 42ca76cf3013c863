//! `swa-eval --compare-stats`: one model with batchnorm statistics of several origins.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::data::{DEFAULT_BATCH, DataArgs, Pixels, Purpose, Session, positive, report_bad};
use super::evaluation::{HEADER, Row, rows};
use super::{Common, shell_word, table};
use crate::bn_update::{
    Accumulator, Method, Statistics, accumulator, collect, distance, finish, layerwise,
};
use swa_tools::checkpoint::Checkpoint;
use swa_data::{self, Batch, ClassMap, Loader, Order, Split, Transform};
use crate::evaluate::{self, AtATime, Collector, Record, Wanted};
use crate::nn::batch_norm::Layer;
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Freeze, Model, Recognised};
use swa_base::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Evaluate one model with the batchnorm statistics in it, with those of --last, and with those that
    /// each method of swa-bn-update computes from --bn-data
    #[arg(long, requires = "bn_data", help_heading = "Statistics")]
    pub compare_stats: bool,

    /// The training data to compute statistics from; what it holds is seen from its files
    #[arg(long, value_name = "DIR", requires = "compare_stats", help_heading = "Statistics")]
    pub bn_data: Option<PathBuf>,

    /// How many of its images, drawn by --seed
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive,
          requires = "compare_stats", help_heading = "Statistics")]
    pub bn_samples: usize,

    /// The last checkpoint, whose statistics might have been kept
    #[arg(long, value_name = "FILE", requires = "compare_stats", help_heading = "Statistics")]
    pub last: Option<PathBuf>,

    /// Host memory for the layerwise method [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = super::parse_size, requires = "compare_stats",
          help_heading = "Statistics")]
    pub memory: Option<u64>,
}

/// The statistics that a model could have, by where they come from.
type Origins = Vec<(&'static str, Vec<Statistics>)>;

/// Evaluates the model with each of the statistics, in one pass over the data, and prints the table.
pub fn run(
    common: &Common,
    data: &DataArgs,
    args: &CompareArgs,
    checkpoints: &[Checkpoint],
    last: Option<&Checkpoint>,
    restrict: bool,
) -> Result<()> {
    let started = Instant::now();
    let [checkpoint] = checkpoints else {
        return Err(Error::usage("--compare-stats takes one model"));
    };
    let session = data.open(common, checkpoints, Purpose::Comparison, None)?;
    let model = &session.models[0];
    let input = Input::new(&session.transform, session.device)?;
    let mut origins = vec![("averaged", statistics_in(checkpoint, &model.batchnorms)?)];
    match last {
        Some(last) => origins.push(("kept", kept(last, model, data)?)),
        None => common.note("kept statistics are left out: --last FILE names the last checkpoint"),
    }
    let budget = Budget::asked(args.memory);
    let batches = training_batches(common, data, args, &session, &budget)?;
    origins.extend(recomputed(common, model, &input, &batches, &budget)?);

    let replaced = |(_, statistics): &(_, Vec<Statistics>)| -> Result<Model> {
        let tensors = statistics.iter().map(|s| s.tensors(session.device));
        Ok(model.with_statistics(tensors.collect::<Result<_>>()?))
    };
    let models: Vec<Model> = origins.iter().map(replaced).collect::<Result<_>>()?;
    let order = data.order(session.dataset.as_ref(), false);
    let bar = common.progress(order.len() as u64, "images").with_message("evaluating");
    let batch_size = data.batch_size.unwrap_or(DEFAULT_BATCH);
    // What is augmented is what the statistics are from.
    let transform = Transform { training: None, ..session.transform.clone() };
    let dataset = session.dataset.clone();
    let mut loader = Loader::new(dataset, order, transform, batch_size, data.allow_bad)?;
    let step = |n| bar.inc(n as u64);
    let restricted = session.class_map.as_ref().filter(|_| restrict);
    let wanted = Wanted { competing: restricted.map(ClassMap::outputs), ..Wanted::default() };
    let mut collector = Collector::new(models.len(), model.classes, wanted, None);
    let mut at_a_time = AtATime { images: batch_size, may_shrink: data.batch_size.is_none() };
    evaluate::run(&models, &input, &mut loader, &mut at_a_time, &mut collector, &step)?;
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    let (evaluation, _) = collector.finish()?;
    let images = batches.iter().map(|batch| batch.n).sum();
    let compared = Compared::new(origins, &evaluation.models, images, batches.len());
    let record = json!({
        "model": checkpoint.path().display().to_string(),
        "statistics": compared.json(),
        "bn_images": images,
        "bn_batch_size": batch_size,
        "transform": session.transform_record,
        "augmentation": session.augmentation,
        "skipped": loader.bad(),
        "seconds": started.elapsed().as_secs_f64(),
    });
    common.json(record)?;
    compared.say(common, checkpoint, &Next::new(data, args))
}

/// Those in the model's own file.
fn statistics_in(checkpoint: &Checkpoint, layers: &[Layer]) -> Result<Vec<Statistics>> {
    let of = |layer: &Layer| Statistics::of(checkpoint, &layer.name);
    let all: Option<Vec<Statistics>> = layers.iter().map(of).collect();
    all.filter(|all| !all.is_empty()).ok_or_else(|| {
        Error::input("has no batchnorm layer: there are no statistics to compare")
            .at(checkpoint.path())
    })
}

/// Those of the last checkpoint, which must be of the same network.
fn kept(last: &Checkpoint, model: &Model, data: &DataArgs) -> Result<Vec<Statistics>> {
    if !data.no_verify {
        last.verify(&|_| {})?;
    }
    let freeze = Freeze::new(last, None);
    let other = Recognised::of(last, data.arch.as_deref(), &freeze)?;
    let channels = |layers: &[Layer]| layers.iter().map(|l| l.channels).collect::<Vec<_>>();
    let (own, found) = (&model.batchnorms, &other.batchnorms);
    if other.arch.name != model.arch || channels(found) != channels(own) {
        let of = |arch: &str, n: usize| format!("{arch} with {n} layers to recompute");
        let (found, own) = (of(&other.arch.name, found.len()), of(&model.arch, own.len()));
        let what = format!("is of another network, {found}; the model is {own}");
        return Err(Error::input(what).at(last.path()));
    }
    let statistics = statistics_in(last, &other.batchnorms)?;
    last.check_unchanged()?;
    Ok(statistics)
}

/// The training images, in batches, in memory.
fn training_batches(
    common: &Common,
    data: &DataArgs,
    args: &CompareArgs,
    session: &Session,
    budget: &Budget,
) -> Result<Vec<Batch>> {
    let dir = args.bn_data.as_deref().ok_or_else(|| Error::usage("--bn-data is missing"))?;
    let dataset = data::open(dir, Split::Train, None)?;
    common.note(format!("statistics from: {}", dataset.describe()));
    let mut order = Order::Shuffled { seed: data.seed }.indices(dataset.len());
    order.truncate(args.bn_samples);
    let images = order.len();
    let transform = session.transform.clone();
    let batch_size = data.batch_size.unwrap_or(DEFAULT_BATCH);
    let mut loader = Loader::new(Arc::from(dataset), order, transform, batch_size, data.allow_bad)?;
    let batches = layerwise::hold(&mut loader, images, budget)
        .map_err(|e| e.remedy("draw fewer with --bn-samples, or allow more with --memory"))?;
    report_bad(common, &loader.bad());
    Ok(batches)
}

/// Those of every method, from the same batches.
fn recomputed(
    common: &Common,
    model: &Model,
    input: &Input,
    batches: &[Batch],
    budget: &Budget,
) -> Result<Origins> {
    let images: usize = batches.iter().map(|batch| batch.n).sum();
    let layers = model.batchnorms.len();
    let bar = common.progress((images * (1 + layers)) as u64, "images").with_message("batchnorm");
    let mut sums: Vec<Accumulator> = Method::value_variants()
        .iter()
        .filter(|&&method| method != Method::Layerwise)
        .map(|&method| accumulator(&model.batchnorms, method))
        .collect();
    let _to_the_end =
        collect(model, input, batches.iter().cloned().map(Ok), None, &mut |batch, moments| {
            sums.iter_mut().for_each(|sums| moments.add_to(sums));
            bar.inc(batch.n as u64);
            Ok(ControlFlow::Continue(()))
        })?;
    let mut origins = Origins::new();
    for sums in sums {
        let outcome = finish(&model.batchnorms, &sums, images, batches.len())?;
        origins.push((outcome.method.name(), outcome.layers));
    }
    let step = |step: layerwise::Progress| {
        bar.set_message(format!("layer {} of {layers}, {}", step.step, step.layer));
        bar.inc(step.images as u64);
    };
    let (outcome, _) = layerwise::of_batches(model, input, batches, budget, &step)?;
    origins.push((Method::Layerwise.name(), outcome.layers));
    bar.finish_and_clear();
    Ok(origins)
}

struct Compared {
    origins: Origins,
    /// One an origin, and how far its statistics are from the averaged.
    rows: Vec<(Row, f64)>,
    /// The difference in nll to the averaged statistics, paired by image, and its standard error.
    nll: Vec<(f64, f64)>,
    /// Training images and batches.
    images: usize,
    batches: usize,
}

impl Compared {
    fn new(origins: Origins, records: &[Record], images: usize, batches: usize) -> Self {
        let names: Vec<String> = origins.iter().map(|(name, _)| name.to_string()).collect();
        let moved = origins.iter().map(|(_, statistics)| distance(&origins[0].1, statistics));
        let rows = rows(&names, records.iter()).into_iter().zip(moved).collect();
        let nll = records.iter().map(|record| paired(&records[0], record)).collect();
        Compared { origins, rows, nll, images, batches }
    }

    fn json(&self) -> Vec<Value> {
        let row = |(i, (row, moved)): (usize, &(Row, f64))| {
            let mut json = row.json("statistics");
            if i > 0 {
                json["moved"] = json!(moved);
                json["nll_difference"] = json!(self.nll[i].0);
                json["nll_difference_error"] = json!(self.nll[i].1);
            }
            json
        };
        self.rows.iter().enumerate().map(row).collect()
    }

    fn say(&self, common: &Common, checkpoint: &Checkpoint, next: &Next) -> Result<()> {
        let row = |(i, (row, moved)): (usize, &(Row, f64))| {
            let mut text = row.text(row.name.clone());
            text.push(if i > 0 { format!("{moved:.3}") } else { String::new() });
            text
        };
        let header = [&["statistics"], &HEADER[..], &["moved"]].concat();
        common.say(table(&header, self.rows.iter().enumerate().map(row)))?;
        common.say(format!(
            "{} images; recomputed from {} training images, {} batches",
            self.rows[0].0.tally.n(),
            self.images,
            self.batches
        ))?;
        let recomputed = |i: &usize| Method::named(self.origins[*i].0).is_some();
        let best = (0..self.rows.len())
            .filter(recomputed)
            .min_by(|&a, &b| self.nll[a].0.total_cmp(&self.nll[b].0))
            .expect("there are methods");
        let (name, (difference, error)) = (self.origins[best].0, self.nll[best]);
        // Two standard errors: about 95 %.
        let verdict = match difference {
            d if d < -2.0 * error => "recomputing helps",
            d if d > 2.0 * error => "recomputing does not help",
            _ => "recomputing makes no certain difference",
        };
        common.say(format!("{verdict}: nll {difference:+.4} ± {error:.4} ({name})"))?;
        common.say(format!(
            "next: swa-bn-update {} --data {} --method {name}{} -o FILE",
            shell_word(checkpoint.path()),
            shell_word(next.data),
            next.flags,
        ))
    }
}

/// What computes the same statistics.
struct Next<'a> {
    data: &'a Path,
    /// Further flags, each after a space.
    flags: String,
}

impl<'a> Next<'a> {
    fn new(data: &DataArgs, args: &'a CompareArgs) -> Self {
        let mut flags = format!(" --samples {}", args.bn_samples);
        if data.seed != 0 {
            flags += &format!(" --seed {}", data.seed);
        }
        if let Some(n) = data.batch_size {
            flags += &format!(" --batch-size {n}");
        }
        if let Some(preset) = &data.preset {
            flags += &format!(" --preset {}", shell_word(Path::new(preset)));
        }
        if data.transform == Pixels::Train {
            flags += " --transform train";
        }
        Next { data: args.bn_data.as_deref().unwrap_or(Path::new("DIR")), flags }
    }
}

/// Mean difference of the images' nll, and its standard error.
fn paired(first: &Record, other: &Record) -> (f64, f64) {
    let n = first.outcomes.len() as f64;
    let each = || first.outcomes.iter().zip(&other.outcomes).map(|(a, b)| b.nll - a.nll);
    let mean = each().sum::<f64>() / n;
    let squares: f64 = each().map(|d| (d - mean).powi(2)).sum();
    // Of one image nothing is known.
    let error = if n > 1.0 { (squares / (n - 1.0) / n).sqrt() } else { f64::INFINITY };
    (mean, error)
}
