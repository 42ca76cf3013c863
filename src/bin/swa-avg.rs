//! swa-avg: flags, the job that they ask for, and what it came to.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use regex::Regex;
use swa_cli::{Common, TakeArgs, at_least_one, choice, parse_size};
use swa_tools::average::{self, BnStats, Float, Keys};
use swa_tools::checkpoint::Take;
use swa_tools::jobs::{self, Average, Averaged, List, Output, Verify, Weights};
use swa_tools::report::{AverageReport, ContentsReport, VerifyReport};
use swa_tools::select::{Criteria, parse_range};
use swa_tools::text::{shell_word, with_suffix};
use swa_tools::{Error, Result, choices, process};

/// Averages the weights of checkpoints into one model: the exact mean of every floating-point tensor,
/// rounded once to the tensor's own type. Integers and booleans come from the last checkpoint. Inputs are
/// sorted in natural order (epoch_9 before epoch_10), in whatever order they are given.
#[derive(Parser)]
#[command(
    name = "swa-avg",
    version,
    after_help = "\
Examples:
  swa-avg ckpt_*.safetensors -o swa.safetensors
  swa-avg runs/7 --start 161 -o swa.safetensors            epochs 161 and later
  swa-avg 'runs/7/step_*' --every 5000 -o swa.safetensors  the end of each cycle
  swa-avg 'out/checkpoint-*' --last 5 -o averaged_model    folders of Hugging Face models
  swa-avg lightning/*.ckpt -o swa.pth                      files of any trainer, even mixed
  swa-avg epoch=*.ckpt --like last.ckpt -o resume.ckpt     the average inside a copy of last.ckpt
  swa-avg a.safetensors b.safetensors --weights 1,3 -o soup.safetensors
  swa-avg ckpt_*.safetensors -o swa.safetensors --dry-run
  swa-avg --list epoch_10.pth
  swa-avg --verify swa.safetensors

Exit codes: 0 done, 2 usage, 3 bad input, 4 read or write failed, 5 an input changed, 6 a limit."
)]
struct Args {
    /// Checkpoint files of any trainer (safetensors, .pth, .pt, .ckpt, …), folders that hold such files or
    /// a model (Hugging Face, torch.distributed.checkpoint, DeepSpeed), or quoted patterns
    #[arg(required = true, value_name = "CHECKPOINT")]
    inputs: Vec<PathBuf>,

    /// The file to write: .safetensors, or .pth (as torch.save writes it). If the inputs are folders and
    /// PATH has neither ending, a folder is written
    #[arg(short, long, value_name = "PATH", required_unless_present_any = ["verify", "list"])]
    output: Option<PathBuf>,

    /// Overwrite the output if it exists (a folder is replaced as a whole)
    #[arg(long)]
    force: bool,

    /// Print what checkpoints hold and which tensors would be averaged; write nothing
    #[arg(long, conflicts_with_all = ["output", "dry_run", "verify"])]
    list: bool,

    /// Check files against the checksums stored in them; write nothing
    #[arg(long, conflicts_with_all = ["output", "dry_run", "no_verify"])]
    verify: bool,

    /// Do not check inputs against the checksums stored in them
    #[arg(long)]
    no_verify: bool,

    /// Check names, shapes and types, and print the plan; write nothing
    #[arg(long)]
    dry_run: bool,

    /// Leave out epochs or steps before S, by the number in the name
    #[arg(long, value_name = "S", help_heading = "Which checkpoints")]
    start: Option<u64>,

    /// Take every K-th number, counted from --start or the smallest: the end of each cycle
    #[arg(long, value_name = "K", value_parser = at_least_one::<NonZeroU64>, help_heading = "Which checkpoints")]
    every: Option<NonZeroU64>,

    /// Take only the last N of those that remain
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, help_heading = "Which checkpoints")]
    last: Option<NonZeroUsize>,

    /// Take the numbers from A to B, both included
    #[arg(long, value_name = "A..B", value_parser = parse_range, help_heading = "Which checkpoints")]
    range: Option<RangeInclusive<u64>>,

    /// Find the number in a name that has several: REGEX's first group, or its whole match
    #[arg(
        long,
        value_name = "REGEX",
        conflicts_with = "by_position",
        help_heading = "Which checkpoints"
    )]
    number: Option<Regex>,

    /// Use positions in natural order, from 1, instead of numbers in names
    #[arg(long, help_heading = "Which checkpoints")]
    by_position: bool,

    /// One weight for each checkpoint in natural order, of any scale; they are divided by their sum
    #[arg(
        long,
        value_name = "W,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "weights_file",
        help_heading = "How to average"
    )]
    weights: Option<Vec<f64>>,

    /// Read the weights from a file: one number a line, or `NAME NUMBER` by file name; # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "How to average")]
    weights_file: Option<PathBuf>,

    /// Type of the averaged tensors
    #[arg(long, value_parser = choice::<Dtype>(), default_value = "keep", help_heading = "How to average")]
    dtype: Dtype,

    /// How to obtain batchnorm's running mean and variance
    #[arg(long, value_parser = choice::<BnStats>(), default_value = "mean", help_heading = "How to average")]
    bn_stats: BnStats,

    /// Average NaN and infinity like other numbers; they are counted and reported
    #[arg(long, help_heading = "How to average")]
    allow_nonfinite: bool,

    /// Which tensors to write if the checkpoints' tensors differ
    #[arg(long, value_parser = choice::<Keys>(), default_value = "strict", help_heading = "Which tensors")]
    keys: Keys,

    /// Include only tensors whose name matches; the others are left out of the output
    #[arg(long, value_name = "REGEX", help_heading = "Which tensors")]
    include: Option<Regex>,

    /// Exclude tensors whose name matches
    #[arg(long, value_name = "REGEX", help_heading = "Which tensors")]
    exclude: Option<Regex>,

    /// Write a copy of FILE (.pth, .ckpt) with the result in place of its weights. The optimizer and
    /// everything else stay, so that a trainer can resume from it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["max_shard_size", "keep_names"], help_heading = "Output")]
    like: Option<PathBuf>,

    /// Write a folder of shards, each with at most SIZE bytes of tensors (5GB, 500MB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Output")]
    max_shard_size: Option<u64>,

    /// Keep names as the first checkpoint has them, including the parts that wrappers (DDP, torch.compile,
    /// FSDP) add
    #[arg(long, help_heading = "Which tensors")]
    keep_names: bool,

    #[command(flatten)]
    take: TakeArgs,

    #[command(flatten)]
    common: Common,
}

choices! {
    /// Type of the averaged tensors.
    enum Dtype {
        Keep = "keep": "Each tensor keeps its own",
        F32 = "f32": "32 bits",
        F16 = "f16": "16 bits, up to 65,504",
        Bf16 = "bf16": "16 bits with the range of f32",
        F64 = "f64": "64 bits",
    }
}

fn main() -> ExitCode {
    let (args, _) = swa_cli::parse::<Args>();
    swa_cli::run(&args.common, || {
        process::watch()?;
        run(&args)
    })
}

fn run(args: &Args) -> Result<()> {
    let common = &args.common;
    let (checkpoints, criteria, take) = (args.inputs.clone(), args.criteria(), args.take());
    if args.verify {
        let options = Verify { checkpoints, criteria, take };
        let report = VerifyReport::of(&jobs::verify(&options, &common.terminal())?);
        common.json(&report)?;
        return common.say(report.text());
    }
    if args.list {
        let options = List { checkpoints, criteria, take, options: args.options() };
        let report = ContentsReport::of(&jobs::list(&options, &common.terminal())?);
        common.json(&report)?;
        return common.say(report.text());
    }
    let options = Average {
        checkpoints,
        criteria,
        take,
        weights: args.weights(),
        options: args.options(),
        output: args.output()?,
        dry_run: args.dry_run,
    };
    let outcome = jobs::average(&options, &common.terminal())?;
    let report = AverageReport::of(&outcome, next(&outcome));
    common.json(&report)?;
    common.say(report.text())
}

/// The command that recomputes the batchnorm statistics, if there are any.
fn next(outcome: &Averaged) -> Option<String> {
    let output = &outcome.output;
    let updated = with_suffix(output, "_bn");
    // A single checkpoint is copied, and its statistics are its own.
    (outcome.batchnorm_layers > 0 && outcome.inputs.len() > 1).then(|| {
        format!("swa-bn-update {} --data DIR -o {}", shell_word(output), shell_word(&updated))
    })
}

impl Args {
    fn criteria(&self) -> Criteria {
        Criteria {
            start: self.start,
            every: self.every,
            last: self.last,
            range: self.range.clone(),
            number: self.number.clone(),
            by_position: self.by_position,
        }
    }

    fn take(&self) -> Take {
        Take { ema: self.take.ema, key: self.take.weights_key.clone() }
    }

    fn weights(&self) -> Weights {
        match (&self.weights, &self.weights_file) {
            (Some(weights), _) => Weights::Each(weights.clone()),
            (None, Some(file)) => Weights::File(file.clone()),
            (None, None) => Weights::Equal,
        }
    }

    fn output(&self) -> Result<Output> {
        Ok(Output {
            path: self.output.clone().ok_or_else(|| Error::usage("--output is needed"))?,
            force: self.force,
            like: self.like.clone(),
            max_shard_size: self.max_shard_size,
        })
    }

    fn options(&self) -> average::Options {
        average::Options {
            bn_stats: self.bn_stats,
            keys: self.keys,
            dtype: match self.dtype {
                Dtype::Keep => None,
                Dtype::F32 => Some(Float::F32),
                Dtype::F16 => Some(Float::F16),
                Dtype::Bf16 => Some(Float::BF16),
                Dtype::F64 => Some(Float::F64),
            },
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            allow_nonfinite: self.allow_nonfinite,
            no_verify: self.no_verify,
            keep_names: self.keep_names,
        }
    }
}
