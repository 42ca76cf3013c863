//! Evaluates models on labelled images.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::checkpoint::select::base_name;
use swa_tools::cli::compare::{self, CompareArgs};
use swa_tools::cli::data::{DataArgs, Purpose, list_archs, report_bad};
use swa_tools::cli::evaluation::{self, class_map_record};
use swa_tools::cli::evaluation_files::{Evaluated, FileArgs};
use swa_tools::cli::pace::Pace;
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common};
use swa_tools::data::ClassMap;
use swa_tools::evaluate::{self, AtATime, Collector, LogitsFile, Turns, Wanted};
use swa_tools::nn::input::Input;
use swa_tools::nn::libtorch;
use swa_tools::{Error, Result};

/// Evaluates any number of models in one pass over the data: top-1 with its 95 % interval, top-5,
/// negative log-likelihood (nll), expected calibration error (ece), and how each model differs from
/// the first on the same images, with McNemar's exact p.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  swa-eval swa_bn.safetensors ckpt_0010.safetensors --data imagenet/val
  swa-eval swa_bn.safetensors --data imagenet/val --json
  swa-eval ckpt_*.safetensors --data fashion-mnist --preset fashion-mnist --ensemble
  swa-eval swa_bn.safetensors ckpt_*.safetensors --data val --ensemble='ckpt_*'
  swa-eval swa.safetensors --data val --compare-stats --bn-data train --last ckpt_0010.safetensors
  swa-eval swa_bn.safetensors --data val --per-class classes.csv --confusion confusion.csv
  swa-eval swa_bn.safetensors --data imagenette2/val --class-map imagenet_class_index.json

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The models, checkpoint files of any trainer or folders with a model, in the order of the table
    #[arg(value_name = "MODEL", required_unless_present = "list_archs")]
    models: Vec<PathBuf>,

    /// Add the ensemble of the models, the mean of their softmax outputs; of those alone whose file
    /// name matches, if a pattern is given
    #[arg(long, value_name = "PATTERN", conflicts_with = "compare_stats", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    ensemble: Option<String>,

    /// Models on the device at a time, where not all fit: they take turns on blocks of images, each
    /// decoded once [default: all, or as many as its memory holds]
    #[arg(long, value_name = "N", conflicts_with = "compare_stats", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Network")]
    models_at_once: Option<u32>,

    /// With --class-map: the other outputs do not compete, as is the custom for ImageNet-A and -R
    #[arg(long, requires = "class_map", help_heading = "Data")]
    class_map_restrict: bool,

    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    compare: CompareArgs,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    let args = Args::parse();
    libtorch::prepare(args.data.precision);
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    if args.data.list_archs {
        return list_archs();
    }
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    let mut inputs = args.models.clone();
    inputs.extend(args.data.class_map.clone());
    args.files.check(&inputs)?;
    let ensemble = args.ensemble.as_deref().map(|pattern| members(&args.models, pattern));
    let ensemble = ensemble.transpose()?;
    let names = evaluation::names(&args.models, ensemble.as_ref().map(Vec::len));
    let take = args.take.take();
    let checkpoints: Vec<Checkpoint> =
        args.models.iter().map(|path| Checkpoint::open_with(path, &take)).collect::<Result<_>>()?;
    say_taken(common, &checkpoints);
    if args.compare.compare_stats {
        if let Some((flag, _)) = args.files.given().first() {
            return Err(Error::usage(format!("{flag} does not go with --compare-stats")));
        }
        let last = args.compare.last.as_ref().map(|path| Checkpoint::open_with(path, &take));
        let last = last.transpose()?;
        return compare::run(common, &args.data, &args.compare, &checkpoints, last.as_ref());
    }
    let at_once = args.models_at_once.map_or(usize::MAX, |n| n as usize);
    let purpose = Purpose::Evaluation;
    let session = args.data.open_some(common, &checkpoints, purpose, None, at_once)?;
    let order = args.data.order(session.dataset.as_ref(), false);
    let (models, outputs) = (session.models.len(), session.models[0].classes);
    let create = |path| LogitsFile::create(path, args.files.force, models, order.len(), outputs);
    let logits = args.files.logits.as_deref().map(create).transpose()?;
    let restricted = session.class_map.as_ref().filter(|_| args.class_map_restrict);
    let competing = restricted.map(ClassMap::outputs);
    let competitors = competing.as_ref().map_or(outputs, Vec::len);
    let wanted = Wanted { ensemble, top: args.files.predictions.is_some(), competing };
    let mut collector = Collector::new(models, outputs, wanted, logits);
    let images = order.len();
    let batch_size = args.data.batch_size.unwrap_or_else(|| session.largest_batch());
    let mut loader = args.data.loader(&session, order, batch_size)?;
    let input = Input::new(&session.transform, session.device)?;
    let pace = Pace::start(common, "evaluating", images, loader.waited());
    let step = |n| pace.step(n);
    let may_shrink = args.data.batch_size.is_none();
    let mut at_a_time = AtATime { images: batch_size, may_shrink };
    if session.at_once < models {
        let load = |i: usize| args.data.load(&checkpoints[i], None, session.setup);
        let turns = Turns { count: models, at_once: session.at_once, load: &load };
        turns.run(&input, &mut loader, &mut at_a_time, &mut collector, &step)?;
    } else {
        let (models, loader) = (&session.models, &mut loader);
        evaluate::run(models, &input, loader, &mut at_a_time, &mut collector, &step)?;
    }
    let (evaluation, logits) = collector.finish()?;
    let figures = pace.finish(evaluation.labels.len());
    report_bad(common, &loader.bad());
    let fewer = at_a_time.images;
    if fewer < batch_size {
        common.note(format!(
            "memory did not hold {batch_size} images at a time: went on with {fewer} \
             (--batch-size {fewer} starts so)"
        ));
    }
    let seconds = started.elapsed().as_secs_f64();
    let class_map = session.class_map.as_ref();
    let beside = json!({
        "transform": session.transform_record,
        "augmentation": session.augmentation,
        "class_map": class_map.map(|map| class_map_record(map, args.class_map_restrict)),
        "skipped": loader.bad(),
        "precision": args.data.precision.name(),
        "batch_size": fewer,
        "pace": figures.json(),
        "seconds": seconds,
    });
    // Before the files: a full disk does not take the table along.
    evaluation::report(common, &names, &evaluation, beside)?;
    common.say(format!("{} images in {seconds:.1} s; {figures}", evaluation.labels.len()))?;
    evaluation::remark(common, &names, &evaluation, competitors);
    let evaluated = Evaluated {
        titles: &names,
        evaluation: &evaluation,
        classes: &evaluation::classes(&session),
        dataset: session.dataset.as_ref(),
    };
    args.files.write(common, &evaluated, logits)
}

/// The models whose file name matches, by position.
fn members(models: &[PathBuf], pattern: &str) -> Result<Vec<usize>> {
    let glob = glob::Pattern::new(pattern)
        .map_err(|e| Error::usage(format!("--ensemble: bad pattern `{pattern}`: {}", e.msg)))?;
    let matches = |i: &usize| glob.matches(&base_name(&models[*i]));
    let members: Vec<usize> = (0..models.len()).filter(matches).collect();
    if members.is_empty() {
        return Err(Error::usage(format!("--ensemble: no model matches `{pattern}`")));
    }
    Ok(members)
}
