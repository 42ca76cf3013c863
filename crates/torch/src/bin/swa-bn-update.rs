//! Recomputes the batchnorm statistics of an averaged model.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser};
use regex::Regex;
use serde_json::{Value, json};
use swa_tools::bn_update::{self, Accumulator, Method, Stability, layerwise};
use swa_tools::cli::data::{DEFAULT_BATCH, DataArgs, Purpose, Session, list_archs, report_bad};
use swa_tools::cli::pace::Pace;
use swa_tools::cli::parts::{self, PartArgs, Pass, check_merge, report_part, say_resumed};
use swa_tools::cli::statistics::{ModelFile, Written};
use swa_tools::cli::take::TakeArgs;
use swa_tools::cli::{self, Common, shell_word};
use swa_tools::nn::batch_norm::Layer;
use swa_tools::nn::input::Input;
use swa_tools::nn::memory::Budget;
use swa_tools::nn::{Freeze, Recognised, freeze, libtorch};
use swa_tools::output;
use swa_tools::parts::{Keeper, Part, Progress, Seen, Set};
use swa_tools::{Error, Result, TRANSFORM_KEY};

/// Recomputes the running mean and variance of every batchnorm layer in one pass over training data
/// and writes the model again with them. Averaged weights need this: they never saw data in training
/// mode.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Examples:
  swa-bn-update swa.safetensors --data imagenet/train -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data fashion-mnist --preset fashion-mnist -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data imagenet/train --samples 10000 -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data imagenet/train --until-stable 0.02 -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data imagenet/train --method layerwise --samples 2000 -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data imagenet/train --transform train -o swa_bn.safetensors
  swa-bn-update swa.pth --data imagenet/train -o swa_bn.pth
  swa-bn-update swa.pth --data imagenet/train --freeze '^(bn1|layer1)' -o swa_bn.pth
  swa-bn-update shake.pth --data cifar10 --preset cifar10 --noise on -o shake_bn.pth

A network without batchnorm is written as it is.

Shared between processes or machines (docs/scale.md), and merged:
  swa-bn-update swa.safetensors --data imagenet/train --shard 0/2 --save-stats part_0
  swa-bn-update swa.safetensors --data imagenet/train --shard 1/2 --save-stats part_1
  swa-bn-update swa.safetensors --merge-stats part_0 part_1 -o swa_bn.safetensors

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The model: a checkpoint file, or a folder that holds a model
    #[arg(value_name = "MODEL", required_unless_present = "list_archs")]
    model: Option<PathBuf>,

    /// The file to write, in the format that its name ends in (.safetensors, .pth), else the model's
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["list_archs", "save"])]
    output: Option<PathBuf>,

    /// Overwrite the output if it exists
    #[arg(long)]
    force: bool,

    /// How the batches' statistics are combined
    #[arg(long, value_enum, default_value_t = Method::Pooled)]
    method: Method,

    /// Stop when every layer's statistics are certain: their standard error, estimated from how batches
    /// differ, is below EPS standard deviations (0.02)
    #[arg(long, value_name = "EPS", value_parser = above_zero, conflicts_with_all = ["save", "resume"])]
    until_stable: Option<f64>,

    /// Host memory that --method layerwise may take (8GB); with less it takes longer, the result is
    /// the same [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    memory: Option<u64>,

    /// Visit the images shuffled by --seed, or in the order of the data set (in which a batch may
    /// hold a single class: the statistics then come out wrong)
    #[arg(long, value_enum, default_value_t = OrderArg::Shuffled, help_heading = "Data")]
    order: OrderArg,

    /// What the network draws at random in training (Shake-Shake's mixing): off, as in use, or on,
    /// drawn by --seed, as PyTorch's update_bn and the SWA authors' code have it
    #[arg(long, value_enum, default_value_t = NoiseArg::Off)]
    noise: NoiseArg,

    /// Keep the statistics of the batchnorm layers whose name matches, as a trainer did that had set
    /// them to evaluation mode. Layers without `num_batches_tracked` (FrozenBatchNorm2d) are kept
    /// wherever others have it
    #[arg(long, value_name = "REGEX")]
    freeze: Option<Regex>,

    /// Write a copy of FILE (.pth, .ckpt) with the new model in the place of its weights
    #[arg(long, value_name = "FILE")]
    like: Option<PathBuf>,

    /// Write what was collected to PART, in place of a model
    #[arg(id = "save", long = "save-stats", value_name = "PART", conflicts_with_all = ["output", "like"],
          help_heading = "Sharing and interruption")]
    save: Option<PathBuf>,

    /// Write the model from the PARTs that other processes saved, in any order; no data are read
    #[arg(id = "merge", long = "merge-stats", value_name = "PART", num_args = 1..,
          conflicts_with_all = ["save", "resume"], help_heading = "Sharing and interruption")]
    merge: Vec<PathBuf>,

    #[command(flatten)]
    parts: PartArgs,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum OrderArg {
    Shuffled,
    Dataset,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum NoiseArg {
    Off,
    On,
}

const TOOL: &str = "swa-bn-update";

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("expected a number above 0, such as 0.02".into()),
    }
}

fn main() -> ExitCode {
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    libtorch::prepare(args.data.precision);
    cli::run(|| match args.merge.is_empty() {
        true => run(&args),
        false => {
            let known = ["model", "weights_key", "ema", "arch", "no_verify"];
            check_merge(&matches, "--merge-stats", &known)?;
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
    args.check_layerwise()?;
    args.parts.check(args.save.is_some(), "--save-stats", &[&args.output, &args.save])?;
    for target in args.output.iter().chain(&args.save) {
        // Writing over the model itself is what --force is for here.
        output::atomic::check_target(target, args.force, &[])?;
    }
    let model = args.open()?;
    let checkpoint = model.checkpoint();
    let freeze = Freeze::new(checkpoint, args.freeze.as_ref());
    let recognised = Recognised::of(checkpoint, args.data.arch.as_deref(), &freeze)?;
    if recognised.batchnorms.is_empty() {
        return write_unchanged(args, &model, &recognised);
    }
    let Recognised { frozen, noisy, batchnorms, .. } = recognised;
    if let Some(first) = frozen.first() {
        let n = frozen.len();
        common.note(format!("frozen: {n} batchnorm layer(s), such as `{first}`, keep theirs"));
    }
    let noise = (args.noise == NoiseArg::On).then_some(args.data.seed);
    if noise.is_some() && !noisy {
        common.note("note: --noise on: this network draws nothing that reaches a batchnorm layer");
    }
    if let Some(doubt) = freeze::doubt(checkpoint, &batchnorms) {
        common.note(format!("note: {doubt}"));
    }
    let freeze = args.freeze.as_ref();
    let session = args.data.open(common, &model.checkpoints, Purpose::Statistics, freeze)?;
    let network = &session.models[0];
    common.note(format!("model: {}, {} batchnorm layers", network.arch, network.batchnorms.len()));
    let order = args.data.order(session.dataset.as_ref(), args.order == OrderArg::Shuffled);
    let settings = args.settings(&session, &frozen);
    if args.method == Method::Layerwise {
        return layerwise(args, &model, &session, settings, order, started);
    }
    let images = order.len();
    let pass = Pass {
        tool: TOOL,
        checkpoints: &model.checkpoints,
        session: &session,
        images,
        batch_size: args.batch_size(),
        settings,
        is_kept: args.save.is_some(),
    };
    let sums = bn_update::accumulator(&network.batchnorms, args.method);
    let part = args.parts.begin(pass, args.data.allow_bad, sums)?;
    let keeper = Keeper::open(part, args.parts.resume.as_deref(), !common.quiet)?;
    say_resumed(common, &args.parts, &keeper);
    let mut loader = args.data.loader_of(&session, order, args.batch_size(), keeper.portion())?;
    let input = Input::new(&session.transform, session.device)?;
    let done = keeper.with(|part| part.progress.images);
    let mut stability = Stability::new(&network.batchnorms);
    // What was seen before an interruption is not known.
    let watched = args.parts.shard.is_none() && done == 0;
    let pace = Pace::start(common, "batchnorm", images, done, loader.waited());
    let ended = bn_update::collect(network, &input, &mut loader, noise, &mut |batch, moments| {
        keeper.add(&[Seen::of(batch)], |sums| moments.add_to(sums))?;
        moments.watch(&mut stability);
        pace.step(batch.n);
        let stable = args.until_stable.is_some_and(|eps| stability.is_below(eps));
        Ok(if stable { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if ended.is_continue() {
        keeper.finish(loader.skipped());
    }
    let figures = pace.finish(keeper.with(|part| part.progress.images) - done);
    report_bad(common, &keeper.with(|part| part.progress.lines()));
    if let Some(path) = &args.save {
        let progress =
            keeper.with(|part| part.write(path, args.force).map(|()| part.progress.clone()))?;
        keeper.close()?;
        let model = args.model.as_deref().map(shell_word).unwrap_or_default();
        let next = format!("{TOOL} {model} --merge-stats PART... -o FILE");
        return report_part(common, path, &progress, figures, started, &next);
    }
    let standard_error = stability.largest().filter(|_| watched);
    let mut written = keeper.with(|part| of_part(&network.arch, &network.batchnorms, part))?;
    written.outcome.standard_error = standard_error;
    written.stable = args.until_stable.map(|_| ended.is_break());
    written.figures = Some(figures);
    model.write(common, written, started)?;
    keeper.close()
}

/// The pass of --method layerwise, which has no parts.
fn layerwise(
    args: &Args,
    model: &ModelFile,
    session: &Session,
    settings: Value,
    order: Vec<usize>,
    started: Instant,
) -> Result<()> {
    let common = &args.common;
    let network = &session.models[0];
    let (images, layers) = (order.len(), network.batchnorms.len());
    let bar = common.progress((images * layers) as u64, "images");
    let mut loader = args.data.loader(session, order, args.batch_size())?;
    let input = Input::new(&session.transform, session.device)?;
    let budget = Budget::asked(args.memory);
    let step = |step: layerwise::Progress| {
        bar.set_message(format!("layer {} of {layers}, {}", step.step, step.layer));
        bar.inc(step.images as u64);
    };
    let (outcome, passes) = layerwise::run(network, &input, &mut loader, images, &budget, &step)?;
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    let again = passes as f64 / outcome.batches as f64;
    if again > 1.0 {
        let memory = cli::megabytes(budget.bytes());
        common
            .note(format!("memory for activations: {memory}; each image passed {again:.1} times"));
    }
    let written = Written {
        arch: &network.arch,
        layers: &network.batchnorms,
        outcome,
        settings,
        transform: session.transform_record.clone(),
        skipped: loader.bad(),
        stable: None,
        figures: None,
    };
    model.write(common, written, started)
}

/// Writes the model from the parts of a pass.
fn merge(args: &Args) -> Result<()> {
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    if let Some(target) = &args.output {
        output::atomic::check_target(target, args.force, &args.merge)?;
    }
    let set = Set::open(&args.merge)?;
    set.expect_tool(TOOL)?;
    let model = args.open()?;
    let checkpoint = model.checkpoint();
    if !args.data.no_verify {
        checkpoint.verify(&|_| {})?;
    }
    set.expect_models(&parts::digests(&model.checkpoints)?, &parts::names(&model.checkpoints))?;
    let settings = set.identity().get("settings");
    let frozen = settings["frozen"].as_array().into_iter().flatten();
    let frozen = frozen.filter_map(|name| name.as_str().map(String::from)).collect();
    let freeze = Freeze::listed(frozen);
    let Recognised { arch, batchnorms, .. } =
        Recognised::of(checkpoint, args.data.arch.as_deref(), &freeze)?;
    let method = settings["method"].as_str().and_then(Method::named);
    let method = method.ok_or_else(|| Error::input("the parts name no method that is known"))?;
    let part = set.merge(bn_update::accumulator(&batchnorms, method), args.data.allow_bad)?;
    let written = of_part(&arch.name, &batchnorms, &part)?;
    report_bad(common, &written.skipped);
    model.write(common, written, started)
}

/// What a whole part came to.
fn of_part<'a>(
    arch: &'a str,
    layers: &'a [Layer],
    part: &Part<Accumulator>,
) -> Result<Written<'a>> {
    let Progress { images, filled, .. } = part.progress;
    Ok(Written {
        arch,
        layers,
        outcome: bn_update::finish(layers, &part.content, images, filled)?,
        settings: part.identity.get("settings").clone(),
        transform: part.identity.get(TRANSFORM_KEY).clone(),
        skipped: part.progress.lines(),
        stable: None,
        figures: None,
    })
}

/// For a model that has nothing to recompute: the data are not looked at.
fn write_unchanged(args: &Args, model: &ModelFile, recognised: &Recognised) -> Result<()> {
    let common = &args.common;
    let Recognised { arch, frozen, .. } = recognised;
    let checkpoint = model.checkpoint();
    let why = match frozen.len() {
        0 => "has no batchnorm layers".to_string(),
        n => format!("has {n} batchnorm layers, all of them frozen"),
    };
    let Some(path) = &args.output else {
        return Err(Error::usage(format!("{why}: there are no statistics to save"))
            .at(checkpoint.path())
            .remedy("give --output in place of --save-stats: the model is written as it is"));
    };
    if !args.data.no_verify {
        checkpoint.verify(&|_| {})?;
    }
    common.note(format!("model: {}", arch.name));
    // The pixels that the model takes are recorded as for any other, where something says which.
    let pixels = match args.data.transform(common, &model.checkpoints, arch.preset, arch.channels) {
        Ok((_, pixels)) => Some(pixels),
        Err(error) if args.data.preset.is_some() => return Err(error),
        Err(_) => None,
    };
    model.write_unchanged(common, path, recognised, (&why, pixels))
}

impl Args {
    fn open(&self) -> Result<ModelFile<'_>> {
        let model = self.model.as_ref().ok_or_else(|| Error::usage("MODEL is needed"))?;
        let output = (self.output.as_deref(), self.force);
        ModelFile::open(&self.common, &self.take, model, self.like.as_deref(), output)
    }

    /// Refuses what does not go with --method layerwise.
    fn check_layerwise(&self) -> Result<()> {
        if self.method != Method::Layerwise {
            return match self.memory {
                None => Ok(()),
                Some(_) => Err(Error::usage("--memory is for --method layerwise alone")),
            };
        }
        const ALL: &str = "each layer needs all images: use --method pooled, or one process";
        let given = [
            (
                self.until_stable.is_some(),
                "--until-stable",
                "let --method pooled find how many images it takes, and give --samples",
            ),
            (
                self.noise == NoiseArg::On,
                "--noise on",
                "it is for the network as it is used, which draws nothing",
            ),
            (self.parts.shard.is_some(), "--shard", ALL),
            (self.save.is_some(), "--save-stats", ALL),
            (self.parts.resume.is_some(), "--resume", ALL),
        ];
        match given.into_iter().find(|(given, ..)| *given) {
            None => Ok(()),
            Some((_, flag, remedy)) => {
                let what = format!("{flag} does not go with --method layerwise");
                Err(Error::usage(what).remedy(remedy))
            }
        }
    }

    /// It changes the result: it is never chosen by what memory there is.
    fn batch_size(&self) -> usize {
        self.data.batch_size.unwrap_or(DEFAULT_BATCH)
    }

    /// What is recorded of a pass, but for what comes of it.
    fn settings(&self, session: &Session, frozen: &[String]) -> Value {
        let mut settings = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "method": self.method.name(),
            "batch_size": self.batch_size(),
            "precision": self.data.precision.name(),
            "order": if self.order == OrderArg::Shuffled { "shuffled" } else { "dataset" },
            "seed": self.data.seed,
            "noise": if self.noise == NoiseArg::On { "on" } else { "off" },
            "frozen": frozen,
            "augmentation": session.augmentation,
        });
        if let Some(eps) = self.until_stable {
            settings["until_stable"] = json!(eps);
        }
        settings
    }
}
