//! Evaluates models on labelled images.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser};
use serde_json::json;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::checkpoint::select::base_name;
use swa_tools::cli::compare::{self, CompareArgs};
use swa_tools::cli::data::{DataArgs, Purpose, list_archs, report_bad};
use swa_tools::cli::evaluation::{self, About};
use swa_tools::cli::evaluation_files::{Evaluated, FileArgs};
use swa_tools::cli::pace::{Figures, Pace};
use swa_tools::cli::parts::{PartArgs, Pass, check_merge, report_part, say_resumed};
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common};
use swa_tools::data::{ClassMap, Dataset};
use swa_tools::evaluate::{self, AtATime, Collector, Evaluation, LogitsFile, Turns, Wanted};
use swa_tools::nn::input::Input;
use swa_tools::nn::libtorch;
use swa_tools::parts::{Identity, Keeper, Part, Progress, Seen, Set};
use swa_tools::{Error, Result, TRANSFORM_KEY, output};

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

Shared between processes or machines (docs/scale.md), and merged:
  swa-eval swa_bn.safetensors --data imagenet/val --shard 0/2 --save-outcomes part_0
  swa-eval swa_bn.safetensors --data imagenet/val --shard 1/2 --save-outcomes part_1
  swa-eval --merge-outcomes part_0 part_1

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The models, checkpoint files of any trainer or folders with a model, in the order of the table
    #[arg(value_name = "MODEL", required_unless_present_any = ["list_archs", "merge"])]
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

    /// Write what was collected to PART, in place of a table
    #[arg(
        id = "save",
        long = "save-outcomes",
        value_name = "PART",
        help_heading = "Sharing and interruption"
    )]
    save: Option<PathBuf>,

    /// Print the table, and write files, from the PARTs that other processes saved, in any order; neither
    /// models nor data are read
    #[arg(id = "merge", long = "merge-outcomes", value_name = "PART", num_args = 1..,
          conflicts_with_all = ["save", "resume", "models"], help_heading = "Sharing and interruption")]
    merge: Vec<PathBuf>,

    #[command(flatten)]
    parts: PartArgs,

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

const TOOL: &str = "swa-eval";

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    libtorch::prepare(args.data.precision);
    cli::run(|| match args.merge.is_empty() {
        true => run(&args),
        false => {
            let known = ["per_class", "confusion", "reliability"];
            check_merge(&matches, "--merge-outcomes", &known)?;
            merge(&args)
        }
    })
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
    check_part(args, &inputs)?;
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
        let restrict = args.class_map_restrict;
        let last = last.as_ref();
        return compare::run(common, &args.data, &args.compare, &checkpoints, last, restrict);
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
    let images = order.len();
    let batch_size = args.data.batch_size.unwrap_or_else(|| session.largest_batch());
    let pass = Pass {
        tool: TOOL,
        checkpoints: &checkpoints,
        session: &session,
        images,
        batch_size,
        settings: json!({
            "version": env!("CARGO_PKG_VERSION"),
            "batch_size": batch_size,
            "precision": args.data.precision.name(),
            "seed": args.data.seed,
            "ensemble": wanted.ensemble,
            "competing": wanted.competing,
            "best": wanted.top,
            "augmentation": session.augmentation,
        }),
        is_kept: args.save.is_some(),
    };
    let empty = Evaluation::empty(models, wanted.ensemble.is_some());
    let mut part = args.parts.begin(pass, args.data.allow_bad, empty)?;
    let about = About::new(names, &session, competitors, args.class_map_restrict);
    part.progress.notes = json!(about);
    let keeper = Keeper::open(part, args.parts.resume.as_deref(), !common.quiet)?;
    say_resumed(common, &args.parts, &keeper);
    let keep = |seen: &[Seen], some: Evaluation| keeper.add(seen, |all| all.append(some));
    let mut collector = Collector::new(models, outputs, wanted, logits).keep_with(keep);
    let mut loader = args.data.loader_of(&session, order, batch_size, keeper.portion())?;
    let input = Input::new(&session.transform, session.device)?;
    let done = keeper.with(|part| part.progress.images);
    let pace = Pace::start(common, "evaluating", images, done, loader.waited());
    let step = |n| pace.step(n);
    let may_shrink = args.data.batch_size.is_none();
    let mut at_a_time = AtATime { images: batch_size, may_shrink };
    if session.at_once < models {
        let load = |i: usize| args.data.load(&checkpoints[i], None, session.setup);
        let is_kept = args.parts.resume.is_some();
        let turns = Turns { count: models, at_once: session.at_once, load: &load, is_kept };
        turns.run(&input, &mut loader, &mut at_a_time, &mut collector, &step)?;
    } else {
        let (models, loader) = (&session.models, &mut loader);
        evaluate::run(models, &input, loader, &mut at_a_time, &mut collector, &step)?;
    }
    keeper.finish(loader.skipped());
    let figures = pace.finish(keeper.with(|part| part.progress.images) - done);
    report_bad(common, &loader.bad());
    let fewer = at_a_time.images;
    if fewer < batch_size {
        common.note(format!(
            "memory did not hold {batch_size} images at a time: went on with {fewer} \
             (--batch-size {fewer} starts so)"
        ));
    }
    if let Some(path) = &args.save {
        let progress = keeper
            .with(|part| part.write(path, args.files.force).map(|()| part.progress.clone()))?;
        keeper.close()?;
        let next = format!("{TOOL} --merge-outcomes PART...");
        return report_part(common, path, &progress, figures, started, &next);
    }
    let logits = collector.into_logits();
    let (evaluation, identity, progress) =
        keeper.with(|part| (part.content.clone(), part.identity.clone(), part.progress.clone()));
    let evaluation = evaluation.in_order(outputs)?;
    let dataset = Some(session.dataset.as_ref());
    let pace = Some((figures, fewer));
    let whole = Whole { about: &about, evaluation: &evaluation, identity, progress, dataset, pace };
    report(args, whole, logits, started)?;
    keeper.close()
}

/// Reports what the parts of a pass hold.
fn merge(args: &Args) -> Result<()> {
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    args.files.check(&args.merge)?;
    let set = Set::open(&args.merge)?;
    set.expect_tool(TOOL)?;
    let about = About::of_part(set.notes())
        .ok_or_else(|| Error::input("the parts do not say what they are about"))?;
    let models = set.models().len();
    let with_ensemble = !set.identity().get("settings")["ensemble"].is_null();
    let part = set.merge(Evaluation::empty(models, with_ensemble), args.data.allow_bad)?;
    let Part { identity, progress, content } = part;
    report_bad(common, &progress.lines());
    let evaluation = content.in_order(about.outputs)?;
    let (about, evaluation) = (&about, &evaluation);
    let whole = Whole { about, evaluation, identity, progress, dataset: None, pace: None };
    report(args, whole, None, started)
}

/// Fails where flags of a part do not go together, before any work is done.
fn check_part(args: &Args, inputs: &[PathBuf]) -> Result<()> {
    args.parts.check(args.save.is_some(), "--save-outcomes", &[&args.save])?;
    if let Some(path) = &args.save {
        output::atomic::check_target(path, args.files.force, inputs)?;
        if let Some((flag, _)) = args.files.given().first() {
            let remedy = match *flag {
                "--predictions" | "--logits" => "a part does not keep that: evaluate without it",
                _ => "give it with --merge-outcomes",
            };
            let what = format!("{flag} is of all images, --save-outcomes of some");
            return Err(Error::usage(what).remedy(remedy));
        }
    }
    if args.compare.compare_stats && (args.save.is_some() || args.parts.resume.is_some()) {
        return Err(Error::usage(
            "--compare-stats is several passes: it is neither shared nor kept",
        )
        .remedy("leave --save-outcomes and --resume out"));
    }
    if args.parts.resume.is_some() && args.files.logits.is_some() {
        return Err(Error::usage("--resume does not go with --logits: a state keeps no logits")
            .remedy("leave one of them out"));
    }
    Ok(())
}

/// All that a whole pass was and collected.
struct Whole<'a> {
    about: &'a About,
    evaluation: &'a Evaluation,
    identity: Identity,
    progress: Progress,
    /// None where the data are not at hand.
    dataset: Option<&'a dyn Dataset>,
    /// Of the pass, and how many images went through the networks at a time; None where it is over.
    pace: Option<(Figures, usize)>,
}

fn report(args: &Args, whole: Whole, logits: Option<LogitsFile>, started: Instant) -> Result<()> {
    let common = &args.common;
    let Whole { about, evaluation, identity, progress, dataset, pace } = whole;
    let settings = identity.get("settings");
    let seconds = started.elapsed().as_secs_f64();
    let beside = json!({
        "transform": identity.get(TRANSFORM_KEY),
        "augmentation": settings["augmentation"],
        "class_map": about.class_map,
        "skipped": progress.lines(),
        "precision": settings["precision"],
        "batch_size": pace.map(|(_, at_a_time)| at_a_time),
        "pace": pace.map(|(figures, _)| figures.json()),
        "seconds": seconds,
    });
    // Before the files: a full disk does not take the table along.
    evaluation::report(common, &about.names, evaluation, beside)?;
    let figures = pace.map_or(String::new(), |(figures, _)| format!("; {figures}"));
    common.say(format!("{} images in {seconds:.1} s{figures}", evaluation.labels.len()))?;
    evaluation::remark(common, &about.names, evaluation, about.competitors);
    let titles = &about.names;
    let evaluated = Evaluated { titles, evaluation, classes: &about.classes(), dataset };
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
