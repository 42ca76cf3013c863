//! swa-bn-update: flags, the job that they ask for, and its report.

#[path = "flags/mod.rs"]
mod flags;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{ArgMatches, CommandFactory, Parser};
use regex::Regex;
use swa_cli::{Common, TakeArgs, choice, parse_size};
use swa_tools::output::check_target;
use swa_tools::text::shell_word;
use swa_tools::{Error, Result, choices, process};
use swa_torch::bn_update::Method;
use swa_torch::jobs::{self, MergeStats, Order, Output, Update, UpdateBn, Updated};
use swa_torch::nn::libtorch;
use swa_torch::report::BnUpdateReport;

use flags::data::{DataArgs, list_archs, which};
use flags::devices::{self, DevicesArgs};
use flags::sharing::{self, PartArgs};

/// Recomputes the running mean and variance of every batchnorm layer in one pass over training data
/// and writes a copy of the model with them. Averaged weights need this: they never saw data in training
/// mode.
#[derive(Parser)]
#[command(
    name = "swa-bn-update",
    version,
    override_usage = "swa-bn-update <MODEL> --data <DIR> -o <FILE> [OPTIONS]",
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

Shared between the GPUs of this machine, or between processes and machines (docs/scale.md), and merged:
  swa-bn-update swa.safetensors --data imagenet/train --devices all -o swa_bn.safetensors
  swa-bn-update swa.safetensors --data imagenet/train --shard 0/2 --save-stats part_0
  swa-bn-update swa.safetensors --data imagenet/train --shard 1/2 --save-stats part_1
  swa-bn-update swa.safetensors --merge-stats part_0 part_1 -o swa_bn.safetensors

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// The model: a checkpoint file, or a folder that holds a model
    #[arg(value_name = "MODEL", required_unless_present = "list_archs")]
    model: Option<PathBuf>,

    /// The file to write. Its ending (.safetensors, .pth) sets the format; without one it is the model's
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["list_archs", "save"])]
    output: Option<PathBuf>,

    /// Overwrite the output if it exists
    #[arg(long)]
    force: bool,

    /// How the batches' statistics are combined
    #[arg(long, value_parser = choice::<Method>(), default_value = "pooled")]
    method: Method,

    /// Stop once the standard error of every layer's statistics, estimated from how batches differ, is
    /// below EPS standard deviations of a channel; 0.02 is a good value
    #[arg(long, value_name = "EPS", value_parser = above_zero, conflicts_with_all = ["save", "resume"])]
    until_stable: Option<f64>,

    /// Memory on the host for --method layerwise (8GB). With less it takes longer; the result is the
    /// same [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Random mixing that the network does in training (Shake-Shake alone)
    #[arg(long, value_parser = choice::<Noise>(), default_value = "off")]
    noise: Noise,

    /// Keep the statistics of batchnorm layers whose name matches, if they were frozen in training. Layers
    /// without `num_batches_tracked` (FrozenBatchNorm2d) are kept if other layers have it
    #[arg(long, value_name = "REGEX")]
    freeze: Option<Regex>,

    /// Write a copy of FILE (.pth, .ckpt) with the new model in place of its weights. The
    /// optimizer and everything else stay
    #[arg(long, value_name = "FILE")]
    like: Option<PathBuf>,

    #[command(flatten)]
    data: DataArgs,

    /// The order in which images are visited
    #[arg(long, value_parser = choice::<Order>(), default_value = "shuffled", help_heading = "Data")]
    order: Order,

    #[command(flatten)]
    take: TakeArgs,

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
    devices: DevicesArgs,

    #[command(flatten)]
    common: Common,
}

choices! {
    /// Random mixing in the network.
    enum Noise {
        Off = "off": "None, as at inference",
        On = "on": "Drawn by --seed, as in training, in PyTorch's update_bn and the SWA authors' code",
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err("expected a number above 0, such as 0.02".into()),
    }
}

#[allow(unsafe_code)]
pub fn main() -> ExitCode {
    let (args, matches) =
        swa_cli::parse_with::<Args>(|| swa_cli::long_version!(libtorch::version()));
    // SAFETY: no other thread was started, and libtorch was not used.
    unsafe { libtorch::prepare(args.data.precision) };
    swa_cli::run(&args.common, || {
        process::watch()?;
        if args.data.list_archs {
            return list_archs();
        }
        if args.devices.devices.is_some() {
            return share(&args, &matches);
        }
        if args.merge.is_empty() {
            return run(&args);
        }
        let known = ["model", "weights_key", "ema", "arch", "network", "program", "no_verify"];
        flags::merge::check(&matches, "--merge-stats", &known)?;
        merge(&args, &args.merge, Instant::now())
    })
}

/// One pass by several processes.
fn share(args: &Args, matches: &ArgMatches) -> Result<()> {
    let (common, started) = (&args.common, Instant::now());
    if args.method == Method::Layerwise || args.until_stable.is_some() {
        let what = "--devices does not go with --method layerwise and --until-stable";
        return Err(Error::usage(what).remedy("leave it out: these look at all batches in turn"));
    }
    let output = args.output().ok_or_else(|| Error::usage("--output is needed"))?;
    let data = args.data.options(common, &args.take)?;
    check_target(&output.path, output.force, &data.images.files())?;
    let (command, progress) = (Args::command(), common.terminal());
    let made = ("--save-stats", &["like"][..]);
    let parts = devices::parts(&args.devices, common, (&command, matches), made, &progress)?;
    let parts = parts.ok_or_else(|| Error::usage("--devices names none"))?;
    merge(args, &parts.paths, started)
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let options = UpdateBn {
        model: args.model()?,
        output: args.output(),
        data: args.data.options(common, &args.take)?,
        method: args.method,
        until_stable: args.until_stable,
        memory: args.memory,
        order: args.order,
        noise: args.noise == Noise::On,
        freeze: args.freeze.clone(),
        sharing: args.parts.sharing(common, args.save.as_deref(), args.force)?,
    };
    match jobs::update_bn(&options, &common.terminal())? {
        Update::Model(updated) => report(args, updated),
        Update::Part(part) => {
            let model = shell_word(&options.model);
            let programs = args.data.programs.words();
            let next = format!("swa-bn-update {model}{programs} --merge-stats PART... -o FILE");
            sharing::report(common, &part, &next)
        }
    }
}

fn merge(args: &Args, parts: &[PathBuf], started: Instant) -> Result<()> {
    let common = &args.common;
    let options = MergeStats {
        model: args.model()?,
        parts: parts.to_vec(),
        output: args.output().ok_or_else(|| Error::usage("--output is needed"))?,
        take: which(&args.take),
        arch: args.data.arch.clone(),
        network: args.data.network.clone(),
        programs: args.data.programs.files(),
        no_verify: args.data.no_verify,
        allow_bad: args.data.allow_bad,
    };
    let updated = jobs::merge_stats(&options, &common.terminal())?;
    report(args, Updated { seconds: started.elapsed().as_secs_f64(), ..updated })
}

fn report(args: &Args, updated: Updated) -> Result<()> {
    let common = &args.common;
    let report = BnUpdateReport::of(&updated);
    common.json(&report)?;
    common.say(report.text())?;
    let (model, programs) = (shell_word(&updated.output), args.data.programs.words());
    common.say(format!("next: swa-eval {model}{programs} --data DIR"))?;
    updated.state.remove()
}

impl Args {
    fn model(&self) -> Result<PathBuf> {
        self.model.clone().ok_or_else(|| Error::usage("MODEL is needed"))
    }

    fn output(&self) -> Option<Output> {
        let (force, like) = (self.force, self.like.clone());
        self.output.clone().map(|path| Output { path, force, like })
    }
}
