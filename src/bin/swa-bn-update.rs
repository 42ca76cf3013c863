//! Recomputes the batchnorm statistics of an averaged model.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use swa_tools::bn_update::{self, Method, Movement, movements};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::cli::data::{DEFAULT_BATCH, DataArgs, Purpose, list_archs, report_bad};
use swa_tools::cli::pace::Pace;
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, shell_word, table};
use swa_tools::nn::input::Input;
use swa_tools::nn::libtorch;
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
  swa-bn-update swa.safetensors --data imagenet/train --transform train -o swa_bn.safetensors
  swa-bn-update swa.pth --data imagenet/train -o swa_bn.pth

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

fn main() -> ExitCode {
    let args = Args::parse();
    libtorch::prepare(args.data.precision);
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
    let session = args.data.open(common, &checkpoints, Purpose::Statistics)?;
    let (checkpoint, model) = (&checkpoints[0], &session.models[0]);
    common.note(format!("model: {}, {} batchnorm layers", model.arch, model.batchnorms.len()));
    let order = args.data.order(session.dataset.as_ref(), args.order == OrderArg::Shuffled);
    let images = order.len();
    // The batch size changes the result: it is never chosen by what memory there is.
    let batch_size = args.data.batch_size.unwrap_or(DEFAULT_BATCH);
    let mut loader = args.data.loader(&session, order, batch_size)?;
    let input = Input::new(&session.transform, session.device)?;
    let pace = Pace::start(common, "batchnorm", images, loader.waited());
    let step = |n| pace.step(n);
    let outcome = bn_update::run(model, &input, &mut loader, args.method, &step)?;
    let figures = pace.finish(outcome.images);
    report_bad(common, &loader.bad());
    let settings = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "method": args.method.name(),
        "images": outcome.images,
        "batch_size": batch_size,
        "precision": args.data.precision.name(),
        "order": if args.order == OrderArg::Shuffled { "shuffled" } else { "dataset" },
        "seed": args.data.seed,
        "augmentation": session.augmentation,
    });
    let record = [("bn_update", settings), (TRANSFORM_KEY, session.transform_record)];
    let record = record.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
    let file = FileTarget { path: target, format, like: like.as_ref(), force: args.force };
    bn_update::write(checkpoint, model, &outcome, record, &file)?;

    let seconds = started.elapsed().as_secs_f64();
    let (layers, all) = movements(checkpoint, model, &outcome);
    common.json(json!({
        "output": target.display().to_string(),
        "arch": model.arch,
        "method": args.method.name(),
        "images": outcome.images,
        "batches": outcome.batches,
        "augmentation": session.augmentation,
        "skipped": loader.bad(),
        "precision": args.data.precision.name(),
        "all": json(&all),
        "layers": layers.iter().map(json).collect::<Vec<_>>(),
        "pace": figures.json(),
        "seconds": seconds,
    }))?;
    common.say(format!(
        "wrote {}: statistics of {} batchnorm layers from {} images, {} batches ({}), in {seconds:.1} s; \
         {figures}",
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
