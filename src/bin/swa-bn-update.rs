//! Recomputes the batchnorm statistics of an averaged model.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser};
use serde_json::{Value, json};
use swa_tools::bn_update::{self, Accumulator, Method, Movement, Outcome, movements};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::cli::data::{DataArgs, list_archs, report_bad};
use swa_tools::cli::parts::{self, PartArgs, Pass, check_merge, say_resumed};
use swa_tools::cli::take::{TakeArgs, say_taken};
use swa_tools::cli::{self, Common, shell_word, table};
use swa_tools::data::Split;
use swa_tools::nn::input::Input;
use swa_tools::nn::{Model, libtorch};
use swa_tools::output::{self, FileTarget, Format};
use swa_tools::parts::{Keeper, Part, Progress, Set};
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
  swa-bn-update swa.safetensors --data imagenet/train --transform train -o swa_bn.safetensors
  swa-bn-update swa.pth --data imagenet/train -o swa_bn.pth

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

    /// Visit the images shuffled by --seed, or in the order of the data set (in which a batch may
    /// hold a single class: the statistics then come out wrong)
    #[arg(long, value_enum, default_value_t = OrderArg::Shuffled, help_heading = "Data")]
    order: OrderArg,

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

const TOOL: &str = "swa-bn-update";

fn main() -> ExitCode {
    libtorch::prepare();
    let matches = Args::command().get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
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
    args.parts.check(args.save.is_some(), "--save-stats", &[&args.output, &args.save])?;
    for target in args.output.iter().chain(&args.save) {
        // Writing over the model itself is what --force is for here.
        output::atomic::check_target(target, args.force, &[])?;
    }
    let model = Opened::open(args)?;
    let session = args.data.open(common, &model.checkpoints, Split::Train)?;
    let network = &session.models[0];
    common.note(format!("model: {}, {} batchnorm layers", network.arch, network.batchnorms.len()));
    let order = args.data.order(session.dataset.as_ref(), args.order == OrderArg::Shuffled);
    let pass = Pass {
        tool: TOOL,
        checkpoints: &model.checkpoints,
        session: &session,
        images: order.len(),
        batch_size: args.data.batch_size,
        settings: json!({
            "version": env!("CARGO_PKG_VERSION"),
            "method": args.method.name(),
            "batch_size": args.data.batch_size,
            "order": if args.order == OrderArg::Shuffled { "shuffled" } else { "dataset" },
            "seed": args.data.seed,
            "augmentation": session.augmentation,
        }),
    };
    let sums = bn_update::accumulator(network, args.method);
    let part = args.parts.begin(pass, args.data.allow_bad, sums)?;
    let keeper = Keeper::open(part, args.parts.resume.as_deref(), !common.quiet)?;
    say_resumed(common, &args.parts, &keeper);
    let bar = common.progress(order.len() as u64, "images").with_message("batchnorm");
    bar.inc(keeper.with(|part| part.progress.images as u64));
    let mut loader = args.data.loader_of(&session, order, keeper.portion())?;
    let input = Input::new(&session.transform, session.device)?;
    bn_update::collect(network, &input, &mut loader, &mut |batch, moments| {
        keeper.add(batch, |sums| moments.add_to(sums))?;
        bar.inc(batch.n as u64);
        Ok(())
    })?;
    keeper.finish(loader.skipped());
    bar.finish_and_clear();
    report_bad(common, &loader.bad());
    if let Some(path) = &args.save {
        let progress =
            keeper.with(|part| part.write(path, args.force).map(|()| part.progress.clone()))?;
        keeper.close()?;
        return report_part(args, path, &progress, started);
    }
    let written = keeper.with(|part| model.write(args, network, part))?;
    keeper.close()?;
    report(args, &model, network, &written, started)
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
    let network = Model::load(checkpoint, args.data.arch.as_deref(), Device::Cpu)?;
    let method = set.identity().get("settings")["method"].as_str().and_then(Method::named);
    let method = method.ok_or_else(|| Error::input("the parts name no method that is known"))?;
    let part = set.merge(bn_update::accumulator(&network, method), args.data.allow_bad)?;
    let written = model.write(args, &network, &part)?;
    report_bad(common, &written.skipped);
    report(args, &model, &network, &written, started)
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

    /// Writes it with the statistics of a whole pass.
    fn write(&self, args: &Args, network: &Model, part: &Part<Accumulator>) -> Result<Written> {
        let path = args.output.as_ref().ok_or_else(|| Error::usage("--output is needed"))?;
        let checkpoint = &self.checkpoints[0];
        let own = match checkpoint.container().is_torch_file() {
            true => Format::Torch,
            false => Format::Safetensors,
        };
        let format = Format::of(path).unwrap_or(own);
        let Progress { images, filled, ref skipped, .. } = part.progress;
        let outcome = bn_update::finish(network, &part.content, images, filled)?;
        let mut settings = part.identity.get("settings").clone();
        settings["images"] = outcome.images.into();
        let transform = part.identity.get(TRANSFORM_KEY).clone();
        let record = [("bn_update", settings.clone()), (TRANSFORM_KEY, transform)];
        let record = record.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
        let file = FileTarget { path, format, like: self.like.as_ref(), force: args.force };
        bn_update::write(checkpoint, network, &outcome, record, &file)?;
        let skipped = skipped.iter().map(|(_, line)| line.clone()).collect();
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

fn report_part(args: &Args, path: &Path, progress: &Progress, started: Instant) -> Result<()> {
    let common = &args.common;
    let Progress { shard, done, images, skipped, .. } = progress;
    let seconds = started.elapsed().as_secs_f64();
    common.json(json!({
        "part": path.display().to_string(),
        "shard": shard.to_string(),
        "images": images,
        "batches": done,
        "skipped": skipped.iter().map(|(_, line)| line).collect::<Vec<_>>(),
        "seconds": seconds,
    }))?;
    common.say(format!(
        "wrote {}: part {shard}, {images} images, {done} batches, in {seconds:.1} s",
        path.display(),
    ))?;
    let model = args.model.as_deref().map(shell_word).unwrap_or_default();
    common.say(format!("next, with all parts: swa-bn-update {model} --merge-stats PART... -o FILE"))
}

fn report(
    args: &Args,
    model: &Opened,
    network: &Model,
    written: &Written,
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
        "augmentation": settings["augmentation"],
        "skipped": skipped,
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
        outcome.method.name(),
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
