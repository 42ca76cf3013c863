//! `swa-eval --compare-stats`: one model with batchnorm statistics of several origins.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::data::{DEFAULT_BATCH, DataArgs, Purpose, Session, positive, report_bad};
use super::{Common, shell_word, table};
use crate::bn_update::{
    Accumulator, Method, Statistics, accumulator, collect, distance, finish, layerwise,
};
use crate::checkpoint::Checkpoint;
use crate::data::{self, Batch, Loader, Order, Split};
use crate::evaluate::{self, AtATime, Collector, McNemar, Record, Tally, Wanted};
use crate::nn::batch_norm::Layer;
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Freeze, Model, Recognised};
use crate::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Evaluate one model with the batchnorm statistics in it, with those of --last, and with those that
    /// each method of swa-bn-update computes from --bn-data
    #[arg(long, requires = "bn_data", help_heading = "Statistics")]
    pub compare_stats: bool,

    /// The training data to compute statistics from
    #[arg(long, value_name = "DIR", requires = "compare_stats", help_heading = "Statistics")]
    pub bn_data: Option<PathBuf>,

    /// How many of its images, drawn by --seed
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive, help_heading = "Statistics")]
    pub bn_samples: usize,

    /// The last checkpoint, whose statistics might have been kept
    #[arg(long, value_name = "FILE", requires = "compare_stats", help_heading = "Statistics")]
    pub last: Option<PathBuf>,

    /// Host memory for the layerwise method [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = super::parse_size, help_heading = "Statistics")]
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
    let mut loader = data.loader(&session, order, batch_size)?;
    let step = |n| bar.inc(n as u64);
    let mut collector = Collector::new(models.len(), model.classes, Wanted::default(), None);
    let mut at_a_time = AtATime { images: batch_size, may_shrink: data.batch_size.is_none() };
    evaluate::run(&models, &input, &mut loader, &mut at_a_time, &mut collector, &step)?;
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    let (evaluation, _) = collector.finish()?;
    let images = batches.iter().map(|batch| batch.n).sum();
    let records = evaluation.models;
    let compared = Compared { origins, records, images, batches: batches.len() };
    let record = json!({
        "model": checkpoint.path().display().to_string(),
        "statistics": compared.json(),
        "bn_images": images,
        "bn_batch_size": batch_size,
        "transform": session.transform_record,
        "skipped": loader.bad(),
        "seconds": started.elapsed().as_secs_f64(),
    });
    common.json(record)?;
    compared.say(common, checkpoint, args)
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
    let freeze = Freeze::default();
    let other = Recognised::of(last, data.arch.as_deref(), &freeze)?;
    let channels = |layers: &[Layer]| layers.iter().map(|l| l.channels).collect::<Vec<_>>();
    if other.arch.name != model.arch || channels(&other.batchnorms) != channels(&model.batchnorms) {
        let found = other.arch.name;
        let what = format!("is of another network, {found}; the model is {}", model.arch);
        return Err(Error::input(what).at(last.path()));
    }
    statistics_in(last, &other.batchnorms)
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
        .map(|&method| accumulator(model, method))
        .collect();
    let _to_the_end =
        collect(model, input, batches.iter().cloned().map(Ok), None, &mut |batch, moments| {
            sums.iter_mut().for_each(|sums| moments.add_to(sums));
            bar.inc(batch.n as u64);
            Ok(ControlFlow::Continue(()))
        })?;
    let mut origins = Origins::new();
    for sums in sums {
        let outcome = finish(model, &sums, images, batches.len())?;
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
    /// One an origin.
    records: Vec<Record>,
    /// Training images and batches.
    images: usize,
    batches: usize,
}

/// A line of the table.
struct Row {
    origin: &'static str,
    tally: Tally,
    /// Against the averaged statistics, if it is not those: top-1, McNemar's p, how far they moved.
    difference: Option<(f64, f64, f64)>,
}

impl Compared {
    fn rows(&self) -> Vec<Row> {
        let first = &self.records[0].outcomes;
        let top1 = Tally::of(first).top1();
        let row =
            |(i, ((origin, statistics), record)): (usize, (&(&'static str, Vec<_>), &Record))| {
                let tally = Tally::of(&record.outcomes);
                let difference = (i > 0).then(|| {
                    let p = McNemar::of(first, &record.outcomes).p();
                    (tally.top1() - top1, p, distance(&self.origins[0].1, statistics))
                });
                Row { origin, tally, difference }
            };
        self.origins.iter().zip(&self.records).enumerate().map(row).collect()
    }

    fn json(&self) -> Vec<Value> {
        let row = |Row { origin, tally, difference }: &Row| {
            let (low, high) = tally.interval();
            let mut row = json!({
                "statistics": origin,
                "top1": 100.0 * tally.top1(),
                "top5": 100.0 * tally.top5(),
                "nll": tally.nll(),
                "ece": tally.ece(),
                "n": tally.n(),
                "correct": tally.correct(),
                "interval": [100.0 * low, 100.0 * high],
            });
            if let Some((top1, p, moved)) = difference {
                row["difference"] = json!(100.0 * top1);
                row["mcnemar_p"] = json!(p);
                row["moved"] = json!(moved);
            }
            row
        };
        self.rows().iter().map(row).collect()
    }

    fn say(&self, common: &Common, checkpoint: &Checkpoint, args: &CompareArgs) -> Result<()> {
        let rows = self.rows();
        let row = |Row { origin, tally, difference }: &Row| {
            let (low, high) = tally.interval();
            let mut row = vec![
                origin.to_string(),
                format!("{:.2}", 100.0 * tally.top1()),
                format!("{:.2}–{:.2}", 100.0 * low, 100.0 * high),
                format!("{:.4}", tally.nll()),
                format!("{:.4}", tally.ece()),
            ];
            if let Some((top1, p, moved)) = difference {
                row.push(format!("{:+.2}", 100.0 * top1));
                row.push(if *p < 1e-4 { "<0.0001".into() } else { format!("{p:.4}") });
                row.push(format!("{moved:.3}"));
            }
            row
        };
        let header = [
            "statistics",
            "top-1 %",
            "95 % interval",
            "nll",
            "ece",
            "vs averaged",
            "McNemar p",
            "moved",
        ];
        common.say(table(&header, rows.iter().map(row)))?;
        let first = &rows[0].tally;
        common.say(format!(
            "{} images; recomputed from {} training images, {} batches",
            first.n(),
            self.images,
            self.batches
        ))?;
        let best = rows
            .iter()
            .min_by(|a, b| a.tally.nll().total_cmp(&b.tally.nll()))
            .expect("the averaged ones are there");
        let Some(method) = Method::named(best.origin) else {
            return common.say(format!(
                "recomputing does not help here: the {} statistics have the lowest nll",
                best.origin
            ));
        };
        let (before, after, method) = (first.nll(), best.tally.nll(), method.name());
        common.say(format!("recomputing helps: nll {before:.4} → {after:.4} ({method})"))?;
        let data = args.bn_data.as_deref().unwrap_or(Path::new("DIR"));
        common.say(format!(
            "next: swa-bn-update {} --data {} --method {method} -o FILE",
            shell_word(checkpoint.path()),
            shell_word(data),
        ))
    }
}
