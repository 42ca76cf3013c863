//! Recomputes the batchnorm statistics of an averaged model.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use swa_tools::bn_update::{self, Method, Movement, Outcome, layerwise, movements};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::cli::data::{DataArgs, list_archs, report_bad};
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, shell_word, table};
use swa_tools::data::Split;
use swa_tools::nn::Model;
use swa_tools::nn::input::Input;
use swa_tools::nn::libtorch;
use swa_tools::nn::memory::Budget;
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
  swa-bn-update swa.safetensors --data imagenet/train --until-stable 0.01 -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data imagenet/train --transform train -o swa_bn.safetensors
  swa-bn-update swa.pth --data imagenet/train -o swa_bn.pth
  swa-bn-update swa.safetensors --data imagenet/train --samples 5000 --method layerwise -o swa_bn.safetensors

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

    /// Stop when every layer's statistics are certain: their standard error, estimated from how batches
    /// differ, is below EPS standard deviations (0.01)
    #[arg(long, value_name = "EPS", value_parser = above_zero)]
    until_stable: Option<f64>,

    /// Host memory that --method layerwise may take (8GB); with less it takes longer, the result is
    /// the same [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size)]
    memory: Option<u64>,

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

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("expected a number above 0, such as 0.01".into()),
    }
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
    if args.method == Method::Layerwise && args.until_stable.is_some() {
        return Err(Error::usage("--until-stable does not go with --method layerwise").remedy(
            "let --method pooled find how many images that takes, and give it with --samples",
        ));
    }
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
    let session = args.data.open(common, &checkpoints, Split::Train)?;
    let (checkpoint, model) = (&checkpoints[0], &session.models[0]);
    common.note(format!("model: {}, {} batchnorm layers", model.arch, model.batchnorms.len()));
    let order = args.data.order(session.dataset.as_ref(), args.order == OrderArg::Shuffled);
    let images = order.len();
    let bar = common.progress(images as u64, "images").with_message("batchnorm");
    let mut loader = args.data.loader(&session, order)?;
    let input = Input::new(&session.transform, session.device)?;
    let outcome = if args.method == Method::Layerwise {
        let layers = model.batchnorms.len();
        bar.set_length((images * layers) as u64);
        let step = |step: layerwise::Progress| {
            bar.set_message(format!("layer {} of {layers}, {}", step.step, step.layer));
            bar.inc(step.images as u64);
        };
        let budget = Budget::asked(args.memory);
        let (outcome, passes) = layerwise::run(model, &input, &mut loader, images, &budget, &step)?;
        let again = passes as f64 / outcome.batches as f64;
        if again > 1.0 {
            common.note(format!(
                "memory for activations: {}; each image passed {again:.1} times",
                cli::megabytes(budget.bytes())
            ));
        }
        outcome
    } else {
        let step = |n| bar.inc(n as u64);
        bn_update::run(model, &input, &mut loader, args.method, args.until_stable, &step)?
    };
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    let certainty = outcome.standard_error.map(|e| {
        json!({
            "largest": rounded(e.error),
            "layer": model.batchnorms[e.layer].name,
        })
    });
    let mut settings = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "method": args.method.name(),
        "images": outcome.images,
        "batch_size": args.data.batch_size,
        "order": if args.order == OrderArg::Shuffled { "shuffled" } else { "dataset" },
        "seed": args.data.seed,
        "augmentation": session.augmentation,
    });
    if let Some(eps) = args.until_stable {
        settings["until_stable"] = json!(eps);
    }
    settings["standard_error"] = json!(certainty);
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
        "until_stable": args.until_stable,
        "standard_error": certainty,
        "augmentation": session.augmentation,
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
    if let Some(line) = certain(args.until_stable, &outcome, model) {
        common.say(line)?;
    }
    common.say("how far the statistics moved (σ: the new standard deviation of a channel):")?;
    let header = ["layer", "channels", "mean, in σ", "σ new/old", "moved"];
    let rows = layers.iter().take(5).chain([&all]).map(row);
    common.say(table(&header, rows))?;
    common.say(format!("next: swa-eval {} --data DIR", shell_word(target)))
}

/// To six decimals: more are not known.
fn rounded(error: f64) -> f64 {
    (error * 1e6).round() / 1e6
}

/// What the standard error says, against what was asked for.
fn certain(eps: Option<f64>, outcome: &Outcome, model: &Model) -> Option<String> {
    let error = outcome.standard_error?;
    let (images, layer) = (outcome.images, &model.batchnorms[error.layer].name);
    let text = format!("standard error {:.4} σ at most ({layer})", error.error);
    Some(match eps {
        Some(eps) if error.error < eps => format!("stable after {images} images: {text}"),
        Some(eps) => format!("not stable: {text}, {eps} was asked for; {images} images were all"),
        None => text,
    })
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
