//! Recomputes the batchnorm statistics of an averaged model.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use regex::Regex;
use serde_json::{Map, Value, json};
use swa_tools::bn_update::{self, Method, Movement, Settings, movements};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::cli::data::{DataArgs, list_archs, report_bad};
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, shell_word, table};
use swa_tools::data::Split;
use swa_tools::nn::input::Input;
use swa_tools::nn::{Freeze, Recognised, freeze, libtorch};
use swa_tools::output::{self, FileTarget, Format};
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
  swa-bn-update swa.pth --data imagenet/train -o swa_bn.pth
  swa-bn-update swa.pth --data cifar10 --preset cifar10 --noise on -o swa_bn.pth
  swa-bn-update swa.pth --data imagenet/train --freeze '^(bn1|layer1)' -o swa_bn.pth

A network without batchnorm is written as it is.

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The model: a checkpoint file, or a folder that holds a model
    #[arg(value_name = "MODEL", required_unless_present = "list_archs")]
    model: Option<PathBuf>,

    /// The file to write, in the format that its name ends in (.safetensors, .pth), else the model's
    #[arg(short, long, value_name = "FILE", required_unless_present = "list_archs")]
    output: Option<PathBuf>,

    /// Overwrite the output if it exists
    #[arg(long)]
    force: bool,

    /// How the batches' statistics are combined
    #[arg(long, value_enum, default_value_t = Method::Pooled)]
    method: Method,

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

fn main() -> ExitCode {
    libtorch::prepare();
    let args = Args::parse();
    cli::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    if args.data.list_archs {
        return list_archs();
    }
    let (Some(path), Some(target)) = (&args.model, &args.output) else {
        return Err(Error::usage("MODEL and --output are needed"));
    };
    let common = &args.common;
    let started = Instant::now();
    common.start()?;
    // Writing over the model itself is what --force is for here.
    output::atomic::check_target(target, args.force, &[])?;
    let checkpoints = [Checkpoint::open_with(path, &args.take.take())?];
    say_taken(common, &checkpoints);
    let like = match &args.like {
        Some(like) => Some(Checkpoint::open_with(like, &args.take.take())?),
        None => None,
    };
    let own = match checkpoints[0].container().is_torch_file() {
        true => Format::Torch,
        false => Format::Safetensors,
    };
    let format = Format::of(target).unwrap_or(own);
    let file = FileTarget { path: target, format, like: like.as_ref(), force: args.force };
    let freeze = Freeze::new(&checkpoints[0], args.freeze.as_ref());
    let recognised = Recognised::of(&checkpoints[0], args.data.arch.as_deref(), &freeze)?;
    let frozen = &recognised.frozen;
    if recognised.batchnorms.is_empty() {
        return write_unchanged(args, &checkpoints, &recognised, &file);
    }
    if !frozen.is_empty() {
        common.note(format!(
            "frozen: {} batchnorm layers, such as `{}`, keep their statistics",
            frozen.len(),
            frozen[0]
        ));
    }
    let noise = (args.noise == NoiseArg::On).then_some(args.data.seed);
    if noise.is_some() && !recognised.noisy {
        common.note("note: --noise on: this network draws nothing that reaches a batchnorm layer");
    }
    if let Some(doubt) = freeze::doubt(&checkpoints[0], &recognised.batchnorms) {
        common.note(format!("note: {doubt}"));
    }
    let session = args.data.open(common, &checkpoints, Split::Train, args.freeze.as_ref())?;
    let (checkpoint, model) = (&checkpoints[0], &session.models[0]);
    common.note(format!("model: {}, {} batchnorm layers", model.arch, model.batchnorms.len()));
    let order = args.data.order(session.dataset.as_ref(), args.order == OrderArg::Shuffled);
    let bar = common.progress(order.len() as u64, "images").with_message("batchnorm");
    let mut loader = args.data.loader(&session, order)?;
    let input = Input::new(&session.transform, session.device)?;
    let step = |n| bar.inc(n as u64);
    let method = Settings { method: args.method, noise };
    let outcome = bn_update::run(model, &input, &mut loader, method, &step)?;
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    let mut settings = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "method": args.method.name(),
        "images": outcome.images,
        "batch_size": args.data.batch_size,
        "order": if args.order == OrderArg::Shuffled { "shuffled" } else { "dataset" },
        "seed": args.data.seed,
        "noise": if noise.is_some() { "on" } else { "off" },
    });
    if !frozen.is_empty() {
        settings["frozen"] = json!(frozen);
    }
    let record = [("bn_update", settings), (TRANSFORM_KEY, session.transform_record)];
    let record = record.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
    bn_update::write(checkpoint, model, &outcome, record, &file)?;

    let seconds = started.elapsed().as_secs_f64();
    let (layers, all) = movements(checkpoint, model, &outcome);
    common.json(json!({
        "output": target.display().to_string(),
        "arch": model.arch,
        "method": args.method.name(),
        "images": outcome.images,
        "batches": outcome.batches,
        "frozen": frozen,
        "skipped": loader.bad(),
        "all": json(&all),
        "layers": layers.iter().map(json).collect::<Vec<_>>(),
        "seconds": seconds,
    }))?;
    common.say(format!(
        "wrote {}: statistics of {} batchnorm layers from {} images, {} batches ({}), in {seconds:.1} s",
        target.display(),
        layers.len(),
        outcome.images,
        outcome.batches,
        args.method.name(),
    ))?;
    common.say("how far the statistics moved (σ: the new standard deviation of a channel):")?;
    let header = ["layer", "channels", "mean, in σ", "σ new/old", "moved"];
    let rows = layers.iter().take(5).chain([&all]).map(row);
    common.say(table(&header, rows))?;
    common.say(format!("next: swa-eval {} --data DIR", shell_word(target)))
}

/// For a model that has nothing to recompute: the data are not looked at.
fn write_unchanged(
    args: &Args,
    checkpoints: &[Checkpoint],
    recognised: &Recognised,
    file: &FileTarget,
) -> Result<()> {
    let common = &args.common;
    let (checkpoint, arch) = (&checkpoints[0], &recognised.arch);
    if !args.data.no_verify {
        checkpoint.verify(&|_| {})?;
    }
    let why = match recognised.frozen.len() {
        0 => "has no batchnorm layers".to_string(),
        n => format!("has {n} batchnorm layers, all of them frozen"),
    };
    common.note(format!("model: {}", arch.name));
    let settings = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "images": 0,
        "frozen": recognised.frozen,
    });
    let mut record = Map::from_iter([("bn_update".to_string(), settings)]);
    // The pixels that the model takes are recorded as for any other, where something says which.
    match args.data.transform(common, checkpoints, arch.preset, arch.channels) {
        Ok((_, pixels)) => {
            record.insert(TRANSFORM_KEY.into(), pixels);
        }
        Err(error) if args.data.preset.is_some() => return Err(error),
        Err(_) => {}
    }
    bn_update::write_unchanged(checkpoint, record, file)?;
    common.json(json!({
        "output": file.path.display().to_string(),
        "arch": arch.name,
        "images": 0,
        "batches": 0,
        "frozen": recognised.frozen,
        "layers": Value::Array(vec![]),
    }))?;
    common.say(format!("`{}` {why}: nothing to recompute", checkpoint.path().display()))?;
    common.say(format!("wrote {}: the same tensors", file.path.display()))?;
    common.say(format!("next: swa-eval {} --data DIR", shell_word(file.path)))
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
