//! Recomputes the batchnorm statistics of an averaged model.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser};
use regex::Regex;
use serde_json::{Map, Value, json};
use swa_tools::bn_update::{
    self, Accumulator, Method, Movement, Outcome, Stability, StandardError, layerwise, movements,
};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::cli::data::{DEFAULT_BATCH, DataArgs, Purpose, Session, list_archs, report_bad};
use swa_tools::cli::pace::{Figures, Pace};
use swa_tools::cli::parts::{self, PartArgs, Pass, check_merge, report_part, say_resumed};
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, shell_word, table};
use swa_tools::nn::input::Input;
use swa_tools::nn::memory::Budget;
use swa_tools::nn::{Freeze, Model, Recognised, freeze, libtorch};
use swa_tools::output::{self, FileTarget, Format};
use swa_tools::parts::{Keeper, Part, Progress, Seen, Set};
use swa_tools::{Error, Result, TRANSFORM_KEY};
use tch::Device;

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
    let model = Opened::open(args)?;
    let checkpoint = &model.checkpoints[0];
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
    if args.method == Method::Layerwise {
        return layerwise(args, &model, &session, &frozen, order, started);
    }
    let pass = Pass {
        tool: TOOL,
        checkpoints: &model.checkpoints,
        session: &session,
        images: order.len(),
        batch_size: args.batch_size(),
        settings: args.settings(&session, &frozen),
    };
    let sums = bn_update::accumulator(network, args.method);
    let part = args.parts.begin(pass, args.data.allow_bad, sums)?;
    let keeper = Keeper::open(part, args.parts.resume.as_deref(), !common.quiet)?;
    say_resumed(common, &args.parts, &keeper);
    let images = order.len();
    let mut loader = args.data.loader_of(&session, order, args.batch_size(), keeper.portion())?;
    let input = Input::new(&session.transform, session.device)?;
    let done = keeper.with(|part| part.progress.images);
    let mut stability = Stability::new(network);
    // What was seen before an interruption is not known.
    let watched = args.parts.shard.is_none() && done == 0;
    let pace = Pace::resume(common, "batchnorm", images, done, loader.waited());
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
    report_bad(common, &keeper.with(|part| lines(&part.progress)));
    if let Some(path) = &args.save {
        let progress =
            keeper.with(|part| part.write(path, args.force).map(|()| part.progress.clone()))?;
        keeper.close()?;
        let model = args.model.as_deref().map(shell_word).unwrap_or_default();
        let next = format!("{TOOL} {model} --merge-stats PART... -o FILE");
        return report_part(common, path, &progress, figures, started, &next);
    }
    let standard_error = stability.largest().filter(|_| watched);
    let written = keeper.with(|part| model.write(args, network, part, standard_error))?;
    keeper.close()?;
    report(args, &model, network, &written, Some(figures), started)
}

/// The pass of --method layerwise, which has no parts.
fn layerwise(
    args: &Args,
    model: &Opened,
    session: &Session,
    frozen: &[String],
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
    let (settings, transform) = (args.settings(session, frozen), session.transform_record.clone());
    let written = model.write_outcome(args, network, outcome, settings, transform, loader.bad())?;
    report(args, model, network, &written, None, started)
}

/// The images that were left out, one line each.
fn lines(progress: &Progress) -> Vec<String> {
    progress.skipped.iter().map(|(_, line)| line.clone()).collect()
}

impl Args {
    /// Refuses what does not go with --method layerwise.
    fn check_layerwise(&self) -> Result<()> {
        if self.method != Method::Layerwise {
            return Ok(());
        }
        let refuse =
            |flag: &str| Err(Error::usage(format!("{flag} does not go with --method layerwise")));
        if self.until_stable.is_some() {
            return refuse("--until-stable").map_err(|e| {
                e.remedy("let --method pooled find how many images it takes, and give --samples")
            });
        }
        if self.noise == NoiseArg::On {
            return refuse("--noise on")
                .map_err(|e| e.remedy("it is for the network as it is used, which draws nothing"));
        }
        for (given, flag) in [
            (self.parts.shard.is_some(), "--shard"),
            (self.save.is_some(), "--save-stats"),
            (self.parts.resume.is_some(), "--resume"),
        ] {
            if given {
                return refuse(flag).map_err(|e| {
                    e.remedy("each layer needs all images: use --method pooled, or one process")
                });
            }
        }
        Ok(())
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
    let model = Opened::open(args)?;
    let checkpoint = &model.checkpoints[0];
    if !args.data.no_verify {
        checkpoint.verify(&|_| {})?;
    }
    set.expect_models(&parts::digests(&model.checkpoints)?, &parts::names(&model.checkpoints))?;
    let settings = set.identity().get("settings");
    let frozen = settings["frozen"].as_array().into_iter().flatten();
    let frozen = frozen.filter_map(|name| name.as_str().map(String::from)).collect();
    let freeze = Freeze::listed(frozen);
    let recognised = Recognised::of(checkpoint, args.data.arch.as_deref(), &freeze)?;
    let network = recognised.load(Device::Cpu)?;
    let method = settings["method"].as_str().and_then(Method::named);
    let method = method.ok_or_else(|| Error::input("the parts name no method that is known"))?;
    let part = set.merge(bn_update::accumulator(&network, method), args.data.allow_bad)?;
    let written = model.write(args, &network, &part, None)?;
    report_bad(common, &written.skipped);
    report(args, &model, &network, &written, None, started)
}

/// The model's file, and what is made of it.
struct Opened {
    /// One.
    checkpoints: [Checkpoint; 1],
    like: Option<Checkpoint>,
}

impl Opened {
    fn open(args: &Args) -> Result<Self> {
        let path = args.model.as_ref().ok_or_else(|| Error::usage("MODEL is needed"))?;
        let checkpoints = [Checkpoint::open_with(path, &args.take.take())?];
        say_taken(&args.common, &checkpoints);
        let open = |like| Checkpoint::open_with(like, &args.take.take());
        let like = args.like.as_deref().map(open).transpose()?;
        Ok(Opened { checkpoints, like })
    }

    /// The output, in the format that its name ends in, else the model's.
    fn target<'a>(&'a self, args: &Args, path: &'a Path) -> FileTarget<'a> {
        let own = match self.checkpoints[0].container().is_torch_file() {
            true => Format::Torch,
            false => Format::Safetensors,
        };
        let format = Format::of(path).unwrap_or(own);
        FileTarget { path, format, like: self.like.as_ref(), force: args.force }
    }

    /// Writes it with the statistics of a whole pass.
    fn write(
        &self,
        args: &Args,
        network: &Model,
        part: &Part<Accumulator>,
        standard_error: Option<StandardError>,
    ) -> Result<Written> {
        let Progress { images, filled, .. } = part.progress;
        let outcome = bn_update::finish(network, &part.content, images, filled)?;
        let outcome = Outcome { standard_error, ..outcome };
        let settings = part.identity.get("settings").clone();
        let transform = part.identity.get(TRANSFORM_KEY).clone();
        self.write_outcome(args, network, outcome, settings, transform, lines(&part.progress))
    }

    fn write_outcome(
        &self,
        args: &Args,
        network: &Model,
        outcome: Outcome,
        mut settings: Value,
        transform: Value,
        skipped: Vec<String>,
    ) -> Result<Written> {
        let path = args.output.as_ref().ok_or_else(|| Error::usage("--output is needed"))?;
        let checkpoint = &self.checkpoints[0];
        let file = self.target(args, path);
        settings["images"] = outcome.images.into();
        if let Some(StandardError { layer, error }) = outcome.standard_error {
            let layer = &network.batchnorms[layer].name;
            // To six decimals: more are not known.
            let error = (error * 1e6).round() / 1e6;
            settings["standard_error"] = json!({ "largest": error, "layer": layer });
        }
        let mut recorded = settings.clone();
        // In the file only where it decided: a shared or resumed pass, which has the same bytes, does not
        // know it.
        if let Value::Object(recorded) = &mut recorded
            && args.until_stable.is_none()
        {
            recorded.remove("standard_error");
        }
        let record = [("bn_update", recorded), (TRANSFORM_KEY, transform)];
        let record = record.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
        bn_update::write(checkpoint, network, &outcome, record, &file)?;
        Ok(Written { outcome, settings, skipped })
    }
}

/// What was done.
struct Written {
    outcome: Outcome,
    /// As they are recorded.
    settings: Value,
    /// Images that were left out.
    skipped: Vec<String>,
}

fn report(
    args: &Args,
    model: &Opened,
    network: &Model,
    written: &Written,
    figures: Option<Figures>,
    started: Instant,
) -> Result<()> {
    let common = &args.common;
    let Written { outcome, settings, skipped } = written;
    let Some(target) = &args.output else { return Ok(()) };
    let seconds = started.elapsed().as_secs_f64();
    let (layers, all) = movements(&model.checkpoints[0], network, outcome);
    common.json(json!({
        "output": target.display().to_string(),
        "arch": network.arch,
        "method": outcome.method.name(),
        "images": outcome.images,
        "batches": outcome.batches,
        "noise": settings["noise"],
        "frozen": settings["frozen"],
        "augmentation": settings["augmentation"],
        "until_stable": settings["until_stable"],
        "standard_error": settings["standard_error"],
        "skipped": skipped,
        "precision": settings["precision"],
        "all": json(&all),
        "layers": layers.iter().map(json).collect::<Vec<_>>(),
        "pace": figures.map(|figures| figures.json()),
        "seconds": seconds,
    }))?;
    let figures = figures.map_or(String::new(), |figures| format!("; {figures}"));
    common.say(format!(
        "wrote {}: statistics of {} batchnorm layers from {} images, {} batches ({}), in {seconds:.1} s{figures}",
        target.display(),
        layers.len(),
        outcome.images,
        outcome.batches,
        outcome.method.name(),
    ))?;
    if let Some(line) = certain(args.until_stable, outcome, network) {
        common.say(line)?;
    }
    common.say("how far the statistics moved (σ: the new standard deviation of a channel):")?;
    let header = ["layer", "channels", "mean, in σ", "σ new/old", "moved"];
    let rows = layers.iter().take(5).chain([&all]).map(row);
    common.say(table(&header, rows))?;
    common.say(format!("next: swa-eval {} --data DIR", shell_word(target)))
}

/// What the standard error says, against what was asked for.
fn certain(eps: Option<f64>, outcome: &Outcome, network: &Model) -> Option<String> {
    let StandardError { layer, error } = outcome.standard_error?;
    let (images, layer) = (outcome.images, &network.batchnorms[layer].name);
    let text = format!("standard error {error:.4} σ at most ({layer})");
    Some(match eps {
        Some(eps) if error < eps => format!("stable after {images} images: {text}"),
        Some(eps) => format!("not stable: {text}, {eps} was asked for; {images} images were all"),
        None => text,
    })
}

/// For a model that has nothing to recompute: the data are not looked at.
fn write_unchanged(args: &Args, model: &Opened, recognised: &Recognised) -> Result<()> {
    let common = &args.common;
    let Recognised { arch, frozen, .. } = recognised;
    let checkpoint = &model.checkpoints[0];
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
    let settings = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "images": 0,
        "frozen": frozen,
    });
    let mut record = Map::from_iter([("bn_update".to_string(), settings)]);
    // The pixels that the model takes are recorded as for any other, where something says which.
    match args.data.transform(common, &model.checkpoints, arch.preset, arch.channels) {
        Ok((_, pixels)) => {
            record.insert(TRANSFORM_KEY.into(), pixels);
        }
        Err(error) if args.data.preset.is_some() => return Err(error),
        Err(_) => {}
    }
    bn_update::write_unchanged(checkpoint, record, &model.target(args, path))?;
    common.json(json!({
        "output": path.display().to_string(),
        "arch": arch.name,
        "images": 0,
        "batches": 0,
        "frozen": frozen,
        "layers": Value::Array(vec![]),
    }))?;
    common.say(format!("`{}` {why}: nothing to recompute", checkpoint.path().display()))?;
    common.say(format!("wrote {}: the same tensors", path.display()))?;
    common.say(format!("next: swa-eval {} --data DIR", shell_word(path)))
}

fn row(m: &Movement) -> Vec<String> {
    vec![
        m.layer.clone(),
        m.channels.to_string(),
        format!("{:.3}", m.mean_shift),
        format!("{:.3}", m.std_ratio),
        format!("{:.3}", m.moved),
    ]
}

fn json(m: &Movement) -> serde_json::Value {
    json!({
        "layer": m.layer,
        "channels": m.channels,
        "mean_shift": m.mean_shift,
        "std_ratio": m.std_ratio,
        "moved": m.moved,
    })
}
